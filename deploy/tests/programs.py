"""Starts the programs that the tests need, on free ports of loopback, and ends them."""

import functools
import http.client
import json
import os
import pathlib
import re
import subprocess
import sys
import urllib.error
import urllib.request

import testkit
from testkit import PATIENCE_SECONDS, free_ports

DEPLOY = pathlib.Path(__file__).resolve().parent.parent
DOCS = DEPLOY.parent / "docs"
TARGET = DEPLOY.parent / "target" / "deploy"
GATEWAY = os.environ["GATEWAY_BIN"]


class Process(testkit.Process):
    """A program that runs until the test is over."""

    def __init__(self, test, folder, *command, environment=None):
        libraries = {}
        if os.environ.get("DEPLOY_LIBRARIES") and command[0] != GATEWAY:
            libraries["LD_LIBRARY_PATH"] = os.environ["DEPLOY_LIBRARIES"]
        super().__init__(folder, *command, environment={**os.environ, **libraries} if environment is None else environment)
        test.addCleanup(self.stop)


class Gateway(Process):
    """A node on free ports, or at a place with a host and ports. `settings` are variables without GATEWAY_."""

    def __init__(self, test, folder, place=None, **settings):
        self.host, self.port, self.internal = place or ("127.0.0.1", *free_ports(2))
        settings = {
            "LISTEN": f"{self.host}:{self.port}",
            "INTERNAL_LISTEN": f"{self.host}:{self.internal}",
            "SHARDS": "2",
            "SHUTDOWN_DRAIN": "0",
            **settings,
        }
        environment = {"PATH": os.environ["PATH"], **{f"GATEWAY_{name}": value for name, value in settings.items()}}
        super().__init__(test, folder, GATEWAY, environment=environment)

    def ready(self):
        self.until("ready", lambda: status(self.internal, "/ready", host=self.host) == 200)


def cluster(test, folder, nodes, apart=False, **settings):
    """So many nodes, joined by a Redis of their own. `apart`: with a host for each and the same ports, as pods and containers have them."""
    joined = {"REDIS_URL": redis(test, folder), "CLUSTER_SECRET": "a secret of this test"}
    places = hosts(nodes) if apart else [None] * nodes
    gateways = [Gateway(test, folder, place, **joined, **settings) for place in places]
    for gateway in gateways:
        gateway.ready()
    return gateways


def hosts(count):
    """Hosts of loopback with the same two ports."""
    ports = free_ports(2)
    return [(f"127.0.1.{number}", *ports) for number in range(1, count + 1)]


def redis(test, folder):
    """Starts Redis and returns its address."""
    (port,) = free_ports(1)
    server = Process(test, folder, tool("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder)
    server.until_listening(port)
    return f"redis://127.0.0.1:{port}"


def tool(name):
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"], "/usr/sbin", "/sbin"])
    for folder in path.split(os.pathsep):
        if os.access(os.path.join(folder, name), os.X_OK):
            return os.path.join(folder, name)
    raise AssertionError(f"{name} is not there; run.py installs it")


def run_tool(name, *arguments, **options):
    """Runs a tool to its end and returns its status and what it said."""
    libraries = {"LD_LIBRARY_PATH": os.environ["DEPLOY_LIBRARIES"]} if os.environ.get("DEPLOY_LIBRARIES") else {}
    command = [name if os.path.isabs(name) else tool(name), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **libraries}, timeout=PATIENCE_SECONDS, **options)
    return done.returncode, done.stdout


@functools.cache
def reference():
    """The program's own words on each setting, by its variable."""
    text = subprocess.run([GATEWAY, "default-config", "--markdown"], check=True, stdout=subprocess.PIPE, text=True).stdout
    entries = re.split(r"^### ", text, flags=re.M)[1:]
    return {re.search(r"- Elsewhere: `(GATEWAY_\w+)`", entry)[1]: entry for entry in entries}


def check_config(environment):
    """Status of the program's check of this environment, and what it says."""
    environment = {"PATH": os.environ["PATH"], **environment}
    done = subprocess.run([GATEWAY, "check-config"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def unbuilt():
    """The variables that the program knows and refuses, since what they set is not built yet."""
    return {variable for variable, entry in reference().items() if "Not built yet" in entry}


def default(variable):
    return re.search(r"^- Default: `?([^`\n]*)`?$", reference()[variable], flags=re.M)[1]


def seconds(duration):
    """`25s`, `1m30s` and the like, as nginx, HAProxy, Kubernetes and the program write them."""
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    parts = re.findall(r"(\d+)(ms|s|m|h|d)", duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(duration)
    return sum(int(number) * units[unit] for number, unit in parts)


def status(port, path, method="GET", host="127.0.0.1"):
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    finally:
        connection.close()


def metrics(node):
    """The names of the metrics that a node exports."""
    with urllib.request.urlopen(f"http://{node.host}:{node.internal}/metrics", timeout=30) as answer:
        return set(re.findall(r"^# TYPE (\S+)", answer.read().decode(), flags=re.M))


def number(node, metric):
    """The sum of a metric's series on a node."""
    with urllib.request.urlopen(f"http://{node.host}:{node.internal}/metrics", timeout=30) as answer:
        return sum(float(value) for value in re.findall(rf"^{metric}(?:{{.*}})? (\S+)$", answer.read().decode(), flags=re.M))


def fetch(url):
    """Status and JSON of an answer, whatever its status."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
