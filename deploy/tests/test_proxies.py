"""nginx and HAProxy with the files of nginx/ and haproxy/: they take them, and clients come through."""

import contextlib
import http.client
import http.server
import pathlib
import re
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import socketio

import programs
from programs import DEPLOY

NODES = 3
CLIENTS = 20
ECHOES = 5


class Files(unittest.TestCase):
    def setUp(self):
        self.folder = temporary(self)

    def test_nginx_takes_its_file(self):
        for variants in ([], ["tls"], ["proxy"], ["tls", "proxy"]):
            with self.subTest(variants=variants):
                config = nginx_files(self.folder, [3000] * NODES, 8080, variants)
                status, said = programs.run_tool("nginx", "-t", "-p", self.folder, "-c", config)
                self.assertEqual(status, 0, said)

    def test_haproxy_takes_its_file(self):
        for variants in ([], ["tls"], ["proxy"], ["tls", "proxy"]):
            with self.subTest(variants=variants):
                config = haproxy_file(self.folder, [(3000, 3001)] * NODES, 8080, variants)
                status, said = programs.run_tool("haproxy", "-c", "-f", config)
                self.assertEqual(status, 0, said)
                self.assertNotIn("[WARNING]", said)

    def test_the_nodes_are_those_of_compose(self):
        nodes = [f"gateway-{number}" for number in range(1, NODES + 1)]
        listed = re.findall(r"^server (\S+):3000 ", (DEPLOY / "nginx/upstream.conf").read_text(), flags=re.M)
        self.assertEqual(listed, nodes)
        listed = re.findall(r"^ +server (\S+) \1:3000$", (DEPLOY / "haproxy/haproxy.cfg").read_text(), flags=re.M)
        self.assertEqual(listed, nodes)

    def test_silence_may_last_as_long_as_the_heartbeats_allow(self):
        silence = sum(programs.seconds(programs.default(f"GATEWAY_ENGINE_PING_{name}")) for name in ("INTERVAL", "TIMEOUT"))
        limits = re.findall(r"proxy_(?:read|send)_timeout +(\w+);", (DEPLOY / "nginx/nginx.conf").read_text())
        limits += re.findall(r"timeout (?:client|server|tunnel) +(\w+)", (DEPLOY / "haproxy/haproxy.cfg").read_text())
        self.assertEqual(len(limits), 5)
        for limit in limits:
            self.assertGreater(programs.seconds(limit), silence)

    def test_idle_connections_to_a_node_are_closed_before_the_node_does(self):
        kept = re.findall(r"^ +keepalive_timeout +(\w+);", (DEPLOY / "nginx/nginx.conf").read_text().split("server {")[0], flags=re.M)
        kept += re.findall(r"pool-purge-delay (\w+)", (DEPLOY / "haproxy/haproxy.cfg").read_text())
        self.assertEqual(len(kept), 3)
        for limit in kept:
            self.assertLess(programs.seconds(limit), programs.seconds(programs.default("GATEWAY_LIMITS_HEADER_TIMEOUT")))


class Gateways(unittest.TestCase):
    """Real nodes behind each proxy."""

    def setUp(self):
        self.folder = temporary(self)
        self.nodes = programs.cluster(self, self.folder, NODES)

    def test_clients_come_through_nginx(self):
        port, proxy = nginx(self, self.folder, [node.port for node in self.nodes])
        self.come_through(port, proxy)

    def test_clients_come_through_haproxy(self):
        port, proxy = haproxy(self, self.folder, [(node.port, node.internal) for node in self.nodes])
        self.come_through(port, proxy)

    def come_through(self, port, proxy):
        for transports, ends_with in (["websocket"], "websocket"), (["polling"], "polling"), (["polling", "websocket"], "websocket"):
            with self.subTest(transports=transports):
                clients = [socketio.Client(reconnection=False) for _ in range(CLIENTS)]
                for client in clients:
                    client.connect(f"http://127.0.0.1:{port}", transports=transports, wait_timeout=programs.PATIENCE_SECONDS)
                for echo in range(ECHOES):
                    for number, client in enumerate(clients):
                        self.assertEqual(client.call("echo", f"{number}-{echo}", timeout=programs.PATIENCE_SECONDS), f"{number}-{echo}")
                self.assertEqual({client.transport() for client in clients}, {ends_with})
                for client in clients:
                    client.disconnect()
        status, headers = upgrade(port)
        self.assertEqual(status, 101)
        self.assertEqual(headers["upgrade"].lower(), "websocket")
        self.assertIn("/socket.io/", proxy.log())
        self.assertNotIn("sid=", proxy.log(), "a session's id is a secret")


