"""The five proxies with their deployed files, on free ports in front of nodes; and what the tests ask through them.

A node has an address of loopback to itself, `node.host`, and the same two ports as the others: two of the proxies take one port for all.
"""

import collections
import http.client
import json
import os
import pathlib
import re
import signal
import ssl
import subprocess

import programs
from programs import DEPLOY

# Nodes in the files.
NODES = 3


class Proxy:
    """Runs in front of these nodes until the test is over."""

    # The names of its files, the first is given to the program; and the folder in which they expect each other and the certificate.
    files = ()
    home = ""
    # How its log names the answer to a request that its client gave up.
    gave_up = ""
    # Whether its variant `proxy` also speaks the PROXY protocol to the nodes.
    passes_it_on = False

    def __init__(self, test, folder, nodes, variants=()):
        self.port, self.tls, self.proxied, self.admin = programs.free_ports(4)
        self.folder, self.variants = folder, variants
        command = [programs.tool(self.program), *self.start(self.write(folder, nodes, variants), folder)]
        self.process = programs.Process(test, folder, *command, environment=environment(folder))
        # Some would wait for their clients.
        test.addCleanup(self.process.child.kill)
        self.earlier = collections.Counter()
        self.process.until(f"{self.name} answers", lambda: ask(self.port) == 200)
        self.earlier = self.counted()

    def put_in_front_of(self, nodes):
        """Gives it its files with other nodes, without a stop."""
        self.reload(self.write(self.folder, nodes, self.variants))

    @classmethod
    def takes(cls, folder, variants):
        """Whether it takes its files, and what it says of them."""
        it = cls.__new__(cls)
        it.port, it.tls, it.proxied, it.admin = 8080, 8443, 8081, 2019
        config = it.write(folder, [Place(f"127.0.1.{number}", 3000, 3001) for number in range(1, NODES + 1)], variants)
        done = subprocess.run([programs.tool(cls.program), *it.check(config, folder)], env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout

    def write(self, folder, nodes, variants):
        """The deployed files with other addresses, and without the marks of variants. Returns the path of the first."""
        for name in self.files:
            text = (DEPLOY / self.name / name).read_text()
            for variant in variants:
                text = text.replace(f"#{variant}: ", "").replace(f"#{variant}:\t", "\t")
            for number in range(len(nodes) + 1, NODES + 1):
                text = self.without(text, f"gateway-{number}")
            for number, node in enumerate(nodes, 1):
                text = text.replace(f"gateway-{number}:3000", f"{node.host}:{node.port}")
            text = self.replace(text, nodes)
            text = text.replace("10.0.0.0/8", "127.0.0.0/8").replace(f"{self.home}/tls/", f"{folder}/").replace(self.home, folder)
            (pathlib.Path(folder) / name).write_text(text)
        return str(pathlib.Path(folder) / self.files[0])

    def without(self, text, node):
        """The file without the line of a node that is not there."""
        return re.sub(rf"^.*\b{node}:3000\b.*\n", "", text, flags=re.M)

    def ports(self, text, before, after, end=""):
        """Other ports in place of those that stand between these words in the file."""
        for port, other in (8080, self.port), (8443, self.tls), (8081, self.proxied):
            text = text.replace(f"{before}{port}{end}", f"{after}{other}{end}")
        return text

    def answers(self):
        """How often it answered with which status to requests of clients, since it answers."""
        return self.counted() - self.earlier

    def counted(self):
        return collections.Counter(re.findall(r"^.*(?:GET|POST) /socket\.io/ (\S+) ", self.process.log(), flags=re.M))


class Nginx(Proxy):
    name = program = "nginx"
    files = ("nginx.conf", "upstream.conf")
    home = "/etc/nginx"
    gave_up = "499"

    def start(self, config, folder):
        return ["-p", folder, "-c", config, "-g", "daemon off;"]

    def check(self, config, folder):
        return ["-t", "-p", folder, "-c", config]

    def reload(self, config):
        self.process.child.send_signal(signal.SIGHUP)

    def replace(self, text, nodes):
        return self.ports(text, "listen ", "listen 127.0.0.1:").replace("/tmp/nginx", f"{self.home}/nginx")


class HAProxy(Proxy):
    name = program = "haproxy"
    files = ("haproxy.cfg",)
    home = "/usr/local/etc/haproxy"
    passes_it_on = True
    gave_up = "-1"

    def start(self, config, folder):
        return ["-W", "-db", "-f", config]

    def reload(self, config):
        self.process.child.send_signal(signal.SIGUSR2)

    def check(self, config, folder):
        return ["-c", "-f", config]

    def replace(self, text, nodes):
        text = text.replace("check port 3001", f"check port {nodes[0].internal}")
        return self.ports(text, "bind :", "bind 127.0.0.1:")


class Envoy(Proxy):
    name = program = "envoy"
    files = ("envoy.yaml",)
    home = "/etc/envoy"
    gave_up = "0"

    def start(self, config, folder):
        return ["-c", config, "--concurrency", "2", "--disable-hot-restart", "--log-level", "warn"]

    def check(self, config, folder):
        return ["-c", config, "--mode", "validate", "--disable-hot-restart", "--log-level", "warn"]

    def without(self, text, node):
        return re.sub(rf"^ +- endpoint:\n.*{node},.*\n.*\n", "", text, flags=re.M)

    def replace(self, text, nodes):
        for number, node in enumerate(nodes, 1):
            text = text.replace(f"address: gateway-{number}, port_value: 3000", f"address: {node.host}, port_value: {node.port}")
        text = text.replace("port_value: 3001", f"port_value: {nodes[0].internal}")
        return self.ports(text, "address: 0.0.0.0, port_value: ", "address: 127.0.0.1, port_value: ", "}")


class Traefik(Proxy):
    name = program = "traefik"
    files = ("traefik.yml", "gateways.yml")
    home = "/etc/traefik"
    gave_up = "499"

    def start(self, config, folder):
        return [f"--configfile={config}"]

    def reload(self, config):
        """It watches its file."""

    def replace(self, text, nodes):
        text = text.replace("port: 3001", f"port: {nodes[0].internal}")
        return self.ports(text, 'address: ":', 'address: "127.0.0.1:', '"')

    def counted(self):
        lines = (json.loads(line) for line in self.process.log().splitlines() if line.startswith('{"') and "DownstreamStatus" in line)
        # It writes 0 for an upgrade.
        return collections.Counter(str(line["DownstreamStatus"] or 101) for line in lines if line["RequestPath"] == "/socket.io/")


class Caddy(Proxy):
    name = program = "caddy"
    files = ("Caddyfile",)
    home = "/etc/caddy"
    gave_up = "499"

    def start(self, config, folder):
        return ["run", "--config", config, "--adapter", "caddyfile"]

    def reload(self, config):
        command = [programs.tool(self.program), "reload", "--config", config, "--adapter", "caddyfile", "--address", f"127.0.0.1:{self.admin}"]
        subprocess.run(command, env=environment(self.folder), check=True, capture_output=True)

    def check(self, config, folder):
        return ["validate", "--config", config, "--adapter", "caddyfile"]

    def without(self, text, node):
        return text.replace(f" {node}:3000", "")

    def replace(self, text, nodes):
        text = text.replace("health_port 3001", f"health_port {nodes[0].internal}").replace("localhost:2019", f"127.0.0.1:{self.admin}")
        return self.ports(self.ports(text, "\n:", "\n:", " {"), "servers :", "servers :", " {")

    def counted(self):
        lines = (json.loads(line) for line in self.process.log().splitlines() if line.startswith("{") and '"handled request"' in line)
        return collections.Counter(str(line["status"]) for line in lines if line["request"]["uri"] == "/socket.io/")


ALL = (Nginx, HAProxy, Envoy, Traefik, Caddy)

# Where a node is.
Place = collections.namedtuple("Place", "host port internal")


def environment(folder):
    """Caddy keeps things in the home of its user."""
    libraries = {"LD_LIBRARY_PATH": os.environ["DEPLOY_LIBRARIES"]} if os.environ.get("DEPLOY_LIBRARIES") else {}
    return {**os.environ, **libraries, "HOME": folder, "XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder}


def certificate(folder):
    """Makes one for the variants with TLS."""
    key, chain = pathlib.Path(folder) / "tls.key", pathlib.Path(folder) / "tls.crt"
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*request, "-keyout", key, "-out", chain], check=True, capture_output=True)
    (pathlib.Path(folder) / "tls.pem").write_text(chain.read_text() + key.read_text())


def ask(port, query="", method="GET", headers=None, tls=False):
    return status_of(port, method, f"/socket.io/?EIO=4&transport=polling{query}", headers or {}, tls)


def status_of(port, method, target, headers, tls=False):
    connection = connect(port, tls)
    try:
        connection.request(method, target, body=b"x" if method == "POST" else None, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def connect(port, tls=False):
    if not tls:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=unchecked)


def upgrade(port):
    """Status and headers of a WebSocket's handshake."""
    connection = connect(port)
    try:
        headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        connection.request("GET", "/socket.io/?EIO=4&transport=websocket", headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()
