"""What tests in Python need: free ports, programs that are stopped by their process ids, waiting, installing."""

import hashlib
import http.client
import itertools
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

# For a machine that is busy with other work.
PATIENCE_SECONDS = 60
LOOK_AGAIN_SECONDS = 0.05

STEPS = itertools.count(1)

# How much of its output the failure of a program shows.
SHOWN = 4000

# What ends the run where programs only install what they need.
INSTALL_ONLY = os.environ.get("INSTALL_ONLY") == "1"


def free_ports(count):
    """Ports of loopback that nobody listens on.

    They are below those that the system gives to outgoing connections, so that none takes one before its server does, and processes that
    run at the same time begin at different ones.
    """
    ports = []
    while len(ports) < count:
        port = 10_000 + (os.getpid() * 101 + next(STEPS)) % 12_000
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        ports.append(port)
    return ports


def accepts(port):
    """Whether somebody takes connections on a port; an error if nobody does."""
    socket.create_connection(("127.0.0.1", port), 1).close()
    return True


def until(what, holds, seconds=PATIENCE_SECONDS):
    """Waits until `holds()`; an error of the network counts as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
        except (OSError, http.client.HTTPException):
            pass
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(LOOK_AGAIN_SECONDS)


class Process:
    """A program in a process group of its own; its output is kept in a file of `folder`."""

    def __init__(self, folder, *command, environment=None):
        self.output = pathlib.Path(folder) / f"{pathlib.Path(command[0]).name}-{time.monotonic_ns()}.log"
        with open(self.output, "wb") as output:
            self.child = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)

    def log(self):
        return self.output.read_text(errors="replace")

    def stop(self, seconds=PATIENCE_SECONDS):
        """Ends it as an orchestrator does, and returns its status; what is left of what it started is killed."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        return self.child.wait()

    def until(self, what, holds):
        """Waits until `holds()`, as long as it runs; a failure shows what it said."""

        def runs_and_holds():
            if self.child.poll() is not None:
                raise AssertionError(f"ended with {self.child.returncode} before {what}:\n{self.log()}")
            return holds()

        try:
            until(what, runs_and_holds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-SHOWN:]}") from None

    def until_listening(self, port):
        self.until(f"it listens on {port}", lambda: accepts(port))


def once(stamp, wanted, what, install):
    """Runs `install` unless the file `stamp` says that it was done for `wanted`."""
    wanted = hashlib.sha256(wanted.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"Installing {what}", flush=True)
    try:
        install()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"cannot install {what}: {error}")
    stamp.write_text(wanted)


def run(*command):
    """Runs a command of an installation, which says something only when it fails."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
