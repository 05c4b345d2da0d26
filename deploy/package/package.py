#!/usr/bin/env python3
"""Makes the packages: package.py [--program PATH] [--target TRIPLE] [--out FOLDER] [--fast]

It builds the program as the profile `dist` has it, static, and makes of it a tar and a Debian package, each with completions, pages of the
manual, licences and the unit of systemd, and a file of checksums. --program takes a program that is built already. All times in the
packages are that of the commit (or SOURCE_DATE_EPOCH), so that the same source makes the same bytes. It needs cargo, a C compiler, and
dpkg-deb for the Debian package.
"""

import argparse
import email.utils
import gzip
import hashlib
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

import licences  # noqa: E402

# Debian's word for a processor.
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}
# Where a shell of Debian looks for completions.
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/gateway",
    "zsh": "usr/share/zsh/vendor-completions/_gateway",
    "fish": "usr/share/fish/vendor_completions.d/gateway.fish",
}
# What lintian is not to say: the program is static on purpose, which lintian calls the one or the other, and Debian has no bug that asks
# for the package.
OVERRIDES = """\
gateway: statically-linked-binary [usr/bin/gateway]
gateway: shared-library-lacks-prerequisites [usr/bin/gateway]
gateway: initial-upload-closes-no-bugs [usr/share/doc/gateway/changelog.Debian.gz:1]
"""
# Who answers for the package; set it to whoever publishes it.
MAINTAINER = os.environ.get("PACKAGE_MAINTAINER", "The Gateway maintainers <maintainers@gateway.invalid>")
SUMMARY = "horizontally scaled Socket.IO gateway"
DESCRIPTION = """\
Clients of Socket.IO connect to it over WebSocket or HTTP long-polling, join
rooms and publish to them; a backend in any language can decide what they may
do. It runs as one node, or as many nodes that Redis joins.
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program")
    parser.add_argument("--target", default=host())
    parser.add_argument("--fast", action="store_true", help="pack less tightly, for tests")
    parser.add_argument("--out", default=str(target_folder() / "package"))
    given = parser.parse_args()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct") or 0)
    program = pathlib.Path(given.program) if given.program else build(given.target)
    out = pathlib.Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    made = packages(program, given.target, out, epoch, "1" if given.fast else "9")
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in made)
    (out / "SHA256SUMS").write_text(sums)
    for path in [*made, out / "SHA256SUMS"]:
        print(f"{path.stat().st_size:>12,}  {path}")


def packages(program, target, out, epoch, level):
    """Makes all packages in `out`, and returns their files."""
    version = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), flags=re.M)[1]
    processor = target.split("-")[0]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        parts = Parts(program, target, folder, epoch)
        name = f"gateway-{version}-{processor}-linux"
        made = [tar(parts, out / f"{name}.tar.gz", name, epoch, level)]
        if processor in DEBIAN and shutil.which("dpkg-deb"):
            made.append(debian(parts, out, version, DEBIAN[processor], folder / "debian", epoch, level))
        else:
            print("no Debian package: dpkg-deb is not on the PATH", file=sys.stderr)
    return made


class Parts:
    """What packages hold: contents by name."""

    def __init__(self, program, target, folder, epoch):
        stripped = folder / "gateway"
        subprocess.run([strip(target), "--strip-all", "-o", stripped, program], check=True)
        self.program = stripped.read_bytes()
        # The program tells what it is; one for another processor is asked by the emulator of QEMU.
        runner = [] if target.split("-")[0] == os.uname().machine else [f"qemu-{target.split('-')[0]}-static"]
        ask = lambda *what: subprocess.run([*runner, stripped, *what], check=True, stdout=subprocess.PIPE).stdout
        self.completions = {shell: ask("completions", shell) for shell in COMPLETIONS}
        manual = folder / "manual"
        manual.mkdir()
        ask("man", "--out", manual)
        self.manual = {page.name: page.read_bytes() for page in sorted(manual.iterdir())}
        self.licences = licences.text(ROOT, target).encode()
        self.unit = (HERE / "gateway.service").read_bytes()
        self.settings = (HERE / "gateway.toml").read_bytes()
        own = ("LICENSE-MIT", "LICENSE-APACHE", "README.md", "CHANGELOG.md")
        self.pages = {name: (ROOT / name).read_bytes() for name in own}


def tar(parts, path, name, epoch, level):
    """The program and what belongs to it, in one folder."""
    # A program elsewhere than in /usr/bin, as the README of the tar says.
    unit = parts.unit.replace(b"/usr/bin/gateway", b"/usr/local/bin/gateway")
    files = {"gateway": (parts.program, 0o755), "gateway.service": (unit, 0o644), "gateway.toml": (parts.settings, 0o644)}
    files["LICENCES.txt"] = (parts.licences, 0o644)
    files |= {page: (text, 0o644) for page, text in parts.pages.items()}
    files |= {f"man/{page}": (text, 0o644) for page, text in parts.manual.items()}
    files |= {f"completions/{pathlib.Path(COMPLETIONS[shell]).name if shell != 'bash' else 'gateway.bash'}": (text, 0o644) for shell, text in parts.completions.items()}
    files["INSTALL.md"] = ((HERE / "INSTALL.md").read_bytes(), 0o644)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for file, (content, mode) in sorted(files.items()):
            entry = tarfile.TarInfo(f"{name}/{file}")
            entry.size, entry.mode, entry.mtime = len(content), mode, epoch
            archive.addfile(entry, io.BytesIO(content))
    path.write_bytes(zipped(packed.getvalue(), level))
    return path


def debian(parts, out, version, architecture, tree, epoch, level):
    """A package for dpkg."""
    revision = f"{version}-1"
    doc = "usr/share/doc/gateway"
    files = {
        "usr/bin/gateway": (parts.program, 0o755),
        "etc/gateway/gateway.toml": (parts.settings, 0o644),
        "usr/lib/systemd/system/gateway.service": (parts.unit, 0o644),
        f"{doc}/copyright": (copyright_file(parts), 0o644),
        f"{doc}/LICENCES.txt.gz": (zipped(parts.licences), 0o644),
        f"{doc}/changelog.gz": (zipped(parts.pages["CHANGELOG.md"]), 0o644),
        f"{doc}/changelog.Debian.gz": (zipped(debian_changelog(revision, epoch)), 0o644),
        "usr/share/lintian/overrides/gateway": (OVERRIDES.encode(), 0o644),
    }
    files |= {f"usr/share/man/man1/{page}.gz": (zipped(text), 0o644) for page, text in parts.manual.items()}
    files |= {COMPLETIONS[shell]: (text, 0o644) for shell, text in parts.completions.items()}
    control = f"""\
