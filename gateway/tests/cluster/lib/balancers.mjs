// nginx and HAProxy on free ports, round-robin, without anything that keeps a client on one node. They are ended by their process ids.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../../../testkit/js/ports.mjs";
import { Program } from "../../../../testkit/js/program.mjs";

/** Starts nginx in front of `nodes`. */
export function startNginx(nodes) {
  const servers = nodes.map(({ port }) => `server 127.0.0.1:${port};`).join(" ");
  const config = (port) => `
worker_processes 1;
daemon off;
pid nginx.pid;
error_log /dev/stderr error;
events { worker_connections 8192; }
http {
  log_format short '$status $request_method';
  access_log /dev/stdout short;
  client_body_temp_path bodies;
  proxy_temp_path answers;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  upstream gateways { ${servers} keepalive 128; keepalive_timeout 5s; }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location / {
      proxy_pass http://gateways;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host $host;
      proxy_read_timeout 90s;
    }
  }
}
`;
  return Balancer.start("/usr/sbin/nginx", config, (folder, path) => ["-e", "/dev/stderr", "-p", folder, "-c", path]);
}

/** Starts HAProxy in front of `nodes`. Like nginx it gives idle connections up before the nodes do (limits.header_timeout). */
export function startHaproxy(nodes) {
  const servers = nodes.map(({ port }, number) => `  server node${number} 127.0.0.1:${port} pool-purge-delay 4s`).join("\n");
  const config = (port) => `
global
  log stdout format raw local0
defaults
  mode http
  log global
  log-format "%ST %HM"
  timeout connect 5s
  timeout client 90s
  timeout server 90s
  timeout tunnel 90s
frontend clients
  bind 127.0.0.1:${port} backlog 4096
  default_backend gateways
backend gateways
  balance roundrobin
${servers}
`;
  return Balancer.start("/usr/sbin/haproxy", config, (_folder, path) => ["-db", "-f", path]);
}

/** A balancer in a folder of its own. */
class Balancer {
  #program;

  static async start(program, config, args) {
    const balancer = new Balancer(await freePort());
    const path = join(balancer.folder, "config");
    writeFileSync(path, config(balancer.port));
    balancer.#program = await Program.listening(balancer.port, program, args(balancer.folder, path), { cwd: balancer.folder });
    return balancer;
  }

  constructor(port) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.folder = mkdtempSync(join(tmpdir(), "gateway-balancer-"));
  }

  /** How many answers there were of each status; all are there once it was stopped. */
  statuses() {
    const counts = {};
    for (const [, status] of this.#program.output.matchAll(/^(-?\d+) [A-Z]+$/gm)) counts[status] = (counts[status] ?? 0) + 1;
    return counts;
  }

  async stop() {
    if (this.#program.running) await this.#program.stop();
  }

  remove() {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
