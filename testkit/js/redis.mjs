// Redis servers that a test starts on free ports and stops by their process id.
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { freePort } from "./ports.mjs";
import { Program } from "./program.mjs";
import { until } from "./wait.mjs";

const run = promisify(execFile);

/** One server. */
export class Redis {
  #program;
  #arguments;
  #keys;
  #folder = mkdtempSync(join(tmpdir(), "gateway-redis-"));

  /** With keys it speaks TLS and nothing else. */
  static async start(args = [], keys = undefined) {
    const redis = new Redis(await freePort(), ["--save", "", "--appendonly", "no", ...args], keys);
    await redis.restart();
    return redis;
  }

  /** One that watches others, and keeps what it learns in its configuration. */
  static async startSentinel(lines, keys) {
    const sentinel = new Redis(await freePort(), [], keys);
    const file = join(sentinel.#folder, "sentinel.conf");
    writeFileSync(file, lines.join("\n"));
    sentinel.#arguments = [file, ...sentinel.#arguments, "--sentinel"];
    await sentinel.restart();
    return sentinel;
  }

  constructor(port, args, keys) {
    this.port = port;
    this.#keys = keys;
    const ports = keys
      ? ["--port", "0", "--tls-port", `${port}`, "--tls-cert-file", keys.certificate, "--tls-key-file", keys.key, "--tls-ca-cert-file", keys.authority, "--tls-auth-clients", "no", "--tls-replication", "yes"]
      : ["--port", `${port}`];
    this.#arguments = [...args, ...ports, "--bind", "127.0.0.1"];
  }

  get url() {
    return `${this.#keys ? "rediss" : "redis"}://127.0.0.1:${this.port}`;
  }

  /** Starts it, or starts it again, empty, on the same port. */
  async restart() {
    this.#program = new Program("redis-server", this.#arguments, { cwd: this.#folder });
    await until("Redis answers", async () => {
      if (!this.#program.running) throw new Error(this.#program.story);
      return (await this.command("PING").catch(() => "")) === "PONG";
    });
  }

  /** Ends it as `kill -9` does. */
  async kill() {
    await this.#program.kill();
  }

  /** Stops its process without ending it: connections stay, and nothing answers. */
  freeze() {
    this.#program.freeze();
  }

  thaw() {
    this.#program.thaw();
  }

  /** Runs a script that takes `milliseconds`, and refuses everybody else meanwhile with `BUSY` after five seconds of silence. */
  async keepBusy(milliseconds) {
    const script = run("redis-cli", ["-p", `${this.port}`, "EVAL", "while true do end", "0"], { timeout: 600_000 }).catch(() => {});
    await delay(milliseconds);
    await until("the script is killed", async () => (await this.command("SCRIPT", "KILL").catch(() => "")) === "OK");
    await script;
  }

  /** Takes the folder away in which it saves, so that saving fails. */
  async loseDisk() {
    rmSync(this.#folder, { recursive: true });
    await this.command("CONFIG", "SET", "save", "3600 1");
    await this.command("BGSAVE");
    await until("saving has failed", async () => (await this.command("INFO", "persistence")).includes("rdb_last_bgsave_status:err"));
  }

  /** The reply to a command, as text. */
  async command(...args) {
    const tls = this.#keys ? ["--tls", "--cacert", this.#keys.authority] : [];
    const { stdout } = await run("redis-cli", ["-p", `${this.port}`, ...tls, ...args], { timeout: 5_000 });
    return stdout.trim();
  }

  /** Waits until `nodes` gateway nodes have counted their peers. Each does once a second, by any of its connections. */
  async counted(nodes) {
    const monitor = new Program("redis-cli", ["-p", `${this.port}`, "MONITOR"]);
    try {
      await until("all nodes count their peers", () => {
        const counts = monitor.output.match(/ "PUBSUB" "NUMSUB" "\S+-gateway#nodes#/g) ?? [];
        return counts.length > 2 * nodes;
      });
    } finally {
      await monitor.kill();
    }
  }

  async stop() {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Three masters with a replica each. */
export class RedisCluster {
  static async start(keys = undefined) {
    const servers = [];
    const secured = keys ? ["--tls-cluster", "yes"] : [];
    const cli = keys ? ["--tls", "--cacert", keys.authority] : [];
    for (let number = 0; number < 6; number += 1) servers.push(await Redis.start(["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", ...secured], keys));
    const addresses = servers.map(({ port }) => `127.0.0.1:${port}`);
    execFileSync("redis-cli", ["--cluster", "create", ...addresses, "--cluster-replicas", "1", "--cluster-yes", ...cli], { stdio: "pipe" });
    for (const server of servers) await until("the cluster is whole", async () => {
      const info = await server.command("CLUSTER", "INFO");
      return info.includes("cluster_state:ok") && info.includes("cluster_known_nodes:6");
    });
    // A master without a replica would not be replaced.
    for (const master of servers.slice(0, 3)) await until("a replica follows", async () => (await master.command("INFO", "replication")).includes("state=online"));
    return new RedisCluster(servers, keys);
  }

  constructor(servers, keys) {
    this.servers = servers;
    this.keys = keys;
  }

  get url() {
    return `${this.keys ? "rediss" : "redis"}+cluster://${this.servers.map(({ port }) => `127.0.0.1:${port}`).join(",")}`;
  }

  async stop() {
    for (const server of this.servers) await server.stop();
  }
}

/** A master, its replica, and three sentinels, two of which have to agree. */
export class Sentinels {
  static async start(keys) {
    const master = await Redis.start([], keys);
    const replica = await Redis.start(["--replicaof", "127.0.0.1", `${master.port}`], keys);
    await until("the replica follows", async () => (await master.command("INFO", "replication")).includes("state=online"));
    const lines = [
      `sentinel monitor ${MASTER} 127.0.0.1 ${master.port} 2`,
      `sentinel down-after-milliseconds ${MASTER} 600000`,
      `sentinel failover-timeout ${MASTER} 5000`,
    ];
    const sentinels = [];
    for (let number = 0; number < 3; number += 1) sentinels.push(await Redis.startSentinel(lines, keys));
    for (const sentinel of sentinels) await until("the sentinels know all", async () => (await sentinel.command("INFO", "sentinel")).includes("slaves=1,sentinels=3"));
    return new Sentinels(master, replica, sentinels, keys);
  }

  constructor(master, replica, sentinels, keys) {
    Object.assign(this, { master, replica, sentinels });
    this.url = `${keys ? "rediss" : "redis"}+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(",")}/${MASTER}`;
  }

  /** The master's host is gone, with the sentinel that the gateway asks first: it takes connections and says nothing. */
  async lose() {
    await this.master.kill();
    this.sentinels[0].freeze();
  }

  /** Lets the sentinels that are left see it, which they do not until then. */
  async replace() {
    for (const sentinel of this.sentinels.slice(1)) await sentinel.command("SENTINEL", "SET", MASTER, "down-after-milliseconds", "5000");
    // They close all connections of the new master, ours as well.
    const isMaster = async () => (await this.replica.command("INFO", "replication").catch(() => "")).includes("role:master");
    await until("the replica is the master", isMaster, FAILOVER_MS);
  }

  async stop() {
    for (const server of [...this.sentinels, this.replica, this.master]) await server.stop();
  }
}

const MASTER = "mymaster";
/** Sentinels that vote at the same time vote again. */
const FAILOVER_MS = 90_000;
