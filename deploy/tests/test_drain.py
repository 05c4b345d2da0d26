"""One of three nodes drains behind each proxy, with the deployed files, while clients exchange numbered messages.

DRAIN_FULL=1 has the size of a deployment: 2,000 clients and the drain time that the program has by itself. Then GATEWAY_BIN and LOADTEST_BIN
should name release builds.
"""

import json
import os
import pathlib
import re
import threading
import time
import unittest
import urllib.request

import programs
from test_proxies import in_turn, of_each_proxy, temporary

FULL = os.environ.get("DRAIN_FULL") == "1"
LOADTEST = os.environ["LOADTEST_BIN"]

NODES = 3
ROOMS = 20 if FULL else 6
CLIENTS = 2000 if FULL else 180
# Messages per second in each room.
RATE = 5 if FULL else 2
DRAIN_SECONDS = 30 if FULL else 12
POLLING_SHARE = 0.1


@of_each_proxy
class Drain(unittest.TestCase):
    def setUp(self):
        self.folder = temporary(self)
        self.nodes = programs.cluster(self, self.folder, NODES, apart=True, SHUTDOWN_DRAIN=f"{DRAIN_SECONDS}s", LIMITS_CONNECTIONS="100000")
        for node in self.nodes:
            # Those that stay would drain, too.
            self.addCleanup(node.child.kill)

    def each_passes_its_clients_on(self, kind):
        proxy = kind(self, self.folder, self.nodes)
        in_turn(proxy, self.nodes)
        leaving, staying = self.nodes[0], self.nodes[1:]
        watch = Watch(self.nodes)
        summary = pathlib.Path(self.folder) / "rollout.json"
        command = [
            LOADTEST, "rollout", "--quiet", "--json", str(summary),
            "--url", f"http://127.0.0.1:{proxy.port}",
            "--rooms", str(ROOMS), "--members", str(CLIENTS // ROOMS - 1), "--rate", str(RATE),
            "--polling-share", str(POLLING_SHARE),
            "--concurrency", "100",
            "--pause", "3s",
            "--restart", f"kill -TERM {leaving.child.pid}; tail --pid={leaving.child.pid} -f /dev/null",
        ]
        load = programs.Process(self, self.folder, *command)
        try:
            # The node is a child of this process, and stays a zombie until it is asked.
            status = leaving.child.wait(DRAIN_SECONDS + 2 * programs.PATIENCE_SECONDS)
            loaded = load.child.wait(2 * programs.PATIENCE_SECONDS)
        finally:
            watch.stop()
        self.assertEqual(loaded, 0, load.log())
        figures = {figure["name"]: figure["value"] for figure in json.loads(summary.read_text())["figures"]}
        moved = watch.moved(leaving)
        came = watch.opened_after(leaving, staying)
        answers = dict(proxy.answers())
        print(
            f"\n{kind.name}: {moved} of {CLIENTS} clients moved in {watch.seconds_of_drain(leaving):.1f} s; handshakes per second on the other nodes: "
            f"at most {max(came)}, {came}; {figures['due']:.0f} deliveries due, {figures['lost']:.0f} lost, "
            f"{figures['lost_connected']:.0f} of them by clients that were connected; "
            f"{figures['connected']:.0f} connects, {figures['failures']:.0f} attempts failed or connections ended; the draining node refused {watch.rejected(leaving)}; answers {answers}",
            flush=True,
        )

        self.assertEqual(status, 0, leaving.log())
        self.assertEqual(figures["brought_back"], 1)
        self.assertEqual(figures["duplicated"], 0)
        self.assertGreater(moved, CLIENTS / NODES / 2)
        self.assertGreaterEqual(sum(came), moved)
        # No client was refused. The proxy may have asked the draining node, and passed a refusal by.
        for node in staying:
            self.assertLessEqual(set(watch.rejected(node)), {"unknown_sid", "http"})
        # "http": a connection that the proxy kept for later and did not use in time.
        self.assertLessEqual(set(watch.rejected(leaving)), {"draining", "unknown_sid", "http"})
        # A request of a session that was just closed may meet its end (400, unknown_sid), and clients give up their polls.
        self.assertLessEqual(set(answers) - {"400", kind.gave_up}, {"101", "200"})
        # An even stream: never a quarter of them in one of the seconds.
        self.assertLess(max(came), max(moved / 4, 5))


class Watch:
    """Looks at all nodes twice a second."""

    def __init__(self, nodes):
        self.seen = {node: [] for node in nodes}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.ended.wait(0.5):
            for node, seen in self.seen.items():
                try:
                    seen.append((time.monotonic(), totals(node)))
                except OSError:
                    pass

    def stop(self):
        self.ended.set()
        self.thread.join()

    def moved(self, node):
        """How many clients a node had when it began to drain; a session that only asked whether a proxy answers is none."""
        return int(next(at["gateway_sockets"] for _, at in self.seen[node] if at["gateway_draining"] == 1))

    def seconds_of_drain(self, node):
        draining = [moment for moment, at in self.seen[node] if at["gateway_draining"] == 1]
        return draining[-1] - draining[0]

    def opened_after(self, leaving, staying):
        """Sessions opened on the staying nodes in each second since the leaving one began to drain."""
        began = next(moment for moment, at in self.seen[leaving] if at["gateway_draining"] == 1)
        seconds = []
        for node in staying:
            looks = [(moment - began, at["gateway_connections_opened_total"]) for moment, at in self.seen[node]]
            before = [count for moment, count in looks if moment <= 0][-1]
            for second in range(int(looks[-1][0]) + 1):
                until = max((count for moment, count in looks if moment <= second + 1), default=before)
                if len(seconds) <= second:
                    seconds.append(0)
                seconds[second] += int(until - before)
                before = until
        while seconds and seconds[-1] == 0:
            seconds.pop()
        return seconds

    def rejected(self, node):
        """Handshakes that a node refused, by reason, at its last look."""
        refused = {}
        for series, value in self.seen[node][-1][1].items():
            reason = re.fullmatch(r'gateway_handshakes_rejected_total\{.*reason="(\w+)".*\}', series)
            if reason and value:
                refused[reason[1]] = int(value)
        return refused


def totals(node):
    """Each series, and the sum of each metric's series by its name."""
    sums = {}
    with urllib.request.urlopen(f"http://{node.host}:{node.internal}/metrics", timeout=30) as answer:
        for line in answer.read().decode().splitlines():
            if not line.startswith("#"):
                series, value = line.rsplit(" ", 1)
                name = series.split("{")[0]
                sums[name] = sums.get(name, 0) + float(value)
                sums[series] = float(value)
    return sums


if __name__ == "__main__":
    unittest.main()
