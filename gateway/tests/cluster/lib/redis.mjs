// Redis servers that a test starts on free ports and stops by their process id.
import { execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, openSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { until } from "./until.mjs";

const run = promisify(execFile);

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** One server. */
export class Redis {
  #child;
  #arguments;
  #folder = mkdtempSync(join(tmpdir(), "gateway-redis-"));

  static async start(args = []) {
    const redis = new Redis(await stablePort(), args);
    await redis.restart();
    return redis;
  }

  constructor(port, args) {
    this.port = port;
    this.#arguments = args;
  }

  get url() {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Starts it, or starts it again, empty, on the same port. */
  async restart() {
    const log = openSync(join(this.#folder, "log"), "a");
    const args = ["--port", `${this.port}`, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", ...this.#arguments];
    this.#child = spawn("redis-server", args, { cwd: this.#folder, stdio: ["ignore", log, log] });
    running.add(this.#child);
    this.#child.unref();
    await until("Redis answers", async () => (await this.command("PING").catch(() => "")) === "PONG");
  }

  /** Ends it as `kill -9` does. */
  async kill() {
    const child = this.#child;
    const ended = once(child, "exit");
    child.ref();
    child.kill("SIGKILL");
    await ended;
    running.delete(child);
  }

  /** Stops its process without ending it: connections stay, and nothing answers. */
  freeze() {
    this.#child.kill("SIGSTOP");
  }

  thaw() {
    this.#child.kill("SIGCONT");
  }

  /** The reply to a command, as text. */
  async command(...args) {
    const { stdout } = await run("redis-cli", ["-p", `${this.port}`, ...args], { timeout: 5_000 });
    return stdout.trim();
  }

  async stop() {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Three masters with a replica each. */
export class RedisCluster {
  static async start() {
    const servers = [];
    for (let number = 0; number < 6; number += 1) servers.push(await Redis.start(["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]));
    const addresses = servers.map(({ port }) => `127.0.0.1:${port}`);
    execFileSync("redis-cli", ["--cluster", "create", ...addresses, "--cluster-replicas", "1", "--cluster-yes"], { stdio: "pipe" });
    for (const server of servers) await until("the cluster is whole", async () => {
      const info = await server.command("CLUSTER", "INFO");
      return info.includes("cluster_state:ok") && info.includes("cluster_known_nodes:6");
    });
    // A master without a replica would not be replaced.
    for (const master of servers.slice(0, 3)) await until("a replica follows", async () => (await master.command("INFO", "replication")).includes("state=online"));
    return new RedisCluster(servers);
  }

  constructor(servers) {
    this.servers = servers;
  }

  get url() {
    return `redis+cluster://${this.servers.map(({ port }) => `127.0.0.1:${port}`).join(",")}`;
  }

  async stop() {
    for (const server of this.servers) await server.stop();
  }
}

let last = 0;

/** A port below those that the system gives to outgoing connections, so that none takes it while its server is down. */
async function stablePort() {
  for (;;) {
    last += 1;
    const port = 10_000 + ((process.pid * 37 + last) % 12_000);
    // A cluster's bus is 10,000 ports above.
    if ((await isFree(port)) && (await isFree(port + 10_000))) return port;
  }
}

function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
