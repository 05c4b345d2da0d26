#!/usr/bin/env python3
"""Runs the Autobahn WebSocket test suite against a server that echoes messages.

    run.py                       judges the program `echo_frames`, which `make build` makes
    run.py SERVER [ARGUMENT...]  judges this command, which listens on loopback at $PORT

Autobahn needs Python 2.7: $PYTHON2, or what is found on the PATH or among pyenv's versions. It is
installed under target/autobahn, and its reports stay there. Every case must be OK or informational.
INSTALL_ONLY=1 ends before the tests.
"""

import collections
import glob
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "testkit" / "python"))

from testkit import INSTALL_ONLY, Process, free_ports  # noqa: E402

REQUIREMENTS = HERE / "requirements.txt"

# Two clients at once: group 9 works, the others mostly wait. 12 and 13 are compression, which the
# gateway does not negotiate; 8 and 11 do not exist.
PARTS = {
    "protocol": ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"],
    "limits": ["9.*"],
}
CASES = 301
LARGEST_MESSAGE = 16 << 20
ACCEPTED = {"OK", "INFORMATIONAL"}

SUITE_SECONDS = 300


def main():
    target = target_directory()
    suite = install(find_python(), target / "autobahn")
    if INSTALL_ONLY:
        return
    command = sys.argv[1:] or [str(target / "debug/examples/echo_frames"), "--limit", str(4 * LARGEST_MESSAGE)]
    reports = target / "autobahn" / "reports"
    shutil.rmtree(reports, ignore_errors=True)

    reports.mkdir(parents=True)
    (port,) = free_ports(1)
    server = Process(reports, *command, environment={**os.environ, "PORT": str(port)})
    try:
        server.until_listening(port)
        run_suite(suite, reports, port)
    finally:
        server.stop()
    judge(reports)


def find_python():
    """A Python 2.7 that has pip."""
    pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    candidates = [
        os.environ.get("PYTHON2"),
        *(shutil.which(name) for name in ("python2.7", "python2", "pypy")),
        *sorted(glob.glob(f"{pyenv}/versions/*2.7*/bin/python"), reverse=True),
    ]
    for python in filter(None, candidates):
        probe = "import pip, sys; sys.exit(sys.version_info[:2] != (2, 7))"
        if subprocess.run([python, "-c", probe], capture_output=True).returncode == 0:
            return python
    sys.exit(
        "Autobahn needs a Python 2.7 with pip, and none was found. Install one, for example with\n"
        "`pyenv install 2.7.18` (or `apt-get install python2 python-pip` where the distribution still\n"
        "has it), or name it in PYTHON2."
    )


def install(python, cache):
    """Installs Autobahn for this Python, once, and returns how to start it."""
    tag = "import platform as p; print('%s-%s' % (p.python_implementation(), p.python_version()))"
    tag = subprocess.run([python, "-c", tag], check=True, capture_output=True, text=True).stdout.strip()
    version = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:8]
    packages = cache / f"{tag}-{version}"
    if not packages.exists():
        print(f"Installing Autobahn for {tag}", flush=True)
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as unfinished:
            unfinished = pathlib.Path(unfinished) / "packages"
            pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-warn-script-location"]
            subprocess.run([*pip, "--target", unfinished, "--requirement", REQUIREMENTS], check=True, stderr=sys.stdout)
            # pip leaves out what makes `zope` a package when it installs into a folder.
            (unfinished / "zope" / "__init__.py").touch()
            unfinished.rename(packages)
    return [python, packages / "bin" / "wstest"], {**os.environ, "PYTHONPATH": str(packages)}


def target_directory():
    metadata = ["cargo", "metadata", "--no-deps", "--format-version=1"]
    told = subprocess.run(metadata, cwd=HERE, check=True, stdout=subprocess.PIPE, text=True).stdout
    return pathlib.Path(json.loads(told)["target_directory"])


def run_suite(suite, reports, port):
    command, environment = suite
    clients = []
    try:
        for part, cases in PARTS.items():
            folder = reports / part
            folder.mkdir(parents=True)
            specification = {
                "outdir": str(folder),
                "servers": [{"agent": "server", "url": f"ws://127.0.0.1:{port}"}],
                "cases": cases,
                "exclude-cases": [],
                "exclude-agent-cases": {},
            }
            (folder / "specification.json").write_text(json.dumps(specification))
            with open(folder / "log", "w") as log:
                arguments = ["-m", "fuzzingclient", "-s", folder / "specification.json"]
                clients.append(subprocess.Popen([*command, *arguments], env=environment, stdout=log, stderr=log))
        deadline = time.monotonic() + SUITE_SECONDS
        for client in clients:
            if client.wait(max(0, deadline - time.monotonic())) != 0:
                sys.exit(f"Autobahn ended with status {client.returncode}; its log is under {reports}.")
    except subprocess.TimeoutExpired:
        sys.exit(f"Autobahn was not done after {SUITE_SECONDS} seconds; its logs are under {reports}.")
    finally:
        for client in clients:
            if client.poll() is None:
                client.kill()
                client.wait()


def judge(reports):
    results = {}
    for part in PARTS:
        results.update(json.loads((reports / part / "index.json").read_text())["server"])
    counts = collections.Counter(it["behavior"] for it in results.values())
    closes = collections.Counter(it["behaviorClose"] for it in results.values())
    print(f"Autobahn: {len(results)} cases, {dict(counts)}; closing: {dict(closes)}")
    bad = {id: it for id, it in results.items() if not {it["behavior"], it["behaviorClose"]} <= ACCEPTED}
    for id, it in sorted(bad.items()):
        print(f"  {id}: {it['behavior']}, closing {it['behaviorClose']}")
    if len(results) != CASES:
        sys.exit(f"{CASES} cases should have run.")
    if bad:
        sys.exit(f"{len(bad)} cases are not as they should be; the reports are under {reports}.")


if __name__ == "__main__":
    main()
