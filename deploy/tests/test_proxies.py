"""The five proxies with their deployed files: they take them, and clients come through."""

import contextlib
import http.client
import http.server
import pathlib
import re
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import types
import unittest

import requests
import socketio
import websocket

import programs
import proxies
from programs import DEPLOY
from proxies import ALL, NODES, ask, connect, upgrade

CLIENTS = 20
ECHOES = 5

# What the doctor tries once it has a connection, without origins and idle timeouts.
DOCTORS_STEPS = ["polling", "session", "websocket", "namespace", "upgrade"]

# Longer than engine.ping_interval + engine.ping_timeout.
SILENCE_SECONDS = 50


def of_each_proxy(tests):
    """Makes a test for each proxy of every method each_WHAT(self, proxy)."""
    for name, method in list(vars(tests).items()):
        if name.startswith("each_"):
            for proxy in getattr(tests, "PROXIES", ALL):
                setattr(tests, f"test_{proxy.name}_{name.removeprefix('each_')}", bound(method, proxy))
    return tests


def bound(method, proxy):
    return lambda test: method(test, proxy)


@of_each_proxy
class Files(unittest.TestCase):
    def each_takes_its_file(self, proxy):
        folder = temporary(self)
        for variants in ([], ["tls"], ["proxy"], ["tls", "proxy"]):
            with self.subTest(variants=variants):
                if proxy is proxies.Traefik:
                    # It has no command that checks its file.
                    node = Node(self, programs.hosts(1)[0])
                    said = proxy(self, folder, [node], variants).process.log()
                    self.assertNotIn('ERR', said)
                    continue
                status, said = proxy.takes(folder, variants)
                self.assertEqual(status, 0, said)
                self.assertNotIn("warn", said.lower(), said)

    def test_the_nodes_are_those_of_compose(self):
        nodes = [f"gateway-{number}" for number in range(1, NODES + 1)]
        for file, line in (
            ("nginx/upstream.conf", r"^server (\S+):3000 "),
            ("haproxy/haproxy.cfg", r"^ +server (\S+) \1:3000$"),
            ("envoy/envoy.yaml", r"address: (gateway\S+), port_value: 3000"),
            ("traefik/gateways.yml", r"url: http://(\S+):3000$"),
            ("caddy/Caddyfile", r"(gateway-\d):3000"),
        ):
            self.assertEqual(re.findall(line, (DEPLOY / file).read_text(), flags=re.M), nodes, file)

    def test_silence_may_last_as_long_as_the_heartbeats_allow(self):
        silence = sum(programs.seconds(programs.default(f"GATEWAY_ENGINE_PING_{name}")) for name in ("INTERVAL", "TIMEOUT"))
        limits = re.findall(r"proxy_(?:read|send)_timeout +(\w+);", (DEPLOY / "nginx/nginx.conf").read_text())
        limits += re.findall(r"timeout (?:client|server|tunnel) +(\w+)", (DEPLOY / "haproxy/haproxy.cfg").read_text())
        limits += re.findall(r"stream_idle_timeout: (\w+)", (DEPLOY / "envoy/envoy.yaml").read_text())
        self.assertEqual(len(limits), 6)
        for limit in limits:
            self.assertGreater(programs.seconds(limit), silence)
        self.assertEqual(re.findall(r" timeout: (\w+)", (DEPLOY / "envoy/envoy.yaml").read_text()), ["0s", "0s", "1s"])

    def test_idle_connections_to_a_node_are_closed_before_the_node_does(self):
        kept = re.findall(r"^ +keepalive_timeout +(\w+);", (DEPLOY / "nginx/nginx.conf").read_text().split("server {")[0], flags=re.M)
        kept += re.findall(r"pool-purge-delay (\w+)", (DEPLOY / "haproxy/haproxy.cfg").read_text())
        kept += re.findall(r" common_http_protocol_options: {idle_timeout: (\w+)}\n +explicit", (DEPLOY / "envoy/envoy.yaml").read_text())
        kept += re.findall(r"idleConnTimeout: (\w+)", (DEPLOY / "traefik/gateways.yml").read_text())
        kept += re.findall(r"^\t+keepalive (\w+)$", (DEPLOY / "caddy/Caddyfile").read_text(), flags=re.M)
        self.assertEqual(len(kept), 6)
        for limit in kept:
            self.assertLess(programs.seconds(limit), programs.seconds(programs.default("GATEWAY_LIMITS_HEADER_TIMEOUT")))


