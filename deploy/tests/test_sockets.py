"""A node at a socket in the file system, behind the proxies that docs/operations.md says it of, with the lines of that page."""

import contextlib
import http.client
import os
import re
import socket
import ssl
import tempfile
import unittest

import socketio

import programs
import proxies
from programs import DEPLOY, PATIENCE_SECONDS

PAGE = (DEPLOY.parent / "docs/operations.md").read_text()
PLACE = "/run/gateway/clients.sock"
CLIENT = "127.0.0.9"

NGINX = """
error_log /dev/stderr;
pid {folder}/nginx.pid;
events {{}}
http {{
    # Its folder for logs is there only where nginx is installed.
    access_log off;
    client_body_temp_path {folder}/bodies; proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/fastcgi; scgi_temp_path {folder}/scgi; uwsgi_temp_path {folder}/uwsgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream gateway {{ {line} }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://gateway;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 90s
    timeout server 90s
    timeout tunnel 90s
frontend clients
    bind 127.0.0.1:{port}
    http-request del-header x-forwarded-for
    option forwardfor
    default_backend gateway
backend gateway
    {line}
"""

CADDY = """
{{
    admin off
}}
http://127.0.0.1:{port} {{
    {line}
}}
"""


def line(pattern):
    """What the page says that the file of a proxy has."""
    (found,) = re.findall(rf"`({pattern})`", re.sub(r"\s+", " ", PAGE))
    return found


class Sockets(unittest.TestCase):
    def setUp(self):
        # Paths of sockets are short.
        folder = tempfile.TemporaryDirectory(prefix="gw", dir="/tmp")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        os.chmod(self.folder, 0o755)
        self.path = f"{self.folder}/clients.sock"
        # Proxies may run as users of their own.
        settings = {"LISTEN": f"unix:{self.path}:0666", "PROXY_TRUSTED": "unix", "LOG_LEVEL": "info,gateway::session=debug"}
        self.node = programs.Gateway(self, self.folder, **settings, **self.settings())
        self.node.ready()
        self.addCleanup(self.node.child.kill)
        (self.port,) = programs.free_ports(1)

    def settings(self):
        """What a test has the node do beside."""
        return {}

    def until_seen(self, address):
        self.node.until(f"{address} is in the log", lambda: f"address={address}:" in self.node.log())


class Proxies(Sockets):
    def run_proxy(self, name, file, text, *arguments):
        config = f"{self.folder}/{file}"
        with open(config, "w") as out:
            out.write(text)
        command = [argument.format(config=config, folder=self.folder) for argument in arguments]
        proxy = programs.Process(self, self.folder, programs.tool(name), *command, environment=proxies.environment(self.folder))
        self.addCleanup(proxy.child.kill)
        proxy.until(f"{name} answers", lambda: proxies.ask(self.port) == 200)

    def clients_come_through(self):
        for transports in ["websocket"], ["polling"], ["polling", "websocket"]:
            client = socketio.Client(reconnection=False)
            client.connect(f"http://127.0.0.1:{self.port}", transports=transports, wait_timeout=PATIENCE_SECONDS)
            for size in 5, 200_000:
                self.assertEqual(client.call("echo", "x" * size, timeout=PATIENCE_SECONDS), "x" * size)
            self.assertEqual(client.transport(), transports[-1])
            client.disconnect()
        # One that says it were somebody else.
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30, source_address=(CLIENT, 0))
        client.request("GET", "/socket.io/?EIO=4&transport=polling", headers={"X-Forwarded-For": "6.6.6.6"})
        self.assertEqual(client.getresponse().status, 200)
        client.close()
        self.until_seen(CLIENT)
        self.assertNotIn("6.6.6.6", self.node.log())
        self.assertNotIn("address=0.0.0.0", self.node.log())

    def test_nginx(self):
        text = NGINX.format(folder=self.folder, port=self.port, line=line("server unix:[^`]*").replace(PLACE, self.path))
        self.run_proxy("nginx", "nginx.conf", text, "-p", "{folder}", "-c", "{config}", "-g", "daemon off;")
        self.clients_come_through()

    def test_haproxy(self):
        text = HAPROXY.format(port=self.port, line=line("server one unix@[^`]*").replace(PLACE, self.path))
        self.run_proxy("haproxy", "haproxy.cfg", text, "-db", "-f", "{config}")
        self.clients_come_through()

    def test_caddy(self):
        text = CADDY.format(port=self.port, line=line("reverse_proxy unix[^`]*").replace(PLACE, self.path))
        self.run_proxy("caddy", "Caddyfile", text, "run", "--config", "{config}", "--adapter", "caddyfile")
        self.clients_come_through()


class Connections(Sockets):
    """TLS and the PROXY protocol count for these connections, too, as the page says."""

    BALANCED = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n"
    REQUEST = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    def settings(self):
        proxies.certificate(self.folder)
        return {"TLS_CERT": f"{self.folder}/tls.crt", "TLS_KEY": f"{self.folder}/tls.key", "PROXY_PROTOCOL": "true"}

    def connect(self):
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.settimeout(PATIENCE_SECONDS)
        client.connect(self.path)
        return client

    def test_the_header_of_a_balancer_comes_before_tls(self):
        client = self.connect()
        client.sendall(self.BALANCED)
        trusted = ssl.create_default_context(cafile=f"{self.folder}/tls.crt")
        with trusted.wrap_socket(client, server_hostname="127.0.0.1") as secured:
            secured.sendall(self.REQUEST)
            self.assertEqual(secured.recv(4096).split(b"\r\n")[0], b"HTTP/1.1 200 OK")
        self.until_seen("192.0.2.7")

    def test_nothing_else_is_taken(self):
        """No request without TLS, and nothing without a header."""
        for sent in self.BALANCED + self.REQUEST, self.REQUEST:
            with self.subTest(sent):
                client = self.connect()
                client.sendall(sent)
                with contextlib.suppress(ConnectionResetError):
                    self.assertNotIn(b"HTTP/1.1 200", client.recv(4096))
        self.assertNotIn("session opened", self.node.log())


if __name__ == "__main__":
    unittest.main()
