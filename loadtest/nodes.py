#!/usr/bin/env python3
"""What nodes cost each other over one Redis: the figures of docs/scaling.md, "Nodes on one Redis".

    cargo build --release
    python3 loadtest/nodes.py [--bin target/release/gateway] [--out target/nodes.json] [--only members|publishes] [--most 100]

`members`: so many idle nodes with a socket each, for ten seconds. What being one of them costs a node and Redis, and
what a question to all of them costs.

`publishes`: a socket at the first node publishes 128 characters to a room with one member on so many others, in the
namespace without recovery and in the one with it. One message each millisecond, or 200 every ten. What costs the
sender without a listener is taken off.

CPU is the time that threads ran (/proc/PID/task/*/schedstat), bytes are Redis' own count. Only the standard library.
"""

import argparse
import base64
import json
import os
import pathlib
import selectors
import socket
import statistics
import struct
import subprocess
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIRST_PORT = 24_000
KEY = "a key that only measurements know"
MEMBERS = [1, 2, 3, 4, 6, 8, 16, 32, 64, 100]
LISTENERS = [0, 1, 2, 5, 10]
SECONDS = 10
ROUNDS = 3
# Messages of a burst, and the pause behind it in seconds.
PACES = {"one each millisecond": (1, 0.001), "200 every 10 ms": (200, 0.010)}
RECOVERY = "/kept"


def cpu(process):
    """Seconds that the threads of a process ran."""
    ran = 0
    for file in pathlib.Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
        try:
            ran += int(file.read_text().split()[0])
        except FileNotFoundError:
            continue
    return ran / 1e9


def until(holds, seconds=60):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit("it did not come so far in time")
        time.sleep(0.05)


class Redis:
    def __init__(self):
        self.port = FIRST_PORT - 1
        self.folder = tempfile.TemporaryDirectory()
        arguments = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder.name]
        self.process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        until(self.answers)

    def answers(self):
        try:
            return bool(self.info())
        except OSError:
            return False

    def info(self):
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"INFO all\r\nQUIT\r\n")
            text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def bytes(self):
        info = self.info()
        return int(info["total_net_input_bytes"]), int(info["total_net_output_bytes"])

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()


