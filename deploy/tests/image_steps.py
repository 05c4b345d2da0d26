#!/usr/bin/env python3
"""Does the steps of the Dockerfile without Docker, and starts the result as the image would be started.

The build's steps run in a copy of what the build's context holds, under target/deploy/image. Then the
program runs in a root of its own that holds the image's files and nothing else and is mounted read-only,
as the image's user, without capabilities. It needs root, for the mounts, and takes as long as a release
build. Names are looked up there, too, as they are for Redis.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

DEPLOY = pathlib.Path(__file__).resolve().parent.parent
ROOT = DEPLOY.parent
sys.path.insert(0, str(ROOT / "testkit" / "python"))

import testkit  # noqa: E402
from run import TARGET, install_packages  # noqa: E402

FOLDER = ROOT / "target" / "deploy" / "image"
SOURCES, IMAGE = FOLDER / "src", FOLDER / "root"


def main():
    if os.getuid() != 0:
        sys.exit("deploy: this needs root, for a root of its own that is read-only")
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    steps = re.sub(r"\\\n\s*", "", dockerfile)
    build(steps)
    user, entry, health = (re.search(pattern, steps, flags=re.M) for pattern in (r"^USER (\d+):(\d+)$", r'^ENTRYPOINT \["(.*)"\]$', r"^HEALTHCHECK .* CMD (\[.*\])$"))
    for path in sorted(path for path in IMAGE.rglob("*") if path.is_file()):
        print(f"  {path.stat().st_size:>11,} /{path.relative_to(IMAGE)}")
    kind = subprocess.run(["ldd", IMAGE / entry[1].lstrip("/")], capture_output=True, text=True)
    if "statically linked" not in kind.stdout + kind.stderr and "not a dynamic executable" not in kind.stdout + kind.stderr:
        sys.exit(f"deploy: {entry[1]} is not static: {kind.stdout}")
    TARGET.mkdir(parents=True, exist_ok=True)
    subprocess.run([install_packages(), DEPLOY / "tests" / "sbom.py", IMAGE / "usr/share/doc/gateway/gateway.cdx.json", IMAGE / entry[1].lstrip("/")], check=True)
    start(user.groups(), entry[1], json.loads(health[1]))


def build(steps):
    """The steps of the first stage: COPY . and each RUN."""
    stage = steps.split("\nFROM ")[1]
    date = subprocess.run(["git", "log", "-1", "--format=%cs"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    shutil.rmtree(SOURCES, ignore_errors=True)
    shutil.rmtree(IMAGE, ignore_errors=True)
    copy_context(SOURCES)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    environment = {**os.environ, "CARGO_TARGET_DIR": str(FOLDER / "target"), "GATEWAY_COMMIT": commit, "GATEWAY_COMMIT_DATE": date}
    environment.pop("RUSTFLAGS", None)
    for step in re.findall(r"^RUN (.*)$", stage, flags=re.M):
        command = re.sub(r"--mount=\S+ ", "", step).strip().replace("/image", str(IMAGE))
        print(f"+ {command}", flush=True)
        before = time.monotonic()
        subprocess.run(["sh", "-c", command], cwd=SOURCES, env=environment, check=True)
        print(f"  {time.monotonic() - before:.0f} s")


def copy_context(folder):
    """Copies what the build's context holds."""
    kept = re.findall(r"^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), flags=re.M)
    files = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *kept], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    for name in filter(None, files.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)


def start(user, entry, health):
    """Starts it in namespaces of its own, where only loopback is there, and tries it."""
    code = pathlib.Path(__file__).resolve()
    command = ["unshare", "--mount", "--net", "--pid", "--mount-proc", "--fork", "--kill-child", sys.executable, code, "inside", *user, entry, *health]
    done = subprocess.run(command, stdin=subprocess.DEVNULL)
    sys.exit(done.returncode)