class Addresses(unittest.TestCase):
    """What real nodes take for the address of a client behind each proxy."""

    CLIENT = "127.0.0.9"
    PROXY = "127.0.0.1"

    def setUp(self):
        self.folder = temporary(self)

    def start(self, **settings):
        self.node = programs.Gateway(self, self.folder, LOG_LEVEL="info,gateway::session=debug", **settings)
        self.node.ready()
        return self.node

    def test_nginx_is_believed_if_it_is_trusted(self):
        for trusted, address in (self.PROXY, self.CLIENT), ("10.0.0.0/8", self.PROXY):
            with self.subTest(trusted=trusted):
                node = self.start(PROXY_TRUSTED=trusted)
                self.connect(nginx(self, self.folder, [node.port])[0], address)

    def test_haproxy_is_believed_if_it_is_trusted(self):
        for trusted, address in (self.PROXY, self.CLIENT), ("10.0.0.0/8", self.PROXY):
            with self.subTest(trusted=trusted):
                node = self.start(PROXY_TRUSTED=trusted)
                self.connect(haproxy(self, self.folder, [(node.port, node.internal)])[0], address)

    def test_haproxy_says_it_by_the_proxy_protocol(self):
        node = self.start(PROXY_TRUSTED=self.PROXY, PROXY_PROTOCOL="true")
        port, _ = haproxy(self, self.folder, [(node.port, node.internal)], ["proxy"])
        self.connect(port, self.CLIENT)

    def connect(self, port, address):
        """One client, that says it were somebody else."""
        before = len(self.opened())
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(self.CLIENT, 0))
        client.request("GET", "/socket.io/?EIO=4&transport=polling", headers={"X-Forwarded-For": "6.6.6.6"})
        self.assertEqual(client.getresponse().status, 200)
        client.close()
        self.node.until("the session is in the log", lambda: len(self.opened()) > before)
        self.assertEqual(self.opened()[before:], [address])

    def opened(self):
        lines = [line for line in self.node.log().splitlines() if "session opened" in line]
        return [re.search(r"address=([\d.]+):", line)[1] for line in lines]


class Requests(unittest.TestCase):
    """What a proxy makes of requests, seen by servers that stand in the place of nodes."""

    def setUp(self):
        self.folder = temporary(self)
        self.servers = [Node(self) for _ in range(NODES)]

    def test_nginx_passes_them_on(self):
        port, _ = nginx(self, self.folder, [node.port for node in self.servers])
        self.pass_on(port)

    def test_haproxy_passes_them_on(self):
        port, _ = haproxy(self, self.folder, [(node.port, node.port) for node in self.servers])
        self.pass_on(port)

    def pass_on(self, port):
        with self.subTest("what a client says of its address does not count"):
            self.assertEqual(ask(port, headers={"X-Forwarded-For": "1.2.3.4"}), 200)
            self.assertEqual({value for node in self.servers for value in node.seen["x-forwarded-for"]}, {"127.0.0.1"})
            self.assertEqual({value for node in self.servers for value in node.seen["x-forwarded-proto"]}, {"http"})

        with self.subTest("all nodes get their share, on few connections"):
            before = sum(node.connections for node in self.servers)
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            for _ in range(30):
                client.request("GET", "/socket.io/?EIO=4&transport=polling&sid=x")
                self.assertEqual(client.getresponse().read(), b"ok")
            client.close()
            for node in self.servers:
                self.assertGreaterEqual(node.requests, 8)
            self.assertLessEqual(sum(node.connections for node in self.servers) - before, 10)

        with self.subTest("a node learns at once that a client gave up its poll"):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"GET /socket.io/?sid=x&hold HTTP/1.1\r\nhost: x\r\n\r\n")
                self.wait_for(lambda: sum(node.held for node in self.servers) == 1)
            self.wait_for(lambda: sum(node.held for node in self.servers) == 0)

        with self.subTest("a node that refuses new sessions is passed by, and keeps its own"):
            self.servers[0].refuses = True
            for _ in range(30):
                self.assertEqual(ask(port), 200)
            before = self.servers[0].requests
            for _ in range(30):
                self.assertEqual(ask(port, "&sid=x"), 200)
            self.assertGreater(self.servers[0].requests, before)
            self.servers[0].refuses = False

        with self.subTest("a node that is gone is passed by"):
            self.servers[1].close()
            for _ in range(30):
                self.assertEqual(ask(port), 200)
                self.assertEqual(ask(port, "&sid=x", method="POST"), 200)

        with self.subTest("when all refuse, clients are told so"):
            self.servers[0].refuses = self.servers[2].refuses = True
            self.assertIn(ask(port), (502, 503))
            self.assertEqual(ask(port, "&sid=x"), 200)

    def wait_for(self, holds):
        deadline = time.monotonic() + programs.PATIENCE_SECONDS
        while not holds():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)


