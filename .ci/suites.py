#!/usr/bin/env python3
"""Runs everything that CI runs, and at the same time what does not disturb each other: suites.py [SUITE...]

Each suite is a target of the Makefile. Its output is shown whole when it ends. All run, also when one fails; then the status is 1. Ctrl-C ends
what was started. Named suites run with what they need, and no others.
"""

import ctypes
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent

# How long what was started may take to end when it is told to.
GRACE_SECONDS = 15

# How much of a failed suite's end stands again at the end of all: a log may be cut, and its end is what is read first.
LAST_LINES = 16
LAST_CHARACTERS = 300


@dataclasses.dataclass
class Suite:
    name: str
    # Arguments of make.
    make: str
    # How many cores it keeps busy, about. Suites run at the same time while there are cores for all.
    load: float
    needs: tuple = ()
    # It measures time: nothing that needs much runs beside it.
    measures: bool = False
    # It has the cores only when nobody else wants them.
    idle: bool = False


def without(names):
    """The rest of the suites of a target, as its `SUITES`."""
    return " ".join(f"-{name}" for name in names.split())


# Suites that measure time, or hold others against a clock.
CLIENTS_THAT_MEASURE = "hostile bursts slow_reader timers drain heartbeats"
CLUSTER_THAT_MEASURES = "floods balancers"
# What mostly waits: outages, and what has to pass until something is given up.
CLUSTER_THAT_WAITS = "field backends"
CLUSTER_OF_SERVERS = "stream stream_servers trust failures"
CLUSTER_REST = without(f"{CLUSTER_THAT_MEASURES} {CLUSTER_THAT_WAITS} {CLUSTER_OF_SERVERS}")

INSTALLED = ("build", "install")

# What starts first stands first; long ones before short ones.
SUITES = [
    Suite("build", "build", load=2),
    Suite("install", "install", load=0),
    Suite("check", "check", load=0.5, needs=INSTALLED, idle=True),
    Suite("clients-measuring", f"clients SUITES={CLIENTS_THAT_MEASURE}", load=0.5, needs=INSTALLED, measures=True),
    Suite("cluster-waiting", f"cluster SUITES={CLUSTER_THAT_WAITS}", load=0.35, needs=INSTALLED),
    Suite("cluster-servers", f"cluster SUITES={CLUSTER_OF_SERVERS}", load=0.35, needs=INSTALLED),
    # Cargo starts these two, and would wait for the build of the check anyway.
    Suite("unit", "unit", load=1, needs=("check",)),
    Suite("redis", "redis", load=0.6, needs=("check",)),
    Suite("simulate", "simulate", load=1, needs=("unit",)),
    Suite("cluster", f"cluster SUITES={CLUSTER_REST}", load=0.4, needs=INSTALLED),
    Suite("deploy", "deploy-check", load=0.4, needs=INSTALLED),
    Suite("clients", f"clients SUITES={without(CLIENTS_THAT_MEASURE)}", load=0.6, needs=INSTALLED),
    Suite("cluster-measuring", f"cluster SUITES={CLUSTER_THAT_MEASURES}", load=0.6, needs=INSTALLED, measures=True),
    Suite("examples", "examples", load=0.6, needs=INSTALLED),
    Suite("loadtest", "loadtest", load=0.4, needs=INSTALLED, measures=True),
    Suite("autobahn", "autobahn", load=0.6, needs=INSTALLED),
    Suite("docs", "docs", load=0.5, needs=INSTALLED),
]


class Job:
    """A suite that runs."""

    def __init__(self, suite, command, folder):
        self.suite = suite
        self.began = time.monotonic()
        self.output = pathlib.Path(folder) / suite.name
        environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
        with open(self.output, "wb") as output:
            # A group of its own, so that all of it can be ended.
            self.child = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)

    def ended(self):
        """None, or its status, seconds and seconds of CPU."""
        process, status, usage = os.wait4(self.child.pid, os.WNOHANG)
        if process == 0:
            return None
        self.child.returncode = os.waitstatus_to_exitcode(status)
        return self.child.returncode, time.monotonic() - self.began, usage.ru_utime + usage.ru_stime

    def signal(self, number):
        try:
            os.killpg(self.child.pid, number)
        except ProcessLookupError:
            pass


def last_lines(text):
    """The end of an output, without empty lines."""
    lines = [line.rstrip()[:LAST_CHARACTERS] for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-LAST_LINES:])


def may_start(suite, running, cores):
    """Whether there is room for a suite beside those that run."""
    if not running:
        return True
    load = sum(other.load for other in running)
    if suite.measures or any(other.measures for other in running):
        # As much as a core is left to others, and none of them measures.
        both = suite.measures and any(other.measures for other in running)
        return not both and suite.load + load <= cores - 0.5
    return suite.load + load <= cores