@of_each_proxy
class Gateways(unittest.TestCase):
    """Real nodes behind each proxy."""

    def each_lets_clients_through(self, proxy):
        folder = temporary(self)
        nodes = programs.cluster(self, folder, NODES, apart=True)
        for node in nodes:
            self.addCleanup(node.child.kill)
        it = proxy(self, folder, nodes, ["tls"])
        in_turn(it, nodes)
        for transports, ends_with in (["websocket"], "websocket"), (["polling"], "polling"), (["polling", "websocket"], "websocket"):
            with self.subTest(transports=transports):
                self.talk(f"http://127.0.0.1:{it.port}", transports, ends_with, CLIENTS)
        with self.subTest("over TLS"):
            # Not by the client's WebSockets: its two threads now and then take what Go's TLS sends after the handshake for an end.
            self.talk(f"https://127.0.0.1:{it.tls}", ["polling"], "polling", 3)
            for client in (websocket_of, upgraded):
                for _ in range(3):
                    connection = client(it.tls, tls=True)
                    self.assertEqual(echo(connection), '430["still here"]')
                    connection.close()
        for node in nodes:
            self.assertGreater(programs.number(node, "gateway_connections_opened_total"), CLIENTS // 2, "every node has its share")
        status, headers = upgrade(it.port)
        self.assertEqual(status, 101)
        self.assertEqual(headers["upgrade"].lower(), "websocket")
        it.process.until("its log has the requests", lambda: it.answers()["200"] > CLIENTS)
        self.assertNotIn("sid=", it.process.log(), "a session's id is a secret")
        for url in (f"http://127.0.0.1:{it.port}", f"https://127.0.0.1:{it.tls}"):
            with self.subTest("the doctor finds nothing", url=url):
                command = [programs.GATEWAY, "doctor", url, "--idle-timeout", "0", "--ca", f"{folder}/tls.crt"]
                doctor = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                self.assertEqual(doctor.returncode, 0, doctor.stdout)
                self.assertEqual(re.findall(r"^ok +(\w+) ", doctor.stdout, flags=re.M)[-len(DOCTORS_STEPS) :], DOCTORS_STEPS, doctor.stdout)

    def talk(self, url, transports, ends_with, count):
        clients = [socketio.Client(reconnection=False, ssl_verify=False, http_session=unchecked()) for _ in range(count)]
        for client in clients:
            client.connect(url, transports=transports, wait_timeout=programs.PATIENCE_SECONDS)
        for echo in range(ECHOES):
            for number, client in enumerate(clients):
                self.assertEqual(client.call("echo", f"{number}-{echo}", timeout=programs.PATIENCE_SECONDS), f"{number}-{echo}")
        self.assertEqual({client.transport() for client in clients}, {ends_with})
        for client in clients:
            client.disconnect()


@of_each_proxy
class Addresses(unittest.TestCase):
    """What real nodes take for the address of a client behind each proxy."""

    CLIENT = "127.0.0.9"
    PROXY = "127.0.0.1"

    def setUp(self):
        self.folder = temporary(self)

    def start(self, **settings):
        self.node = programs.Gateway(self, self.folder, LOG_LEVEL="info,gateway::session=debug", **settings)
        self.node.ready()
        # It would wait for the sessions of whoever asked whether a proxy answers.
        self.addCleanup(self.node.child.kill)
        return self.node

    def each_is_believed_if_it_is_trusted(self, proxy):
        for trusted, address in (self.PROXY, self.CLIENT), ("10.0.0.0/8", self.PROXY):
            with self.subTest(trusted=trusted):
                node = self.start(PROXY_TRUSTED=trusted)
                self.connect(proxy(self, self.folder, [node]).port, address)

    def each_reads_it_from_the_proxy_protocol(self, proxy):
        """Of a balancer of TCP in front of it."""
        node = self.start(PROXY_TRUSTED=self.PROXY, PROXY_PROTOCOL=str(proxy.passes_it_on).lower())
        it = proxy(self, self.folder, [node], ["proxy"])
        before = len(self.opened())
        with socket.create_connection(("127.0.0.1", it.proxied), 30) as client:
            client.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n")
            client.sendall(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            self.assertIn(b" 200 ", client.recv(65536).split(b"\r\n")[0])
        self.saw("192.0.2.7", before)

    def test_haproxy_says_it_by_the_proxy_protocol(self):
        node = self.start(PROXY_TRUSTED=self.PROXY, PROXY_PROTOCOL="true")
        self.connect(proxies.HAProxy(self, self.folder, [node], ["proxy"]).port, self.CLIENT)

    def connect(self, port, address):
        """One client, that says it were somebody else."""
        before = len(self.opened())
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(self.CLIENT, 0))
        client.request("GET", "/socket.io/?EIO=4&transport=polling", headers={"X-Forwarded-For": "6.6.6.6"})
        self.assertEqual(client.getresponse().status, 200)
        client.close()
        self.saw(address, before)

    def saw(self, address, before):
        self.node.until("the session is in the log", lambda: address in self.opened()[before:])
        # The proxy's own address is that of whoever asked whether it answers.
        self.assertLessEqual(set(self.opened()[before:]), {address, self.PROXY})

    def opened(self):
        lines = [line for line in self.node.log().splitlines() if "session opened" in line]
        return [re.search(r"address=([\d.]+):", line)[1] for line in lines]


@of_each_proxy
class Reloads(unittest.TestCase):
    """Another list of nodes. Envoy reads its file once."""

    PROXIES = [proxy for proxy in ALL if proxy is not proxies.Envoy]

    def each_leaves_the_websockets(self, proxy):
        folder = temporary(self)
        stays, goes = nodes = programs.cluster(self, folder, 2, apart=True)
        for node in nodes:
            self.addCleanup(node.child.kill)
        it = proxy(self, folder, nodes)
        in_turn(it, nodes)
        clients = [websocket_of(it.port) for _ in range(6)]
        try:
            self.assertGreater(programs.number(goes, "gateway_sockets"), 0)
            it.put_in_front_of([stays])

            def goes_is_left_out():
                before = programs.number(goes, "gateway_connections_opened_total")
                self.assertEqual({ask(it.port) for _ in range(8)}, {200})
                return programs.number(goes, "gateway_connections_opened_total") == before

            it.process.until("the other node gets nothing new", goes_is_left_out)
            for client in clients:
                self.assertEqual(echo(client), '430["still here"]')
        finally:
            for client in clients:
                client.close()


@of_each_proxy
class Requests(unittest.TestCase):
    """What a proxy makes of requests, seen by servers that stand in the place of nodes."""

    def each_passes_them_on(self, proxy):
        self.servers = [Node(self, place) for place in programs.hosts(NODES)]
        it = proxy(self, temporary(self), self.servers, ["tls"])
        self.assertEqual(ask(it.tls, tls=True, headers={"X-Forwarded-Proto": "http"}), 200)
        self.assertEqual([node.seen["x-forwarded-proto"][-1] for node in self.servers if "https" in node.seen["x-forwarded-proto"]], ["https"])
        for node in self.servers:
            node.forget()
        self.pass_on(it.port)

    def pass_on(self, port):
        with self.subTest("what a client says of its address does not count"):
            self.assertEqual(ask(port, headers={"X-Forwarded-For": "1.2.3.4"}), 200)
            self.assertEqual({value for node in self.servers for value in node.seen["x-forwarded-for"]}, {"127.0.0.1"})
            self.assertEqual({value for node in self.servers for value in node.seen["x-forwarded-proto"]}, {"http"})

        with self.subTest("all nodes get their share, on few connections"):
            # Some proxies ask for the health of each first.
            self.wait_for(lambda: ask(port) == 200 and all(node.requests for node in self.servers))
            before, earlier = sum(node.connections for node in self.servers), [node.requests for node in self.servers]
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            for _ in range(30):
                client.request("GET", "/socket.io/?EIO=4&transport=polling&sid=x")
                self.assertEqual(client.getresponse().read(), b"ok")
            client.close()
            for node, requests in zip(self.servers, earlier):
                self.assertGreaterEqual(node.requests - requests, 8)
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
            # A request on a connection whose end the proxy has not read is lost with the node: Traefik, for one, repeats none
            # that it has written.
            self.wait_for(lambda: not half_closed(self.servers[1].port))
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


def half_closed(port):
    """Connections to a port that the other side has closed, and whose own side has not read that yet."""
    CLOSE_WAIT = "08"
    rows = [row.split() for row in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row for row in rows if row[3] == CLOSE_WAIT and int(row[2].split(":")[1], 16) == port]


class Node:
    """Answers like a node, as far as a proxy can tell, and keeps what it saw."""

    def __init__(self, test, place):
        self.host, self.port, _ = place
        self.internal = self.port
        self.requests = self.connections = self.held = 0
        self.sockets = []
        self.refuses = False
        self.forget()
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

        self.server = http.server.ThreadingHTTPServer((self.host, self.port), Handler)
        self.server.daemon_threads = True
        # A proxy that ends resets its connections.
        self.server.handle_error = lambda *_: None
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.open = True
        test.addCleanup(self.close)

    def forget(self):
        self.seen = {"x-forwarded-for": [], "x-forwarded-proto": []}

    def close(self):
        """As a process that is killed: its connections end, too."""
        if self.open:
            self.open = False
            self.server.shutdown()
            self.server.server_close()
            for connection in self.sockets:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def setUpModule():
    """What takes long begins now, and its test is the last."""
    Silence.begin()


class Silence(unittest.TestCase):
    """Clients behind each proxy that hear nothing for longer than the heartbeats allow by default."""

    # Of each client, by its proxy and its name: what went wrong, None if nothing did.
    ends = {}
    threads = []

    @classmethod
    def begin(cls):
        module = types.SimpleNamespace(addCleanup=unittest.addModuleCleanup)
        folder = temporary(module)
        node = programs.Gateway(module, folder, ENGINE_PING_INTERVAL=f"{SILENCE_SECONDS}s")
        node.ready()
        for proxy in ALL:
            own = pathlib.Path(folder) / proxy.name
            own.mkdir()
            it = proxy(module, str(own), [node])
            for client in (poll, listen):
                cls.threads.append(threading.Thread(target=cls.attempt, args=(proxy, client, it.port), daemon=True))
                cls.threads[-1].start()

    @classmethod
    def attempt(cls, proxy, client, port):
        began, wrong = time.monotonic(), None
        try:
            client(port)
            if time.monotonic() - began < SILENCE_SECONDS - 1:
                wrong = "heard something too early"
        except Exception as error:
            wrong = repr(error)
        cls.ends[proxy.name, client.__name__] = wrong

    def test_it_ends_no_poll_and_no_websocket(self):
        for thread in self.threads:
            thread.join()
        self.assertEqual(self.ends, {(proxy.name, client): None for proxy in ALL for client in ("poll", "listen")})


def poll(port):
    """Connects by polling, and waits for the first ping."""

    def request(method, sid="", body=None):
        connection = connect(port)
        connection.timeout = 2 * SILENCE_SECONDS
        try:
            connection.request(method, f"/socket.io/?EIO=4&transport=polling{sid}", body=body)
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status == 200, (answer.status, text)
            return text
        finally:
            connection.close()

    sid = "&sid=" + re.search(r'"sid":"([^"]+)"', request("GET"))[1]
    request("POST", sid, "40")
    assert request("GET", sid).startswith("40")
    heard = request("GET", sid)
    assert heard == "2", heard


def listen(port):
    """Connects with a WebSocket, waits for the first ping, and calls."""
    client = websocket_of(port)
    try:
        heard = client.recv()
        assert heard == "2", heard
        client.send("3")
        assert echo(client) == '430["still here"]'
    finally:
        client.close()


def in_turn(proxy, nodes):
    """Waits until every node gets requests: some proxies ask for the health of each first."""
    proxy.process.until("every node gets requests", lambda: ask(proxy.port) == 200 and all(programs.number(node, "gateway_connections_opened_total") for node in nodes))


def websocket_of(port, tls=False):
    """A WebSocket that is connected to the namespace /."""
    client = opened(port, tls)
    assert client.recv().startswith("0")
    client.send("40")
    assert client.recv().startswith("40")
    return client


def upgraded(port, tls=False):
    """The same, of a session that began by polling."""
    connection = connect(port, tls)
    connection.request("GET", "/socket.io/?EIO=4&transport=polling")
    sid = re.search(r'"sid":"([^"]+)"', connection.getresponse().read().decode())[1]
    connection.close()
    client = opened(port, tls, f"&sid={sid}")
    client.send("2probe")
    assert client.recv() == "3probe"
    client.send("5")
    client.send("40")
    assert client.recv().startswith("40")
    return client


def opened(port, tls, query=""):
    scheme, unchecked = ("wss", {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}) if tls else ("ws", None)
    return websocket.create_connection(f"{scheme}://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket{query}", timeout=2 * SILENCE_SECONDS, sslopt=unchecked)


def echo(client):
    """What a call of echo is answered with."""
    client.send('420["echo","still here"]')
    return client.recv()


def unchecked():
    """A session of requests that takes any certificate, whatever the environment says."""
    session = requests.Session()
    session.trust_env, session.verify = False, False
    return session


def temporary(test):
    """A folder with a certificate for the variants with TLS."""
    folder = tempfile.TemporaryDirectory()
    test.addCleanup(folder.cleanup)
    pathlib.Path(folder.name).chmod(0o755)
    proxies.certificate(folder.name)
    return folder.name


if __name__ == "__main__":
    unittest.main()
