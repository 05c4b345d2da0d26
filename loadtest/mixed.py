#!/usr/bin/env python3
"""How long turns and deliveries take while a shard does everything at once: the figures of docs/scaling.md, "Everything at once".

    cargo build --release --workspace
    python3 loadtest/mixed.py [--bin target/release] [--rate 500] [--seconds 30] [--out target/mixed.json]

One node with one shard. A room of 1,000 gets `--rate` messages a second; change it until the shard works for about 70 % of its time. Beside
it, 100 clients echo by WebSocket and 100 by polling, 200 clients a second connect and leave, a client joins and leaves a room 200 times a
second, and 20 members of the large room read 20 kB a second.

Turns are counted by the node (gateway_shard_turn_seconds), latencies by the generators. Only the standard library.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import tempfile
import threading
import time

from nodes import KEY, Client, Node, cpu, until

ROOT = pathlib.Path(__file__).resolve().parent.parent
PORT = 23_900
MEMBERS = 1_000
SLOW_READERS = 20
SLOW_BYTES_PER_SECOND = 20_000
JOINS_PER_SECOND = 200
CONNECTS_PER_SECOND = 200
# The first of the rooms that the generator names r0, r1, ..
ROOMS = ("r0", "r1")
# Until all have connected.
BEFORE_SECONDS = 5


class OneShard(Node):
    def __init__(self, binary):
        self.port, self.internal = PORT, PORT + 1
        settings = {"LISTEN": f"127.0.0.1:{self.port}", "INTERNAL_LISTEN": f"127.0.0.1:{self.internal}", "SHARDS": "1", "API_KEY": KEY, "SHUTDOWN_DRAIN": "0"}
        environment = {**os.environ, **{f"GATEWAY_{name}": value for name, value in settings.items()}}
        self.process = subprocess.Popen([binary], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self.is_there)

    def is_there(self):
        try:
            return self.get("/live")
        except OSError:
            return False

    def turns(self):
        """How many turns lasted at most as long as each bound, in seconds."""
        found = re.findall(r'^gateway_shard_turn_seconds_bucket\{[^}]*le="([^"]+)"[^}]*\} (\S+)$', self.get("/metrics"), flags=re.M)
        return {float(bound.replace("+Inf", "inf")): float(count) for bound, count in found}


class Slow(threading.Thread):
    """Members that read less than they are sent."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.clients = [Client(node, "/") for _ in range(SLOW_READERS)]
        for client in self.clients:
            for room in ROOMS:
                client.join(room)
        self.over = False
        self.start()

    def run(self):
        while not self.over:
            time.sleep(0.1)
            for client in self.clients:
                client.socket.setblocking(False)
                try:
                    client.socket.recv(SLOW_BYTES_PER_SECOND // 10)
                except OSError:
                    continue


class Joins(threading.Thread):
    """A client that joins and leaves a room, one after another."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.client = Client(node, "/")
        self.done = 0
        self.over = False
        self.start()

    def run(self):
        while not self.over:
            for event in ("join", "leave"):
                self.client.socket.sendall(self.client.event(event, "a room beside", ack="1"))
                self.client.expect(b"431[")
                self.done += 1
                time.sleep(1 / JOINS_PER_SECOND)


def generator(binary, node, out, *arguments):
    return subprocess.Popen([binary, *arguments, "--quiet", "--url", f"http://127.0.0.1:{node.port}", "--json", out], stdout=subprocess.DEVNULL)


def figures(file):
    return {figure["name"]: figure["value"] for figure in json.loads(pathlib.Path(file).read_text())["figures"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default=ROOT / "target/release", type=pathlib.Path)
    parser.add_argument("--rate", default=500, type=int)
    parser.add_argument("--seconds", default=30, type=int)
    parser.add_argument("--out", default=ROOT / "target/mixed.json", type=pathlib.Path)
    options = parser.parse_args()
    node, loadtest = OneShard(options.bin / "gateway"), options.bin / "loadtest"
    slow, joins = Slow(node), Joins(node)
    lasts = ["--warmup", f"{BEFORE_SECONDS}s", "--duration", f"{options.seconds}s"]
    works = {
        "fanout": ["fanout", "--rooms", "1", "--clients", str(MEMBERS), "--rate", str(options.rate), *lasts],
        "echo": ["echo", "--clients", "100", "--rate", "10", *lasts],
        "polling": ["polling", "--clients", "100", "--work", "echo", "--rate", "2", *lasts],
        "connect": ["connect", "--clients", str(CONNECTS_PER_SECOND * options.seconds), "--connect-rate", str(CONNECTS_PER_SECOND)],
    }
    with tempfile.TemporaryDirectory() as folder:
        files = {name: f"{folder}/{name}.json" for name in works}
        running = {name: generator(loadtest, node, files[name], *arguments) for name, arguments in works.items()}
        time.sleep(BEFORE_SECONDS)
        before, ran, joined = node.turns(), cpu(node.process), joins.done
        time.sleep(options.seconds - 2)
        after, spent, joined = node.turns(), cpu(node.process) - ran, joins.done - joined
        for name, process in running.items():
            if process.wait() != 0:
                raise SystemExit(f"the generator of {name} failed")
        slow.over = joins.over = True
        for thread in (slow, joins):
            thread.join()
        measured = {name: figures(file) for name, file in files.items()}
    turns = {bound: after[bound] - before.get(bound, 0) for bound in after}
    result = {
        "node_cores": spent / (options.seconds - 2),
        "joins_and_leaves_per_second": joined / (options.seconds - 2),
        "turns": turns[float("inf")],
        "turns_longer_than": {str(bound): turns[float("inf")] - count for bound, count in turns.items() if bound < float("inf")},
        "figures": measured,
    }
    node.stop()
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