class Node:
    """Answers like a node, as far as a proxy can tell, and keeps what it saw."""

    def __init__(self, test):
        self.requests = self.connections = self.held = 0
        self.sockets = []
        self.refuses = False
        self.seen = {"x-forwarded-for": [], "x-forwarded-proto": []}
        node = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def setup(self):
                super().setup()
                self.counted = False
                node.sockets.append(self.connection)

            def do_GET(self):
                if self.path == "/ready":
                    return self.answer(200)
                if not self.counted:
                    node.connections += 1
                    self.counted = True
                node.requests += 1
                for name, values in node.seen.items():
                    values.append(self.headers.get(name))
                self.rfile.read(int(self.headers.get("content-length", 0)))
                if self.path.endswith("&hold"):
                    return self.hold()
                return self.answer(503 if node.refuses and "sid=" not in self.path else 200)

            do_POST = do_GET

            def hold(self):
                """Does not answer until the connection ends."""
                node.held += 1
                self.connection.settimeout(None)
                with contextlib.suppress(OSError):
                    self.rfile.read(1)
                node.held -= 1
                self.close_connection = True

            def answer(self, status):
                self.send_response(status)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        # A proxy that ends resets its connections.
        self.server.handle_error = lambda *_: None
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.open = True
        test.addCleanup(self.close)

    def close(self):
        """As a process that is killed: its connections end, too."""
        if self.open:
            self.open = False
            self.server.shutdown()
            self.server.server_close()
            for connection in self.sockets:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def nginx(test, folder, nodes):
    """Starts nginx in front of these ports, and returns its own."""
    (port,) = programs.free_ports(1)
    config = nginx_files(folder, nodes, port)
    proxy = programs.Process(test, folder, programs.tool("nginx"), "-p", folder, "-c", config, "-g", "daemon off;")
    proxy.until("nginx answers", lambda: ask(port) == 200)
    return port, proxy


def haproxy(test, folder, nodes, variants=()):
    """Starts HAProxy in front of these ports and internal ports, and returns its own."""
    port, announced = programs.free_ports(2)
    config = haproxy_file(folder, nodes, port, variants)
    file = pathlib.Path(config)
    file.write_text(file.read_text().replace("bind :8081", f"bind 127.0.0.1:{announced}"))
    proxy = programs.Process(test, folder, programs.tool("haproxy"), "-db", "-f", config)
    proxy.until("HAProxy answers", lambda: ask(port) == 200)
    return port, proxy


def nginx_files(folder, nodes, port, variants=()):
    """The deployed files with other addresses."""
    text = (DEPLOY / "nginx/upstream.conf").read_text()
    for number, node in enumerate(nodes, 1):
        text = text.replace(f"server gateway-{number}:3000", f"server 127.0.0.1:{node}")
    # Those that are not there.
    text = re.sub(r"^server gateway.*\n", "", text, flags=re.M)
    (pathlib.Path(folder) / "upstream.conf").write_text(text)
    text = vary((DEPLOY / "nginx/nginx.conf").read_text(), variants)
    text = text.replace("listen 8080", f"listen 127.0.0.1:{port}").replace("/tmp/nginx", f"{folder}/nginx")
    text = text.replace("/etc/nginx/tls", folder)
    config = pathlib.Path(folder) / "nginx.conf"
    config.write_text(text)
    return str(config)


def haproxy_file(folder, nodes, port, variants=()):
    text = vary((DEPLOY / "haproxy/haproxy.cfg").read_text(), variants)
    for number in range(1, NODES + 1):
        line = f"server gateway-{number} gateway-{number}:3000"
        if number > len(nodes):
            text = text.replace(line, "")
            continue
        clients, internal = nodes[number - 1]
        text = text.replace(line, f"server gateway-{number} 127.0.0.1:{clients} port {internal}")
    text = text.replace("bind :8080", f"bind 127.0.0.1:{port}").replace("/usr/local/etc/haproxy", folder)
    config = pathlib.Path(folder) / "haproxy.cfg"
    config.write_text(text)
    return str(config)


def vary(text, variants):
    """Takes the marks of variants away."""
    for variant in variants:
        text = text.replace(f"#{variant}: ", "")
    return text


def temporary(test):
    """A folder with a certificate for the variants with TLS."""
    folder = tempfile.TemporaryDirectory()
    test.addCleanup(folder.cleanup)
    pathlib.Path(folder.name).chmod(0o755)
    if isinstance(test, Files):
        key, certificate = pathlib.Path(folder.name) / "tls.key", pathlib.Path(folder.name) / "tls.crt"
        request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
        subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        (pathlib.Path(folder.name) / "tls.pem").write_text(certificate.read_text() + key.read_text())
    return folder.name


def ask(port, query="", method="GET", headers=None):
    return status_of(port, method, f"/socket.io/?EIO=4&transport=polling{query}", headers or {})


def status_of(port, method, target, headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, target, body=b"x" if method == "POST" else None, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def upgrade(port):
    """Status and headers of a WebSocket's handshake."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        connection.request("GET", "/socket.io/?EIO=4&transport=websocket", headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


if __name__ == "__main__":
    unittest.main()