Package: gateway
Version: {revision}
Architecture: {architecture}
Maintainer: {MAINTAINER}
Installed-Size: {sum(-(-len(content) // 1024) for content, _ in files.values())}
Pre-Depends: init-system-helpers (>= 1.54~)
Recommends: ca-certificates
Section: net
Priority: optional
Description: {SUMMARY}
{"".join(f" {line}{chr(10)}" for line in DESCRIPTION.splitlines())}"""
    sums = "".join(f"{hashlib.md5(content).hexdigest()}  {file}\n" for file, (content, _) in sorted(files.items()) if not file.startswith("etc/"))
    files |= {
        "DEBIAN/control": (control.encode(), 0o644),
        "DEBIAN/conffiles": (b"/etc/gateway/gateway.toml\n", 0o644),
        "DEBIAN/md5sums": (sums.encode(), 0o644),
    }
    files |= {f"DEBIAN/{script.name}": (script.read_bytes(), 0o755) for script in sorted((HERE / "debian").iterdir())}
    for file, (content, mode) in files.items():
        path = tree / file
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        path.write_bytes(content)
        path.chmod(mode)
    for folder in [tree, *(path for path in tree.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)
    made = out / f"gateway_{revision}_{architecture}.deb"
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", "-Zxz" if level == "9" else "-Zgzip", f"-z{level}", tree, made], check=True, env=environment, stdout=subprocess.DEVNULL)
    return made


def copyright_file(parts):
    """Debian's file of licences: of the program itself, and where those of its parts are."""
    mit = re.sub(r"^$", ".", parts.pages["LICENSE-MIT"].decode().strip(), flags=re.M)
    mit = "\n".join(f" {line}" for line in mit.splitlines())
    return f"""\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: gateway
Comment: The libraries that the program holds have licences of their own: LICENCES.txt.gz in this folder.

Files: *
Copyright: The Gateway authors
License: Expat or Apache-2.0

License: Expat
{mit}

License: Apache-2.0
 On Debian systems the full text of the Apache License, Version 2.0 is in /usr/share/common-licenses/Apache-2.0.
""".encode()


def debian_changelog(revision, epoch):
    date = email.utils.formatdate(epoch)
    return f"gateway ({revision}) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- {MAINTAINER}  {date.replace('-0000', '+0000')}\n".encode()


def build(target):
    """Builds the program, and returns its path."""
    environment = dict(os.environ)
    commit, date = git("rev-parse", "HEAD"), git("log", "-1", "--format=%cs")
    if commit:
        environment |= {"GATEWAY_COMMIT": commit, "GATEWAY_COMMIT_DATE": date}
    subprocess.run([HERE / "dist.sh", target], cwd=ROOT, env=environment, check=True)
    return target_folder() / target / "dist" / "gateway"


def target_folder():
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()


def host():
    said = subprocess.run(["rustc", "-vV"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return re.search(r"^host: (.*)$", said, flags=re.M)[1]


def strip(target):
    processor = target.split("-")[0]
    return "strip" if processor == os.uname().machine else f"{processor}-linux-gnu-strip"


def git(*arguments):
    """What git says, or nothing without git."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def zipped(content, level="9"):
    return gzip.compress(content, int(level), mtime=0)


if __name__ == "__main__":
    main()
