#!/usr/bin/env python3
"""Holds the finished packages of target/package against what only they show: lintian, size, that the program is static, and TLS of the
library that only the profile `dist` has. REPRODUCE=1 also builds them a second time in another folder, and compares."""

import filecmp
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time

from package import ROOT, git, host, target_folder

MOST_BYTES = 20_000_000


def main():
    made = target_folder() / "package"
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=made, check=True)
    (archive,) = made.glob(f"gateway-*-{host().split('-')[0]}-linux.tar.gz")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(archive) as files:
            files.extractall(folder, filter="data")
        (program,) = pathlib.Path(folder).glob("*/gateway")
        small(program)
        static(program)
        version(program)
        odd_certificate(program, pathlib.Path(folder))
    for package in made.glob("*.deb"):
        lint(package)
    if os.environ.get("REPRODUCE"):
        reproduce(made)
    print("packages: 1 passed, 0 failed")


def small(program):
    size = program.stat().st_size
    print(f"the program: {size:,} bytes")
    if size > MOST_BYTES:
        sys.exit(f"packages: the program has {size:,} bytes; {MOST_BYTES:,} are allowed")


def static(program):
    said = subprocess.run(["ldd", program], capture_output=True, text=True)
    if "statically linked" not in said.stdout + said.stderr and "not a dynamic" not in said.stdout + said.stderr:
        sys.exit(f"packages: the program is not static: {said.stdout}")


def version(program):
    said = subprocess.run([program, "version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    print(said, end="")
    if "AWS-LC" not in said:
        sys.exit("packages: the program is not built with the features of dist")
    commit, date = git("rev-parse", "HEAD")[:12], git("log", "-1", "--format=%cs")
    if f"({commit} {date})" not in said:
        sys.exit(f"packages: the program does not say the commit {commit} of {date}")


def odd_certificate(program, folder):
    """A certificate with a key of P-521, which ring does not know."""
    crt, key = folder / "p521.crt", folder / "p521.key"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*make, "-keyout", key, "-out", crt], check=True, stderr=subprocess.DEVNULL)
    with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [it.getsockname()[1] for it in (free, other)]
    flags = ["--listen", f"127.0.0.1:{ports[0]}", "--internal-listen", f"127.0.0.1:{ports[1]}", "--shutdown-drain", "0s"]
    node = subprocess.Popen([program, *flags, "--tls-cert", crt, "--tls-key", key])
    try:
        deadline = time.monotonic() + 30
        while True:
            client = ["openssl", "s_client", "-connect", f"127.0.0.1:{ports[0]}", "-CAfile", crt, "-verify_return_error", "-brief"]
            done = subprocess.run(client, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if done.returncode == 0:
                break
            if time.monotonic() > deadline:
                sys.exit(f"packages: no TLS with a key of P-521: {done.stderr}")
            time.sleep(0.2)
    finally:
        node.terminate()
        node.wait(30)
    print("TLS with a certificate of P-521: accepted")


def lint(package):
    if not shutil.which("lintian"):
        sys.exit("packages: lintian is not installed: apt-get install lintian")
    done = subprocess.run(["lintian", "--fail-on", "error", "--allow-root", package], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(f"lintian {package.name}: {done.stdout.strip() or 'nothing to say'}")
    if done.returncode != 0:
        sys.exit(1)


def reproduce(made):
    """Builds again from a copy of the sources in another place."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        copy = folder / "another place"
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, copy], check=True)
        environment = {**os.environ, "CARGO_TARGET_DIR": str(folder / "target")}
        subprocess.run([sys.executable, copy / "deploy/package/package.py"], cwd=copy, env=environment, check=True)
        again = folder / "target/package"
        same, differ, failed = filecmp.cmpfiles(made, again, [path.name for path in made.iterdir()], shallow=False)
        print(f"built twice: same {same}, different {differ + failed}")
        if differ or failed:
            sys.exit(1)


if __name__ == "__main__":
    main()