def inside(uid, gid, entry, *health):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    (IMAGE / "etc/resolv.conf").write_text("nameserver 127.0.0.53\n")
    (IMAGE / "etc/hosts").write_text("127.0.0.1 localhost\n")
    subprocess.run(["mount", "--bind", IMAGE, IMAGE], check=True)
    # As every container runtime has them.
    (IMAGE / "dev").mkdir(exist_ok=True)
    for name in ("null", "random", "urandom"):
        (IMAGE / "dev" / name).touch()
        subprocess.run(["mount", "--bind", f"/dev/{name}", IMAGE / "dev" / name], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", IMAGE], check=True)
    asked = name_server()
    redis_asked = listen_as_redis()

    # chroot changes the user itself, since it needs a capability that the user has not.
    # The program's environment has no PATH.
    chroot = shutil.which("chroot", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"]))
    run = lambda *command: ["setpriv", "--no-new-privs", chroot, f"--userspec={uid}:{gid}", "--groups=", IMAGE, *command]
    settings = {"GATEWAY_INTERNAL_LISTEN": "127.0.0.1:3001", "GATEWAY_SHUTDOWN_DRAIN": "1s"}
    reference = subprocess.run(run(entry, "default-config", "--markdown"), check=True, stdout=subprocess.PIPE, text=True).stdout
    joins = "Not built yet" not in reference.split("### `redis.url`")[1].split("###")[0]
    if joins:
        settings["GATEWAY_REDIS_URL"] = "redis://redis.test:6379"
    node = subprocess.Popen(run(entry), env=settings, start_new_session=True)
    try:
        is_healthy = lambda: node.poll() is not None or subprocess.run(run(*health), env=settings, capture_output=True).returncode == 0
        testkit.until("the node is healthy", is_healthy)
        if node.poll() is not None:
            sys.exit("deploy: the node did not start")
        print(f"  {' '.join(health)}: 0")
        status = pathlib.Path(f"/proc/{node.pid}/status").read_text()
        shown = {name: re.search(rf"^{name}:\s*(.*)$", status, flags=re.M)[1].split("\t")[0] for name in ("Uid", "Gid", "CapEff", "NoNewPrivs")}
        print(f"  {shown}")
        if shown["Uid"] != uid or shown["Gid"] != gid or int(shown["CapEff"], 16) != 0:
            sys.exit("deploy: it does not run as it should")
        try:
            (IMAGE / "written").touch()
            sys.exit("deploy: the root can be written to")
        except OSError as error:
            print(f"  the root: {error.strerror}")
        with socket.create_connection(("127.0.0.1", 3000), 5) as client:
            client.sendall(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            answer = client.makefile("rb").read()
        print(f"  a client: {answer.splitlines()[0].decode()}, {answer.splitlines()[-1][:60].decode()}..")
        if joins:
            testkit.until("the name of Redis is looked up and its address is called", lambda: asked and redis_asked)
            print(f"  looked up: {sorted(set(asked))}, then Redis was called")
    finally:
        node.send_signal(signal.SIGTERM)
        code = node.wait(30)
    print(f"  ended with {code}")
    sys.exit(code)


def name_server():
    """Answers every question with 127.0.0.1, and returns the list of names that were asked for."""
    asked = []
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.53", 53))

    def serve():
        while True:
            question, peer = server.recvfrom(512)
            labels, at = [], 12
            while question[at]:
                labels.append(question[at + 1 : at + 1 + question[at]].decode())
                at += question[at] + 1
            kind = struct.unpack("!H", question[at + 1 : at + 3])[0]
            asked.append(".".join(labels))
            address = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04" + bytes([127, 0, 0, 1]) if kind == 1 else b""
            head = question[:2] + struct.pack("!HHHHH", 0x8180, 1, 1 if address else 0, 0, 0)
            server.sendto(head + question[12 : at + 5] + address, peer)

    threading.Thread(target=serve, daemon=True).start()
    return asked


def listen_as_redis():
    """Notes who connects to the port of Redis."""
    called = []
    server = socket.create_server(("127.0.0.1", 6379))

    def serve():
        while True:
            connection, peer = server.accept()
            called.append(peer)
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    return called


if __name__ == "__main__":
    if sys.argv[1:2] == ["inside"]:
        inside(*sys.argv[2:])
    else:
        main()