def run(suites, cores, command, out=print, ends=None):
    """Runs suites, and returns the results by name: status, seconds, seconds of CPU. A suite whose needs failed has no status. `ends` gets the last
    lines of those that failed."""
    waiting, running, results = list(suites), [], {}
    with tempfile.TemporaryDirectory(prefix="gateway-suites-") as folder:
        try:
            while waiting or running:
                for suite in list(waiting):
                    failed = [need for need in suite.needs if need in results and results[need][0] != 0]
                    if failed:
                        waiting.remove(suite)
                        results[suite.name] = (None, 0, 0)
                        out(f"== {suite.name}: not run, since {failed[0]} failed", flush=True)
                    elif all(need in results for need in suite.needs) and may_start(suite, [job.suite for job in running], cores):
                        waiting.remove(suite)
                        running.append(Job(suite, command(suite), folder))
                        out(f"== {suite.name}: started", flush=True)
                time.sleep(0.05)
                for job in list(running):
                    ended = job.ended()
                    if ended:
                        running.remove(job)
                        results[job.suite.name] = ended
                        text = tell(job, ended, out)
                        if ends is not None and ended[0] != 0:
                            ends[job.suite.name] = last_lines(text)
        except BaseException:
            stop(running)
            raise
    return results


def tell(job, ended, out):
    status, seconds, busy = ended
    text = job.output.read_text(errors="replace").rstrip()
    said = "passed" if status == 0 else f"FAILED with status {status}"
    out(f"\n== {job.suite.name} ==\n{text}\n== {job.suite.name}: {said} after {seconds:.0f} s, {busy:.0f} s of CPU\n", flush=True)
    return text


def stop(jobs):
    """Ends jobs: as Ctrl-C does, so that they stop what they started, and then whatever is left."""
    deadline = time.monotonic() + GRACE_SECONDS
    for number in (signal.SIGINT, signal.SIGTERM):
        for job in jobs:
            job.signal(number)
        time.sleep(1)
    while time.monotonic() < deadline and any(job.child.returncode is None and job.ended() is None for job in jobs):
        time.sleep(0.05)
    for job in jobs:
        job.signal(signal.SIGKILL)
    end_orphans()


# Of Linux: whoever loses its parent becomes a child of this process.
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans():
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_orphans():
    """Ends what suites have left running in groups of its own, and returns the names."""
    ended = {}
    # Those whose parents are ended come here next.
    while True:
        orphans = {process: name for process, name in children() if process not in ended}
        if not orphans:
            return sorted(set(ended.values()))
        for process in orphans:
            os.kill(process, signal.SIGKILL)
        ended.update(orphans)
        time.sleep(0.1)


def children():
    """The children of this process that have not ended."""
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, rest = stat.read_text().rpartition(")")
        except OSError:
            continue
        state, parent, *_ = rest.split()
        if int(parent) == os.getpid() and state != "Z":
            process, _, name = head.partition(" (")
            yield int(process), name


def with_needs(names, suites):
    """The suites of these names, with those that are parts of them (`NAME-PART`), and all that they need; without a name all."""
    by_name = {suite.name: suite for suite in suites}
    wanted = set()

    def want(name):
        wanted.add(name)
        for need in by_name[name].needs:
            want(need)

    for name in names or by_name:
        found = [known for known in by_name if known == name or known.startswith(f"{name}-")]
        if not found:
            sys.exit(f"there is no suite {name}; there are {', '.join(by_name)}")
        for suite in found:
            want(suite)
    return [suite for suite in suites if suite.name in wanted]


def make(suite):
    """The command of a suite. What it needs was made before."""
    built = [] if suite.make == "build" else ["BUILT=1"]
    command = ["make", "--no-print-directory", *built, *suite.make.split(" ", 1)]
    return ["nice", "-n", "10", *command] if suite.idle else command


def main():
    suites = with_needs(sys.argv[1:], SUITES)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    began = time.monotonic()
    adopt_orphans()
    ends = {}
    try:
        results = run(suites, os.cpu_count() or 2, make, ends=ends)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    left = end_orphans()
    if left:
        print(f"left running, and ended now: {', '.join(left)}")
    for name, (status, seconds, busy) in sorted(results.items(), key=lambda it: -it[1][1]):
        said = {0: "passed", None: "not run"}.get(status, "FAILED")
        print(f"{name:24}{said:8}{seconds:6.0f} s{busy:6.0f} s of CPU")
    failed = sum(status != 0 for status, _, _ in results.values())
    print(f"all of it: {time.monotonic() - began:.0f} s, {sum(busy for _, _, busy in results.values()):.0f} s of CPU\n")
    for name, text in ends.items():
        print(f"== the end of {name} ==\n{text}\n")
    print(f"suites: {len(results) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