class Node:
    def __init__(self, binary, number, redis):
        self.port, self.internal = FIRST_PORT + 2 * number, FIRST_PORT + 1 + 2 * number
        settings = {
            "LISTEN": f"127.0.0.1:{self.port}",
            "INTERNAL_LISTEN": f"127.0.0.1:{self.internal}",
            "REDIS_URL": f"redis://127.0.0.1:{redis.port}",
            "SHARDS": "1",
            "ENGINE_PING_INTERVAL": "10m",
            "NAMESPACES": f"/,{RECOVERY}",
            "RECOVERY_WINDOW": "1m",
            "RECOVERY_NAMESPACES": RECOVERY,
            "API_KEY": KEY,
            "SHUTDOWN_DRAIN": "0",
        }
        environment = {**os.environ, **{f"GATEWAY_{name}": value for name, value in settings.items()}}
        self.process = subprocess.Popen([binary], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def is_one_of(self, nodes):
        try:
            return self.total("gateway_cluster_nodes") == nodes
        except OSError:
            return False

    def get(self, path):
        request = urllib.request.Request(f"http://127.0.0.1:{self.internal}{path}", headers={"Authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()

    def total(self, name):
        lines = (line.rsplit(" ", 1) for line in self.get("/metrics").splitlines() if not line.startswith("#"))
        return sum(float(value) for series, value in lines if series.split("{")[0] == name)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Client:
    """A WebSocket in a namespace, of whose answers only the first are read as such."""

    def __init__(self, node, namespace):
        self.prefix = "" if namespace == "/" else f"{namespace},"
        self.socket = socket.create_connection(("127.0.0.1", node.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1", f"Host: 127.0.0.1:{node.port}", "Upgrade: websocket",
            "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", "",
        ]
        self.socket.sendall("\r\n".join(lines).encode())
        self.expect(b"0{")
        self.socket.sendall(self.frame("40" + self.prefix))
        self.expect(f"40{self.prefix}{{".encode())

    def expect(self, part):
        seen = b""
        self.socket.settimeout(30)
        while part not in seen:
            more = self.socket.recv(65536)
            if not more:
                raise SystemExit(f"closed before {part}: {seen}")
            seen += more

    def frame(self, text):
        payload, mask = text.encode(), os.urandom(4)
        length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack(">H", len(payload))
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        return b"\x81" + length + mask + masked

    def event(self, *arguments, ack=""):
        return self.frame(f"42{self.prefix}{ack}{json.dumps(arguments)}")

    def join(self, room):
        self.socket.sendall(self.event("join", room, ack="1"))
        self.expect(f"43{self.prefix}1".encode())


class Drain(threading.Thread):
    """Reads what comes for clients and forgets it."""

    def __init__(self, clients):
        super().__init__(daemon=True)
        self.selector = selectors.DefaultSelector()
        for client in clients:
            client.socket.setblocking(False)
            self.selector.register(client.socket, selectors.EVENT_READ)
        self.over = False
        self.start()

    def run(self):
        while not self.over:
            for key, _ in self.selector.select(0.2):
                if not key.fileobj.recv(1 << 18):
                    self.selector.unregister(key.fileobj)

    def stop(self):
        self.over = True
        self.join()


def cluster(binary, count):
    redis = Redis()
    nodes = [Node(binary, number, redis) for number in range(count)]
    for node in nodes:
        until(lambda: node.is_one_of(count), 120)
    return redis, nodes


def members(binary, count):
    redis, nodes = cluster(binary, count)
    clients = [Client(node, "/") for node in nodes]
    for client in clients:
        client.join("everybody")
    time.sleep(5)
    ran, redis_ran, (bytes_in, bytes_out) = [cpu(node.process) for node in nodes], cpu(redis.process), redis.bytes()
    time.sleep(SECONDS)
    spent = [(cpu(node.process) - before) / SECONDS for node, before in zip(nodes, ran)]
    redis_spent, (bytes_in_now, bytes_out_now) = (cpu(redis.process) - redis_ran) / SECONDS, redis.bytes()
    result = {
        "nodes": count,
        "node_cores": statistics.mean(spent),
        "redis_cores": redis_spent,
        "redis_bytes_in": (bytes_in_now - bytes_in) / SECONDS,
        "redis_bytes_out": (bytes_out_now - bytes_out) / SECONDS,
        **questions(redis, nodes),
    }
    for client in clients:
        client.socket.close()
    for node in nodes:
        node.stop()
    redis.stop()
    return result


def questions(redis, nodes, count=50):
    """A list of the sockets of all nodes, asked for by the API."""
    nodes[0].get("/api/v1/sockets?limit=1000")
    ran, asker, (_, bytes_out) = cpu(redis.process), cpu(nodes[0].process), redis.bytes()
    others = sum(cpu(node.process) for node in nodes[1:])
    took = []
    for _ in range(count):
        began = time.monotonic()
        answer = json.loads(nodes[0].get("/api/v1/sockets?limit=1000"))
        took.append(time.monotonic() - began)
        if len(answer["sockets"]) != len(nodes):
            raise SystemExit(f"{len(answer['sockets'])} sockets of {len(nodes)}")
    spent = sum(took)
    return {
        "question_seconds": statistics.median(took),
        "questions_took": spent,
        "question_asker_us": 1e6 * (cpu(nodes[0].process) - asker) / count,
        "question_others_us": 1e6 * (sum(cpu(node.process) for node in nodes[1:]) - others) / count / max(1, len(nodes) - 1),
        "question_redis_us": 1e6 * (cpu(redis.process) - ran) / count,
        "question_redis_bytes_out": (redis.bytes()[1] - bytes_out) / count,
    }


def publishes(binary, rounds):
    redis, nodes = cluster(binary, 1 + max(LISTENERS))
    results = []
    for _ in range(rounds):
        for namespace in ("/", RECOVERY):
            for pace in PACES:
                for listeners in LISTENERS:
                    results.append(publish(redis, nodes, namespace, pace, listeners))
                    print(json.dumps(results[-1]), flush=True)
    for node in nodes:
        node.stop()
    redis.stop()
    return results


def publish(redis, nodes, namespace, pace, listeners):
    room = f"{pace} {listeners}"
    sender, receivers = nodes[0], nodes[1 : 1 + listeners]
    clients = [Client(node, namespace) for node in receivers]
    for client in clients:
        client.join(room)
    publisher = Client(sender, namespace)
    drain = Drain([*clients, publisher])
    burst, pause = PACES[pace]
    message = publisher.event("publish", room, "message", "x" * 128) * burst
    publisher.socket.setblocking(True)

    def run(seconds):
        began, sent = time.monotonic(), 0
        while (now := time.monotonic()) < began + seconds:
            publisher.socket.sendall(message)
            sent += burst
            time.sleep(max(0, began + sent / burst * pause - now))
        return sent

    run(2)
    ran, redis_ran, receivers_ran = cpu(sender.process), cpu(redis.process), [cpu(node.process) for node in receivers]
    sent = run(SECONDS / 2)
    time.sleep(0.2)
    us = lambda seconds: 1e6 * seconds / sent
    result = {
        "namespace": namespace,
        "pace": pace,
        "listeners": listeners,
        "per_second": sent / (SECONDS / 2),
        "sender_us": us(cpu(sender.process) - ran),
        "redis_us": us(cpu(redis.process) - redis_ran),
        "receiver_us": statistics.mean(us(cpu(node.process) - before) for node, before in zip(receivers, receivers_ran)) if receivers else 0,
    }
    drain.stop()
    for client in [*clients, publisher]:
        client.socket.close()
    time.sleep(0.5)
    return result


def summary(results):
    """Medians of the rounds, by row."""
    rows = {}
    for it in results:
        rows.setdefault((it["namespace"], it["pace"], it["listeners"]), []).append(it)
    for (namespace, pace, listeners), rounds in rows.items():
        median = lambda name: statistics.median(it[name] for it in rounds)
        figures = " ".join(f"{name} {median(name):.2f}" for name in ("per_second", "sender_us", "redis_us", "receiver_us"))
        print(f"{namespace:6} {pace:21} {listeners:3} listeners: {figures}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default=str(ROOT / "target/release/gateway"))
    parser.add_argument("--out", default="target/nodes.json")
    parser.add_argument("--only", choices=["members", "publishes"])
    parser.add_argument("--most", type=int, default=max(MEMBERS), help="nodes of the largest cluster")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    results = {}
    if options.only in (None, "members"):
        results["members"] = []
        for count in (count for count in MEMBERS if count <= options.most):
            results["members"].append(members(options.bin, count))
            print(json.dumps(results["members"][-1]), flush=True)
    if options.only in (None, "publishes"):
        results["publishes"] = publishes(options.bin, options.rounds)
        summary(results["publishes"])
    pathlib.Path(options.out).parent.mkdir(exist_ok=True)
    pathlib.Path(options.out).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
