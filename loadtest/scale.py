#!/usr/bin/env python3
"""How the cost of a node grows with connections and with rooms: the figures and the plot of docs/scaling.md.

    make dist
    python3 loadtest/scale.py [--out scale.json] [--plot docs/scaling.png] [--only connections|rooms]
    python3 loadtest/scale.py --only connections --counts 1000000 --messages 1

Connections are idle WebSockets with heartbeats, after 20 messages each (--messages). A process of this machine may have only so many descriptors, so many
connections are spread over several gateways and several generators, each pair with addresses of its own in 127.0.0.0/8. Generators connect
one after another. Rooms have 10,000 members among them and get 40,000 deliveries a second whatever their number.

Figures are read from /proc and /metrics by this script, over a window in which nothing comes or goes. The plot needs matplotlib.
"""

import argparse
import functools
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = ROOT / "target" / "dist"

CONNECTIONS = [1_000, 3_000, 10_000, 30_000, 50_000, 100_000]
# Members (and as many publishers as rooms) have to fit into the descriptors of one process.
MEMBERS = 10_000
ROOMS = [1, 10, 100, 1_000, 10_000]
DELIVERIES_PER_SECOND = 40_000
# Descriptors that a process needs beside its connections; a gateway keeps 512.
SPARE = 600
WINDOW_SECONDS = 60
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Gateway:
    def __init__(self, number):
        self.port, self.internal = 20_000 + 2 * number, 20_001 + 2 * number
        settings = {"LISTEN": f"127.0.0.1:{self.port}", "INTERNAL_LISTEN": f"127.0.0.1:{self.internal}", "DEMO": "false", "SHUTDOWN_DRAIN": "0"}
        environment = {**os.environ, **{f"GATEWAY_{name}": value for name, value in settings.items()}}
        self.child = subprocess.Popen([PROGRAMS / "gateway"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.until(lambda: self.metrics() is not None)

    def until(self, holds, seconds=300):
        deadline = time.monotonic() + seconds
        while True:
            try:
                if holds():
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise SystemExit("it did not come so far in time")
            time.sleep(0.1)

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.internal}/metrics", timeout=30) as answer:
            return [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#")]

    def total(self, name):
        return sum(float(value) for series, value in self.metrics() if series.split("{")[0] == name)

    def cpu(self):
        fields = pathlib.Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def resident(self):
        return int(pathlib.Path(f"/proc/{self.child.pid}/statm").read_text().split()[1]) * PAGE

    def lateness(self):
        """Heartbeats by the bound of their bucket."""
        buckets = {}
        for series, value in self.metrics():
            bound = re.fullmatch(r'gateway_heartbeat_lateness_seconds_bucket\{.*le="([^"]+)".*\}', series)
            if bound:
                buckets[float(bound[1].replace("+Inf", "inf"))] = buckets.get(float(bound[1].replace("+Inf", "inf")), 0) + float(value)
        return buckets

    def stop(self):
        self.child.send_signal(signal.SIGINT)
        self.child.wait()


def generator(gateway, number, *arguments):
    common = ["--quiet", "--url", f"http://127.0.0.1:{gateway.port}", "--source", f"127.{number + 1}.0.1"]
    return subprocess.Popen([PROGRAMS / "loadtest", *arguments, *common], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def slab():
    return int(re.search(r"^Slab:\s+(\d+) kB", pathlib.Path("/proc/meminfo").read_text(), flags=re.M)[1]) * 1024


def connections(count, messages):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - SPARE
    pairs = -(-count // most)
    shares = [count // pairs + (number < count % pairs) for number in range(pairs)]
    gateways = [Gateway(number) for number in range(pairs)]
    empty, slab_before = sum(gateway.resident() for gateway in gateways), slab()
    began = time.monotonic()
    arguments = ["idle", "--messages", str(messages), "--size", "64", "--hold", "60m", "--after", "0s"]
    load = []
    for number, (gateway, share) in enumerate(zip(gateways, shares)):
        load.append(generator(gateway, number, *arguments, "--clients", str(share)))
        gateway.until(lambda: gateway.total("gateway_sockets") == share and gateway.total("gateway_packets_received_total") >= messages * share)
    connected = time.monotonic() - began
    # Until each has had its first ping, whose time is spread from then on as the connects were.
    time.sleep(30)
    cpu, late, sent = sum(it.cpu() for it in gateways), [it.lateness() for it in gateways], sum(it.total("gateway_heartbeats_sent_total") for it in gateways)
    time.sleep(WINDOW_SECONDS)
    # A generator may have ended since.
    held = int(sum(gateway.total("gateway_sockets") for gateway in gateways))
    result = {
        "connections": held,
        "meant": count,
        "processes": pairs,
        "seconds_to_connect": connected,
        "resident_bytes_each": (sum(gateway.resident() for gateway in gateways) - empty) / held,
        "resident_bytes": sum(gateway.resident() for gateway in gateways),
        # Of both ends, since both are here.
        "kernel_bytes_each": (slab() - slab_before) / held,
        "cores": (sum(gateway.cpu() for gateway in gateways) - cpu) / WINDOW_SECONDS,
        "heartbeats_per_second": (sum(it.total("gateway_heartbeats_sent_total") for it in gateways) - sent) / WINDOW_SECONDS,
        "lateness_p99": quantile(0.99, late, [it.lateness() for it in gateways]),
        "heartbeat_timeouts": sum(gateway.total("gateway_heartbeat_timeouts_total") for gateway in gateways),
    }
    for process in load:
        process.kill()
        process.wait()
    for gateway in gateways:
        gateway.stop()
    return result


def quantile(part, before, after):
    """The bound of the bucket that holds this part of what came between."""
    counts = {}
    for earlier, later in zip(before, after):
        for bound, count in later.items():
            counts[bound] = counts.get(bound, 0) + count - earlier.get(bound, 0)
    bounds = sorted(counts)
    return next(bound for bound in bounds if counts[bound] >= part * counts[bounds[-1]])


def rooms(count):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - SPARE
    rooms = min(count, most // 2)
    members = max(1, min(MEMBERS, most - rooms) // rooms)
    rate = DELIVERIES_PER_SECOND / (members * rooms)
    gateway = Gateway(0)
    summary = ROOT / "target" / "scale-rooms.json"
    load = generator(gateway, 0, "fanout", "--rooms", str(rooms), "--members", str(members), "--rate", f"{rate:.4f}", "--warmup", "5s", "--duration", "30s", "--pid", str(gateway.child.pid), "--json", str(summary))
    if load.wait() != 0:
        raise SystemExit("the generator failed")
    figures = {figure["name"]: figure["value"] for figure in json.loads(summary.read_text())["figures"]}
    result = {
        "rooms": rooms,
        "members": members,
        "deliveries_per_second": figures["rate"],
        "cores": figures["server_cores"],
        "microseconds_per_delivery": 1e6 * figures["server_cores"] / figures["rate"],
        "p99_seconds": figures["p99"],
        "lost": figures["lost"],
        "resident_bytes": gateway.resident(),
    }
    gateway.stop()
    return result


def plot(results, file):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10, "axes.titlelocation": "left"})
    figure, ((memory, cpu), (late, room)) = pyplot.subplots(2, 2, figsize=(10, 7), dpi=90)
    by = results["connections"]
    x = [it["connections"] for it in by]
    memory.loglog(x, [it["resident_bytes_each"] for it in by], "o-", label="resident, the gateway")
    # Fewer are lost in what else the machine does.
    many = [it for it in by if it["connections"] >= 10_000]
    memory.loglog([it["connections"] for it in many], [it["kernel_bytes_each"] for it in many], "s-", label="kernel, both ends")
    memory.set(title="Bytes per idle connection", xlabel="connections", ylim=(500, 50_000))
    memory.legend(frameon=False)
    cpu.loglog(x, [100 * it["cores"] for it in by], "o-")
    cpu.set(title="Percent of a core, heartbeats alone", xlabel="connections")
    late.semilogx(x, [1000 * it["lateness_p99"] for it in by], "o-")
    late.set(title="Lateness of heartbeats, 99 % below, ms", xlabel="connections", ylim=(0, None))
    by = results["rooms"]
    room.semilogx([it["rooms"] for it in by], [it["microseconds_per_delivery"] for it in by], "o-")
    room.set(title="Microseconds of CPU per delivery, 40,000 a second", xlabel="rooms", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="target/scale.json")
    parser.add_argument("--plot")
    parser.add_argument("--only", choices=["connections", "rooms"])
    parser.add_argument("--counts", help="other numbers of connections, separated by commas", type=lambda text: [int(count) for count in text.split(",")], default=CONNECTIONS)
    parser.add_argument("--messages", help="of each connection before it is idle", type=int, default=20)
    options = parser.parse_args()
    out = pathlib.Path(options.out)
    results = json.loads(out.read_text()) if out.exists() else {}
    idle = functools.partial(connections, messages=options.messages)
    for name, measure, sizes in (("rooms", rooms, ROOMS), ("connections", idle, options.counts)):
        if options.only in (None, name):
            results[name] = []
            for size in sizes:
                results[name].append(measure(size))
                print(json.dumps(results[name][-1]), flush=True)
                out.write_text(json.dumps(results, indent=1))
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
