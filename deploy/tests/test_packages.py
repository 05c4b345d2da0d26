"""The packages of deploy/package, made of the program under test: the tar, the Debian package, its unit."""

import hashlib
import json
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import unittest

import programs
import testkit
from programs import DEPLOY, GATEWAY

PACKAGE = DEPLOY / "package"
# A place in a row, as systemd-analyze has it, times ten.
WORST_EXPOSURE = 20


def setUpModule():
    global FOLDER, MADE
    made = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(made.cleanup)
    MADE = pathlib.Path(made.name)
    folder = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(folder.cleanup)
    FOLDER = pathlib.Path(folder.name)
    make(MADE)


def make(out):
    subprocess.run([sys.executable, PACKAGE / "package.py", "--fast", "--program", GATEWAY, "--out", out], check=True, stdout=subprocess.DEVNULL)


def only(pattern, folder=None):
    (found,) = (folder or MADE).glob(pattern)
    return found


class Files(unittest.TestCase):
    def test_each_has_a_checksum(self):
        lines = (MADE / "SHA256SUMS").read_text().splitlines()
        sums = dict(reversed(line.split("  ")) for line in lines)
        self.assertEqual(set(sums), {path.name for path in MADE.iterdir()} - {"SHA256SUMS"})
        for name, expected in sums.items():
            self.assertEqual(hashlib.sha256((MADE / name).read_bytes()).hexdigest(), expected, name)

    def test_the_same_program_makes_the_same_bytes(self):
        with tempfile.TemporaryDirectory() as again:
            make(again)
            self.assertEqual((pathlib.Path(again) / "SHA256SUMS").read_text(), (MADE / "SHA256SUMS").read_text())

    def test_the_tar_has_all_that_belongs_to_the_program(self):
        with tarfile.open(only("*.tar.gz")) as archive:
            files = {entry.name.partition("/")[2]: entry for entry in archive}
            read = lambda name: archive.extractfile(files[name]).read().decode()
            self.assertEqual(files["gateway"].mode, 0o755)
            own = {"CHANGELOG.md", "INSTALL.md", "LICENCES.txt", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "gateway.service", "gateway.toml"}
            self.assertLessEqual(own | {"completions/_gateway", "completions/gateway.bash", "completions/gateway.fish", "man/gateway.1"}, set(files))
            self.assertIn("ExecStart=/usr/local/bin/gateway ", read("gateway.service"))
            self.assertIn(".TH GATEWAY 1", read("man/gateway.1"))
            for file in re.findall(r"`?([\w./]+\.(?:bash|fish|txt|service|toml))`?", read("INSTALL.md")):
                self.assertTrue({file, f"completions/{file}"} & set(files) or file.startswith("/etc/"), f"INSTALL.md names {file}")

    def test_the_licences_are_those_of_what_is_compiled_in(self):
        with tarfile.open(only("*.tar.gz")) as archive:
            (name,) = (name for name in archive.getnames() if name.endswith("/LICENCES.txt"))
            text = archive.extractfile(name).read().decode()
        named = {line.split(" ")[0] for line in re.findall(r"^[\w-]+ \d\S*: .*$", text, flags=re.M)}
        self.assertLessEqual({"aws-lc-sys", "hyper", "ring", "rustls", "tokio"}, named)
        self.assertFalse({"criterion", "proptest", "serde_derive", "gateway"} & named)
        for library in named:
            self.assertRegex(text, rf"(?m)^{library} \S+ \(", f"{library} has no file of its licence")

    def test_bash_completes_commands_flags_and_shells(self):
        with tarfile.open(only("*.tar.gz")) as archive:
            (name,) = (name for name in archive.getnames() if name.endswith("/gateway.bash"))
            script = FOLDER / "gateway.bash"
            script.write_bytes(archive.extractfile(name).read())
        for line, completed in (
            ("doc", "doctor"),
            ("serve --redis-u", "--redis-url --redis-url-file"),
            ("token --tt", "--ttl"),
            ("doctor --idle", "--idle-timeout"),
            ("completions z", "zsh"),
        ):
            with self.subTest(line):
                words = f"COMP_WORDS=(gateway {line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))"
                ask = '_gateway gateway "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"; echo "${COMPREPLY[*]}"'
                done = subprocess.run(["bash", "--norc", "-c", f'source "{script}"; {words}; {ask}'], check=True, stdout=subprocess.PIPE, text=True)
                self.assertEqual(done.stdout.strip(), completed)


