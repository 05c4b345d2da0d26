#!/usr/bin/env python3
"""A machine with only Debian's base, for the packages: machine.py measure|check|build [--packages FOLDER] [--rounds N]

measure   how long it takes from the file to the first message of a client, with the tar and with the Debian package
build     the same for `cargo run --release` of the commit that is checked out, with gcc and this machine's Rust and registry
check     what only systemd itself shows: the service starts, reloads, is watched, gets credentials and sockets, and goes

The machine has a root of its own with Debian's packages of the priorities `required` and `important`, made once by mmdebstrap or
debootstrap, and systemd as its first process, in namespaces of its own. It has no network but loopback. Each round begins with a new one.
It needs root and cgroups of version 2. The packages are those of `make package`. SUITE names another release of Debian than 12 (trixie).
"""

import argparse
import contextlib
import http.client
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(ROOT / "testkit" / "python"))

from package import DEBIAN, target_folder  # noqa: E402
from testkit import until  # noqa: E402

# The release of Debian of which the machine is.
SUITE = os.environ.get("SUITE", "bookworm")
BASES = ROOT / "target" / "deploy"
# What README says that a build needs beside Rust.
COMPILER = ("gcc", "libc6-dev")
CLIENTS, INTERNAL = 3000, 3001
PAUSE_SECONDS = 0.002
# For a machine that is busy with other work.
PATIENCE_SECONDS = 60
BUILD_SECONDS = 3600
# Those that systemd gives to services with DynamicUser.
DYNAMIC_USERS = range(61184, 65520)
FIRST_WITH_NOTIFY_RELOAD = 253
PAGE = ROOT / "docs/packages.md"
SECRET = "a secret of this test that is long enough"

# What a container has in /dev, with its numbers.
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}

# Makes the folder $1 the root of this namespace, and starts systemd there. Services of a machine that is none are left out.
BOOT = """
set -e
mount --make-rprivate /
cd "$1"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t mqueue mqueue dev/mqueue
mkdir -p old
pivot_root . old
exec /usr/sbin/chroot . /bin/sh -c 'umount -l /old && mount --make-rshared / && exec env -i container=machine PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd'
"""
LEFT_OUT = ("apt-daily.timer", "apt-daily-upgrade.timer", "console-getty.service", "getty.target", "systemd-udevd.service", "networking.service")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["measure", "check", "build"])
    parser.add_argument("--packages", default=str(target_folder() / "package"))
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if os.getuid() != 0:
        sys.exit("machine: this needs root, for namespaces and a root of its own")
    if "MACHINE_INSIDE" not in os.environ:
        # The program and its clients meet on a loopback where all ports are free; what is mounted goes with the last process.
        inside = ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, str(HERE / "machine.py"), *sys.argv[1:]]
        make_base(COMPILER if given.what == "build" else ())
        sys.exit(subprocess.run(inside, env={**os.environ, "MACHINE_INSIDE": "1"}).returncode)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    if given.what == "build":
        return build(given.rounds)
    packages = Packages(pathlib.Path(given.packages).resolve())
    measure(packages, given.rounds) if given.what == "measure" else check(packages)


class Packages:
    """The two files for this processor."""

    def __init__(self, folder):
        processor = os.uname().machine
        self.folder = folder
        self.tar = self.only(f"gateway-*-{processor}-linux.tar.gz")
        self.deb = self.only(f"gateway_*_{DEBIAN[processor]}.deb")

    def only(self, pattern):
        found = list(self.folder.glob(pattern))
        if len(found) != 1:
            sys.exit(f"machine: {self.folder} has {len(found)} files {pattern}; make package makes one")
        return found[0]


def base_with(included):
    """Where the root of Debian's base with these packages is."""
    return BASES / "-".join(["machine", SUITE, *included])


def make_base(included=()):
    """Makes it, once."""
    base = base_with(included)
    made = base / ".made"
    if made.exists():
        return
    shutil.rmtree(base, ignore_errors=True)
    base.parent.mkdir(parents=True, exist_ok=True)
    include = [f"--include={','.join(included)}"] if included else []
    # Both leave out what has another priority than `required` and `important`.
    if shutil.which("mmdebstrap"):
        command = ["mmdebstrap", "--variant=important", *include, SUITE, base]
    elif shutil.which("debootstrap"):
        command = ["debootstrap", *include, SUITE, base]
    else:
        sys.exit("machine: apt-get install mmdebstrap")
    print(f"making a machine of Debian's base in {base}", flush=True)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"machine: {command[0]}: {done.stdout[-2000:]}")
    made.touch()


class Machine:
    """Debian's base with these files in /packages, from its start to its end. What it writes is in memory."""

    def __init__(self, files, included=(), shared=None):
        """`shared` are folders of this machine, each with the place where that one sees it, to read."""
        self.ends, self.base, self.shared = contextlib.ExitStack(), base_with(included), shared or {}
        try:
            self.start(files)
        except BaseException:
            self.ends.close()
            raise

    def start(self, files):
        folder = pathlib.Path(self.ends.enter_context(tempfile.TemporaryDirectory()))
        self.mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
        for name in ("upper", "work", "root"):
            (folder / name).mkdir()
        root = folder / "root"
        self.mount("-t", "overlay", "-o", f"lowerdir={self.base},upperdir={folder}/upper,workdir={folder}/work", "overlay", root)
        self.fill(root, files)
        self.cgroup = cgroups() / f"gateway-machine-{os.getpid()}"
        self.cgroup.mkdir()
        self.ends.callback(lambda: until("its cgroups are empty", lambda: removed(self.cgroup)))
        own = ["--fork", "--kill-child", "--pid", "--mount", "--ipc", "--uts", "--cgroup"]
        self.holder = subprocess.Popen(["unshare", *own, "sh", "-c", BOOT, "boot", root], preexec_fn=self.enter, stdin=subprocess.DEVNULL)
        self.ends.callback(self.stop)
        children = pathlib.Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children")
        until("it has a first process", lambda: self.runs() and children.read_text().strip())
        self.first = children.read_text().strip()
        # `degraded` is a service of the machine that a container cannot have.
        is_up = lambda: self.runs() and self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")
        until("systemd is up", is_up, PATIENCE_SECONDS)

    def fill(self, root, files):
        """What a container has, and the files."""
        self.mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root / "dev")
        for name, (major, minor) in DEVICES.items():
            os.mknod(root / "dev" / name, 0o666 | 0o020000, os.makedev(major, minor))
            (root / "dev" / name).chmod(0o666)
        for name, target in ("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"), ("ptmx", "pts/ptmx"):
            (root / "dev" / name).symlink_to(target)
        for name in ("shm", "pts", "mqueue"):
            (root / "dev" / name).mkdir()
            (root / "dev" / name).chmod(0o1777)
        for unit in LEFT_OUT:
            (root / "etc/systemd/system" / unit).unlink(missing_ok=True)
            (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
        (root / "packages").mkdir()
        for file in files:
            shutil.copy(file, root / "packages")
        for place, folder in self.shared.items():
            (root / place).mkdir()
            self.mount("--bind", "-o", "ro", folder, root / place)
        # It has an identity before its first start.
        (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
        self.root = root

    def mount(self, *arguments):
        subprocess.run(["mount", *arguments], check=True)
        self.ends.callback(lambda: subprocess.run(["umount", "--lazy", arguments[-1]], check=True))

    def enter(self):
        """Puts a process that is about to begin into the machine's cgroup, which counts its time."""
        place = self.cgroup if not hasattr(self, "first") else self.cgroup / "told"
        place.mkdir(exist_ok=True)
        (place / "cgroup.procs").write_text("0")

    def runs(self):
        if self.holder.poll() is not None:
            sys.exit(f"machine: systemd ended with {self.holder.returncode}")
        return True

    def command(self, *command):
        return ["nsenter", "--all", "--target", self.first, *command]

    def run(self, *command, check=False):
        """Runs a command in the machine to its end."""
        done = subprocess.run(self.command(*command), preexec_fn=self.enter, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if check and done.returncode:
            sys.exit(f"machine: {' '.join(command)}: {done.returncode}: {done.stdout}")
        return done

    def cpu(self):
        """Seconds that all processes of the machine took so far."""
        return int(re.search(r"^usage_usec (\d+)", (self.cgroup / "cpu.stat").read_text(), flags=re.M)[1]) / 1e6

    def stop(self):
        self.holder.send_signal(signal.SIGKILL)
        self.holder.wait()
        # The kernel ends the rest, with the first process of their namespace.
        until("its processes are gone", lambda: not any(processes(self.cgroup)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ends.close()


def cgroups():
    """Where cgroups of version 2 are."""
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return pathlib.Path(place)
    sys.exit("machine: this system has no cgroups of version 2")


def processes(cgroup):
    for file in cgroup.rglob("cgroup.procs"):
        with contextlib.suppress(OSError):
            yield from file.read_text().split()


def removed(cgroup):
    """Takes a cgroup away with those in it."""
    for folder in sorted((path for path in cgroup.rglob("*") if path.is_dir()), reverse=True):
        folder.rmdir()
    cgroup.rmdir()
    return True


def measure(packages, rounds):
    # As their pages say it.
    ways = {
        "tar": (packages.tar, "cd /root && tar xzf /packages/*.tar.gz && install -m 755 gateway-*/gateway /usr/local/bin/ && exec gateway"),
        "deb": (packages.deb, "apt-get -q install -y /packages/*.deb"),
    }
    print("| | bytes | seconds to the first message | seconds of CPU |\n|---|---|---|---|", flush=True)
    for name, (file, command) in ways.items():
        for _ in range(rounds):
            with Machine([file]) as machine:
                cpu, began = machine.cpu(), time.monotonic()
                child = subprocess.Popen(machine.command("sh", "-c", command), preexec_fn=machine.enter, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                first_message(lambda: child.poll() in (None, 0))
                seconds, cpu = time.monotonic() - began, machine.cpu() - cpu
                print(f"| {name} | {file.stat().st_size:,} | {seconds:.2f} | {cpu:.2f} |", flush=True)


def build(rounds):
    """From a clone to the first message. The crates are there, packed, as a first build finds them once it has fetched them."""
    home = pathlib.Path(os.environ.get("CARGO_HOME") or pathlib.Path.home() / ".cargo")
    rust = subprocess.run(["rustc", "--print", "sysroot"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        sources = pathlib.Path(folder) / "sources.tar"
        subprocess.run(["git", "archive", f"--output={sources}", "HEAD"], cwd=ROOT, check=True)
        print("| | MB of target | MB of the program, stripped | seconds to the first message | seconds of CPU |\n|---|---|---|---|---|", flush=True)
        for _ in range(rounds):
            with Machine([sources], COMPILER, {"rust": rust}) as machine:
                build_once(machine, home)


def build_once(machine, home):
    for part in ("index", "cache"):
        shutil.copytree(home / "registry" / part, machine.root / "cargo/registry" / part)
    if (home / "config.toml").exists():
        shutil.copy(home / "config.toml", machine.root / "cargo")
    machine.run("sh", "-c", "mkdir /src && tar xf /packages/sources.tar -C /src", check=True)
    settings = ["PATH=/rust/bin:/usr/bin:/bin", "CARGO_HOME=/cargo", "CARGO_NET_OFFLINE=true"]
    cpu, began = machine.cpu(), time.monotonic()
    with tempfile.TemporaryFile() as log:
        command = machine.command("env", "-i", *settings, "sh", "-c", "cd /src && exec cargo run --release")
        child = subprocess.Popen(command, preexec_fn=machine.enter, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            first_message(lambda: child.poll() is None, BUILD_SECONDS)
        except SystemExit:
            log.seek(0)
            sys.exit(f"machine: no first message: {log.read().decode()[-2000:]}")
    seconds, cpu = time.monotonic() - began, machine.cpu() - cpu
    target = int(machine.run("du", "-sm", "/src/target", check=True).stdout.split()[0])
    machine.run("strip", "-o", "/stripped", "/src/target/release/gateway", check=True)
    program = (machine.root / "stripped").stat().st_size / 1e6
    print(f"| `cargo run --release` | {target} | {program:.1f} | {seconds:.0f} | {cpu:.0f} |", flush=True)


def first_message(goes_on, patience=PATIENCE_SECONDS):
    """Waits until a client connects, calls, and is answered."""
    deadline = time.monotonic() + patience
    while not echoes():
        if not goes_on() or time.monotonic() > deadline:
            sys.exit("machine: no first message")
        time.sleep(PAUSE_SECONDS)


def echoes(host="127.0.0.1", port=CLIENTS, auth=""):
    """Whether a client that connects by polling gets its call answered."""
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_SECONDS)
    try:

        def ask(method, body=None, sid=""):
            connection.request(method, f"/socket.io/?EIO=4&transport=polling{sid}", body=body)
            return connection.getresponse().read().decode()

        sid = "&sid=" + re.search(r'"sid":"([^"]+)"', ask("GET"))[1]
        ask("POST", f"40{auth}", sid)
        heard = ask("GET", sid=sid)
        if heard.startswith("40"):
            ask("POST", '420["echo","hello"]', sid)
            heard = ask("GET", sid=sid)
        # It closes its session, for which a stop would wait.
        ask("POST", "1", sid)
        return heard == '430["hello"]'
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def shown_certificate():
    """What the clients' port shows, if it speaks TLS."""
    try:
        return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", CLIENTS)))
    except OSError:
        return None


def check(packages):
    """What the page of packages says of the service."""
    with Machine([packages.deb]) as machine:
        service = Service(machine)
        machine.run("apt-get", "-q", "install", "-y", f"/packages/{packages.deb.name}", check=True)
        for step in (service.serves, service.tells_its_sessions, service.is_rated, service.reloads, service.reloads_by_its_type, service.refuses_a_bad_reload):
            step()
        for step in (service.gets_credentials, service.renews_a_certificate, service.gets_sockets, service.is_watched, service.is_left_with_a_wrong_file):
            step()
        service.is_upgraded(packages)
        service.goes()
    with Machine([packages.tar]) as machine:
        installs_from_the_tar(machine)
    print("machine: all as the page says")


def installs_from_the_tar(machine):
    """Each command of INSTALL.md, in its order; the machine's only user is root, without sudo."""
    machine.run("sh", "-c", "mkdir /tar && tar xzf /packages/*.tar.gz --strip-components=1 -C /tar", check=True)
    page = (HERE / "INSTALL.md").read_text()
    commands = re.findall(r"^\$ (.*)$|`(sudo [^`]*)`", page, flags=re.M)
    for command in (block or inline for block, inline in commands):
        told = ["sh", "-c", f"cd /tar && {command.replace('sudo ', '')}"]
        if command != "gateway":
            machine.run(*told, check=True)
            continue
        node = subprocess.Popen(machine.command(*told), preexec_fn=machine.enter, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        first_message(lambda: node.poll() is None)
        machine.run("pkill", "-INT", "--exact", "gateway", check=True)
        node.wait(PATIENCE_SECONDS)
    service = Service(machine)
    service.serves()
    service.holds(machine.run("test", "-e", "/usr/local/share/man/man1/gateway.1").returncode == 0, "there is no manual")
    print(f"  the {len(commands)} commands of INSTALL.md, and the service that they start", flush=True)


class Service:
    """The service of the package, asked through systemd."""

    def __init__(self, machine):
        self.machine = machine
        self.unit = (HERE / "gateway.service").read_text()

    def systemctl(self, *arguments, check=True):
        return self.machine.run("systemctl", *arguments, check=check)

    def start_again(self, verb="restart"):
        """What comes of it the next step sees."""
        # systemd would refuse the sixth start within ten seconds.
        self.systemctl("reset-failed", "gateway", check=False)
        self.systemctl(verb, "gateway", check=False)

    def shows(self, name):
        return self.systemctl("show", "--value", f"--property={name}", "gateway").stdout.strip()

    def write(self, path, text):
        """A file of the machine; the place is as the machine sees it."""
        self.machine.run("mkdir", "-p", str(pathlib.PurePosixPath(path).parent), check=True)
        done = subprocess.run(self.machine.command("tee", path), input=text, stdout=subprocess.DEVNULL, text=True)
        self.holds(done.returncode == 0, f"{path} cannot be written")

    def holds(self, it, what):
        if not it:
            log = self.machine.run("journalctl", "--no-pager", "--lines=40", "--unit=gateway").stdout
            status = self.machine.run("systemctl", "--no-pager", "status", "gateway").stdout
            sys.exit(f"machine: {what}\n{status}\n{log}")

    def wait(self, what, holds):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            self.holds(time.monotonic() < deadline, f"not within {PATIENCE_SECONDS} s: {what}")
            time.sleep(0.05)

    def said(self, what):
        print(f"  {what}", flush=True)

    def serves(self):
        self.holds(self.shows("ActiveState") == "active", "it is not started by its installation")
        self.holds(self.shows("UnitFileState") == "enabled", "it is not enabled")
        self.wait("a first message", echoes)
        user = self.machine.run("ps", "-o", "uid=", "-p", self.shows("MainPID")).stdout.strip()
        self.holds(int(user) in DYNAMIC_USERS, f"its user is {user}")
        self.said("started and enabled, as a user of its own; a client is answered")

    def tells_its_sessions(self):
        self.wait("it tells its sessions", lambda: re.match(r"serving \d+ sessions", self.shows("StatusText")))
        self.said(f"systemctl status shows: {self.shows('StatusText')}")

    def is_rated(self):
        rated = self.machine.run("systemd-analyze", "security", "--no-pager", "gateway").stdout
        (score,) = re.findall(r"Overall exposure level for gateway.service: ([\d.]+)", rated)
        self.holds(float(score) <= 2.0, f"systemd rates it {score}")
        self.said(f"systemd-analyze security: {score}")

    def reloads(self):
        settings = self.machine.run("cat", "/etc/gateway/gateway.toml", check=True).stdout
        self.write("/etc/gateway/gateway.toml", settings + '\n[log]\nlevel = "debug"\n')
        first = self.shows("MainPID")
        self.systemctl("reload", "gateway")
        self.wait("it says that it reloaded", lambda: "log.level" in self.log())
        self.holds(self.shows("MainPID") == first, "a reload started it anew")
        self.said("systemctl reload takes a changed setting")

    def reloads_by_its_type(self):
        """As the unit says of newer systemd."""
        version = int(re.match(r"systemd (\d+)", self.systemctl("--version").stdout)[1])
        if version < FIRST_WITH_NOTIFY_RELOAD:
            self.said(f"Type=notify-reload is not tried: this is systemd {version}")
            return
        self.drop_in("reload", "[Service]\nType=notify-reload\nExecReload=\n")
        self.start_again()
        reloads = self.log().count("settings read again")
        self.systemctl("reload", "gateway")
        # It ends when the node says that it is ready again.
        self.holds(self.log().count("settings read again") == reloads + 1, "no reload by Type=notify-reload")
        self.drop_in("reload", "")
        self.start_again()
        self.said("systemctl reload with Type=notify-reload and without ExecReload")

    def refuses_a_bad_reload(self):
        settings = self.machine.run("cat", "/etc/gateway/gateway.toml", check=True).stdout
        self.write("/etc/gateway/gateway.toml", settings + "surprise = 1\n")
        self.systemctl("reload", "gateway", check=False)
        self.wait("it says what is wrong", lambda: "surprise" in self.log())
        self.holds(echoes(), "it does not serve after a refused reload")
        self.write("/etc/gateway/gateway.toml", settings)
        self.said("a reload of a wrong file is refused, and it serves on")

    def log(self):
        return self.machine.run("journalctl", "--no-pager", "--unit=gateway").stdout

    def gets_credentials(self):
        """By the lines at the head of the unit."""
        (lines,) = re.findall(r"((?:^#   .*\n)+)", self.unit, flags=re.M)
        self.write("/etc/gateway/secrets/jwt_secret", SECRET)
        self.machine.run("chmod", "600", "/etc/gateway/secrets/jwt_secret", check=True)
        self.drop_in("credentials", re.sub(r"^#   ", "", lines, flags=re.M))
        self.start_again()
        self.holds(not echoes(), "it takes clients without a token")
        token = self.machine.run("gateway", "token", "--sub", "ann", "--auth-jwt-secret", SECRET, check=True).stdout.strip()
        shown = f'{{"token":"{token}"}}'
        self.wait("a client with a token is answered", lambda: echoes(auth=shown))
        self.said("a secret that root alone can read comes by LoadCredential")
        self.write("/etc/gateway/secrets/jwt_secret", SECRET[::-1])
        self.systemctl("reload", "gateway")
        self.holds(echoes(auth=shown), "a reload reads another credential than that of the start")
        self.start_again()
        self.holds(not echoes(auth=shown), "a restart keeps the old credential")
        self.drop_in("credentials", "")
        self.start_again()
        self.said("a changed credential counts from the next start on")

    def renews_a_certificate(self):
        """That a group of the service may read, by the lines of the page."""
        (drop_in,) = re.findall(r"```ini\n(  \[Service\]\n  SupplementaryGroups=.*?)```", PAGE.read_text(), flags=re.S)
        self.machine.run("groupadd", "--system", "tls", check=True)
        first = self.certificate()
        self.machine.run("chown", "root:tls", "/etc/gateway/tls", check=True)
        self.machine.run("chmod", "750", "/etc/gateway/tls", check=True)
        self.drop_in("tls", re.sub("^  ", "", drop_in, flags=re.M))
        self.start_again()
        self.wait("it shows its certificate", lambda: shown_certificate() == first)
        second = self.certificate()
        self.wait("it shows the new certificate", lambda: shown_certificate() == second)
        self.machine.run("rm", "-r", "/etc/gateway/tls", check=True)
        self.drop_in("tls", "")
        self.start_again()
        self.said("a certificate that its group can read, renewed while it serves")

    def certificate(self):
        """Writes a new one with its key, and returns it."""
        with tempfile.TemporaryDirectory() as folder:
            crt, key = pathlib.Path(folder) / "tls.crt", pathlib.Path(folder) / "tls.key"
            make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
            subprocess.run([*make, "-keyout", key, "-out", crt], check=True, stderr=subprocess.DEVNULL)
            for file in (crt, key):
                self.write(f"/etc/gateway/tls/{file.name}", file.read_text())
                self.machine.run("chown", "root:tls", f"/etc/gateway/tls/{file.name}", check=True)
                self.machine.run("chmod", "640", f"/etc/gateway/tls/{file.name}", check=True)
            return ssl.PEM_cert_to_DER_cert(crt.read_text())

    def drop_in(self, name, text):
        self.write(f"/etc/systemd/system/gateway.service.d/{name}.conf", text)
        self.systemctl("daemon-reload")

    def gets_sockets(self):
        """By the two units of the page; clients come by port 443, for which the service has no right."""
        (block,) = re.findall(r"```ini\n(\s*\[Socket\].*?)```", PAGE.read_text(), flags=re.S)
        unit = re.sub(r"^ +", "", block, flags=re.M)
        self.write("/etc/systemd/system/gateway-clients.socket", unit)
        self.write("/etc/systemd/system/gateway-internal.socket", unit.replace("443", str(INTERNAL)).replace("=clients", "=internal"))
        self.systemctl("daemon-reload")
        self.systemctl("stop", "gateway")
        self.systemctl("start", "gateway-clients.socket", "gateway-internal.socket")
        # The first client starts it, and waits for that long.
        self.holds(echoes(port=443), "no answer by the socket of systemd")
        self.start_again()
        self.holds(echoes(port=443), "no answer by the socket of systemd after a restart")
        self.systemctl("stop", "gateway-clients.socket", "gateway-internal.socket", "gateway")
        self.machine.run("rm", "/etc/systemd/system/gateway-clients.socket", "/etc/systemd/system/gateway-internal.socket", check=True)
        self.systemctl("daemon-reload")
        self.start_again("start")
        self.said("sockets of systemd: port 443, and a restart that clients do not notice")

    def is_watched(self):
        self.drop_in("watchdog", "[Service]\nWatchdogSec=2s\nTimeoutStopSec=5s\n")
        self.start_again()
        first = self.shows("MainPID")
        self.machine.run("kill", "-STOP", first, check=True)
        self.wait("systemd starts it again", lambda: self.shows("MainPID") not in (first, "0") and echoes())
        self.holds("watchdog" in self.log().lower(), "the log does not name the watchdog")
        self.drop_in("watchdog", "")
        self.start_again()
        self.said("one that stands still is started again")

    def is_left_with_a_wrong_file(self):
        settings = self.machine.run("cat", "/etc/gateway/gateway.toml", check=True).stdout
        self.write("/etc/gateway/gateway.toml", settings + "surprise = 1\n")
        self.start_again()
        self.wait("it failed", lambda: self.shows("ActiveState") == "failed")
        self.holds(self.shows("NRestarts") == "0" and self.shows("ExecMainStatus") == "2", "it is started again and again")
        self.write("/etc/gateway/gateway.toml", settings)
        self.start_again("start")
        self.wait("a message", echoes)
        self.said("with a wrong file it fails once, and is left")

    def is_upgraded(self, packages):
        """By the same version: what counts is that the service is another process with the old settings."""
        settings = self.machine.run("cat", "/etc/gateway/gateway.toml", check=True).stdout
        first = self.shows("MainPID")
        self.machine.run("dpkg", "--force-confold", "--install", f"/packages/{packages.deb.name}", check=True)
        self.wait("a new process serves", lambda: self.shows("MainPID") not in (first, "0") and echoes())
        self.holds(self.machine.run("cat", "/etc/gateway/gateway.toml").stdout == settings, "an upgrade takes the settings")
        self.said("an upgrade starts it anew, with the settings that were changed")

    def goes(self):
        self.machine.run("apt-get", "-q", "remove", "-y", "gateway", check=True)
        self.holds(self.shows("ActiveState") == "inactive", "it is not stopped by its removal")
        self.holds(self.machine.run("test", "-e", "/etc/gateway/gateway.toml").returncode == 0, "a removal takes the settings")
        self.machine.run("apt-get", "-q", "purge", "-y", "gateway", check=True)
        for path in ("/etc/gateway", "/usr/bin/gateway", "/etc/systemd/system/multi-user.target.wants/gateway.service"):
            self.holds(self.machine.run("test", "-e", path).returncode == 1, f"a purge leaves {path}")
        self.said("a removal stops it and keeps the settings, a purge leaves nothing")


if __name__ == "__main__":
    main()