class Installed(unittest.TestCase):
    """In a root of its own."""

    @classmethod
    def setUpClass(cls):
        cls.root = FOLDER / "root"
        for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"):
            (cls.root / folder).mkdir(parents=True)
        (cls.root / "var/lib/dpkg/status").touch()

    def dpkg(self, *arguments):
        # Scripts run with this machine's programs and DPKG_ROOT.
        force = ["--force-depends", "--force-script-chrootless", "--force-confold"]
        command = ["dpkg", f"--root={self.root}", "--log=/dev/null", *force, *arguments]
        if os.getuid() != 0:
            command = ["unshare", "--map-root-user", *command]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)

    def unit(self):
        return (self.root / "usr/lib/systemd/system/gateway.service").read_text()

    def test_from_the_installation_to_the_purge(self):
        settings = self.root / "etc/gateway/gateway.toml"
        wanted = self.root / "etc/systemd/system/multi-user.target.wants/gateway.service"
        self.dpkg("--install", only("*.deb"))
        self.addCleanup(self.dpkg, "--purge", "gateway")
        self.assertTrue(wanted.is_symlink(), "the service is not enabled")
        self.checked_by_systemd()
        self.runs_as_its_unit_says()

        # A file that somebody changed stays through an upgrade and a removal.
        settings.write_text(settings.read_text() + '\nlisten = "127.0.0.1:3000"\n')
        self.dpkg("--install", only("*.deb"))
        self.assertIn("127.0.0.1:3000", settings.read_text())
        self.dpkg("--remove", "gateway")
        self.assertTrue(settings.exists())
        self.assertFalse((self.root / "usr/bin/gateway").exists())

        secret = self.root / "etc/gateway/secrets/jwt_secret"
        secret.parent.mkdir()
        secret.write_text("a secret of this test")
        self.dpkg("--purge", "gateway")
        left = [str(path) for path in self.root.rglob("*") if "gateway" in path.name and "var/lib/dpkg" not in str(path)]
        self.assertEqual(left, [])

    def checked_by_systemd(self):
        # A man page is looked for on this machine, which has none.
        unit = re.sub(r"^Documentation=.*\n", "", self.unit(), flags=re.M).replace("/usr/bin/gateway", str(self.root / "usr/bin/gateway"))
        file = FOLDER / "gateway.service"
        file.write_text(unit)
        done = subprocess.run(["systemd-analyze", "verify", file], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", f"--threshold={WORST_EXPOSURE}", "--no-pager", file],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stdout[-500:])

    def runs_as_its_unit_says(self):
        """The command of the unit, by a user who owns nothing and may do nothing, told of systemd's socket."""
        unit = dict(re.findall(r"^(\w+)=(.*)$", self.unit(), flags=re.M))
        program, *arguments = shlex.split(unit["ExecStart"].replace("/etc/", f"{self.root}/etc/"))
        (clients, internal) = testkit.free_ports(2)
        notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(notified.close)
        path = FOLDER / "notify"
        notified.bind(str(path))
        path.chmod(0o777)
        for folder in (FOLDER, self.root, self.root / "etc", self.root / "usr"):
            folder.chmod(0o755)
        notified.settimeout(testkit.PATIENCE_SECONDS)
        environment = {
            "GATEWAY_LISTEN": f"127.0.0.1:{clients}",
            "GATEWAY_INTERNAL_LISTEN": f"127.0.0.1:{internal}",
            "GATEWAY_SHUTDOWN_DRAIN": "0",
            "NOTIFY_SOCKET": str(path),
            "WATCHDOG_USEC": str(self.seconds(unit["WatchdogSec"]) * 1_000_000),
        }
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--bounding-set=-all"] if os.getuid() == 0 else []
        node = programs.Process(self, FOLDER, *user, self.root / program.lstrip("/"), *arguments, environment=environment)
        node.until("it is ready", lambda: programs.status(internal, "/ready") == 200)
        self.assertEqual(programs.status(clients, "/"), 404, "a demo page")
        self.assertEqual(unit["Type"], "notify")
        self.told(notified, "READY=1")
        # The test has no systemd for $MAINPID.
        self.assertEqual(unit["ExecReload"], "/bin/kill -HUP $MAINPID")
        self.told(notified, "WATCHDOG=1")
        node.child.send_signal(signal.SIGHUP)
        self.told(notified, "RELOADING=1")
        self.told(notified, "READY=1")
        node.child.send_signal(signal.SIGTERM)
        self.told(notified, "STOPPING=1")
        self.assertEqual(node.child.wait(testkit.PATIENCE_SECONDS), 0)


    def seconds(self, text):
        self.assertTrue(text.endswith("s"), text)
        return int(text[:-1])

    def told(self, notified, line):
        """Reads what the node tells systemd up to this line."""
        while line not in notified.recv(4096).decode().splitlines():
            pass

    def test_sockets_of_systemd_s_own_tool_take_the_place_of_the_settings(self):
        (clients, internal) = testkit.free_ports(2)
        sockets = ["--listen", f"127.0.0.1:{internal}", "--listen", f"127.0.0.1:{clients}", "--fdname", "internal:clients"]
        settings = ["--setenv", "GATEWAY_LISTEN=127.0.0.1:1", "--setenv", "GATEWAY_SHUTDOWN_DRAIN=0"]
        # It starts the program when the first connection comes.
        node = programs.Process(self, FOLDER, programs.tool("systemd-socket-activate"), *sockets, *settings, GATEWAY)
        node.until("it is ready", lambda: programs.status(internal, "/ready") == 200)
        self.assertEqual(programs.status(clients, "/socket.io/?EIO=4&transport=polling"), 200)


class Pages(unittest.TestCase):
    """What the pages and the unit say that systemd is to be told: systemd understands each line."""

    PAGES = [programs.DOCS / "packages.md", programs.DOCS / "operations.md"]

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.unit = (PACKAGE / "gateway.service").read_text()

    def verified(self, **files):
        """What systemd says of units and drop-ins, by their names; the program is that under test."""
        for name, text in files.items():
            path = self.folder / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            text = re.sub(r"^Documentation=.*\n", "", text, flags=re.M)
            path.write_text(re.sub(r"/usr/(local/)?bin/gateway", GATEWAY, text))
        units = [path for path in self.folder.iterdir() if path.is_file()]
        environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{self.folder}:"}
        done = subprocess.run(["systemd-analyze", "verify", *units], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout

    def test_the_units_of_the_pages(self):
        shown = [block for page in self.PAGES for block in ini(page.read_text())]
        self.assertGreaterEqual(len(shown), 4)
        for block in shown:
            with self.subTest(block):
                files = {"gateway.service": self.unit, "gateway.service.d__page.conf": block}
                if "ExecStart=" in block:
                    files = {"gateway.service": block}
                elif "[Socket]" in block:
                    files = {"gateway.service": self.unit, "gateway-clients.socket": block, "gateway-internal.socket": block.replace("443", "3001")}
                self.assertEqual(self.verified(**files), (0, ""))
                for path in self.folder.rglob("*.*"):
                    path.unlink() if path.is_file() else None

    def test_the_drop_in_of_the_unit_s_head(self):
        (lines,) = re.findall(r"((?:^#   .*\n)+)", self.unit, flags=re.M)
        drop_in = re.sub(r"^#   ", "", lines, flags=re.M)
        self.assertIn("LoadCredential=", drop_in)
        self.assertEqual(self.verified(**{"gateway.service": self.unit, "gateway.service.d__head.conf": drop_in}), (0, ""))
        # The variable that it names is one of the program's.
        (variable,) = re.findall(r"^Environment=(\w+)_FILE=", drop_in, flags=re.M)
        self.assertIn("Secret", programs.reference()[variable])

    def test_a_line_that_systemd_does_not_know_is_noticed(self):
        _, said = self.verified(**{"gateway.service": self.unit, "gateway.service.d__wrong.conf": "[Service]\nLoadCredentail=a:/b\n"})
        self.assertIn("LoadCredentail", said)


def ini(page):
    """The blocks of units on a page, without their indentation."""
    for indent, block in re.findall(r"^( *)```ini\n(.*?)^\1```", page, flags=re.M | re.S):
        yield re.sub(rf"^{indent}", "", block, flags=re.M)


class Script(unittest.TestCase):
    """dist.sh, with a program in cargo's place that tells the flags."""

    def run_in(self, folder, **environment):
        tools = folder / "tools"
        tools.mkdir(parents=True)
        tells = '#!/bin/sh\n[ "$1" = build ] || exit 1\nprintf %s "$CARGO_ENCODED_RUSTFLAGS"\n'
        (tools / "cargo").write_text(tells)
        (tools / "cargo").chmod(0o755)
        environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", **environment}
        return subprocess.run([PACKAGE / "dist.sh", "x86_64-unknown-linux-gnu"], cwd=folder, env=environment, capture_output=True, text=True)

    def test_the_sources_may_be_in_a_folder_with_a_space(self):
        with tempfile.TemporaryDirectory() as folder:
            here = pathlib.Path(folder).resolve() / "a place"
            done = self.run_in(here, CARGO_TARGET_DIR=f"{folder}/target")
            self.assertEqual(done.returncode, 0, done.stderr)
            flags = done.stdout.split("\x1f")
            self.assertIn(f"--remap-path-prefix={here}=/src", flags)
            subprocess.run(["rustc", *flags, "--print", "cfg"], check=True, stdout=subprocess.DEVNULL)

    def test_a_target_folder_with_a_space_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            done = self.run_in(pathlib.Path(folder), CARGO_TARGET_DIR="/a target")
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn("(/a target)", done.stderr)


class Source(unittest.TestCase):
    def test_the_package_of_the_program_installs_by_cargo(self):
        """`cargo install --path gateway` needs that the program is the only one, and that its default features are those that build fast."""
        command = ["cargo", "metadata", "--no-deps", "--format-version", "1", "--manifest-path", DEPLOY.parent / "gateway/Cargo.toml"]
        metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        (package,) = (package for package in metadata["packages"] if package["name"] == "gateway")
        self.assertEqual([target["name"] for target in package["targets"] if "bin" in target["kind"]], ["gateway"])
        self.assertNotIn("default", package["features"])
        self.assertEqual(set(package["features"]["dist"]), set(package["features"]) - {"dist", *(f for f in package["features"] if f.startswith("tikv"))})
