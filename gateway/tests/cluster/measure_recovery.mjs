// Figures for docs/recovery.md, not a test: GATEWAY_BIN=.. LOADTEST_BIN=.. node measure_recovery.mjs [rounds]
//
// Two relays on one Redis, with recovery in /kept alone: what a publish of 128 characters to rooms with members on both costs in / and in
// /kept, and how long it takes. The two namespaces take turns; Redis, the nodes and the load share the machine.
import { execFile } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Redis } from "../../../testkit/js/redis.mjs";
import { joined, relay } from "./lib/gateways.mjs";

const ROUNDS = Number(process.argv[2] ?? 5);
const SECONDS = 5;
const ROOMS = 50;
const MEMBERS = 4;
/** Publishes per second in all: few at a time, and so many that they go to Redis in batches. */
const RATES = [1_000, 10_000];

const run = promisify(execFile);
const redis = await Redis.start();
const settings = { "redis.url": redis.url, "recovery.window": "2m", "recovery.namespaces": "/kept", namespaces: "/,/kept" };
const nodes = await Promise.all(["a", "b"].map((id) => relay(id, settings)));
for (const node of nodes) await joined(node, 2);

/** Seconds of CPU that Redis has used. */
async function redisCpu() {
  const text = await redis.command("INFO", "cpu");
  const seconds = (name) => Number(new RegExp(`used_cpu_${name}:([\\d.]+)`).exec(text)[1]);
  return seconds("user") + seconds("sys");
}

/** What publishes in a namespace cost: seconds of Redis' and the nodes' CPU for each, and the times of deliveries. */
async function load(namespace, rate) {
  const file = join(tmpdir(), `gateway-recovery-${process.pid}.json`);
  const shape = ["--rooms", `${ROOMS}`, "--members", `${MEMBERS}`, "--rate", `${rate / ROOMS}`, "--size", "128", "--namespace", namespace];
  const time = ["--warmup", "0s", "--duration", `${SECONDS}s`];
  const urls = nodes.map(({ url }) => url).join(",");
  const before = await redisCpu();
  await run(process.env.LOADTEST_BIN, ["fanout", "--quiet", "--url", urls, "--pid", nodes.map(({ pid }) => pid).join(","), "--json", file, ...shape, ...time]);
  const cpu = (await redisCpu()) - before;
  const figures = Object.fromEntries(JSON.parse(readFileSync(file, "utf8")).figures.map(({ name, value }) => [name, value]));
  rmSync(file);
  if (figures.lost > 0) throw new Error(`${figures.lost} deliveries in ${namespace} were lost`);
  return { redis: cpu / figures.sent, nodes: (figures.server_cores * SECONDS) / figures.sent, p50: figures.p50, p99: figures.p99 };
}

const median = (values) => [...values].sort((one, other) => one - other)[values.length >> 1];
const span = (values, digits) => `${median(values).toFixed(digits)} (${Math.min(...values).toFixed(digits)} to ${Math.max(...values).toFixed(digits)})`;

for (const rate of RATES) {
  const plain = [];
  const kept = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    plain.push(await load("/", rate));
    kept.push(await load("/kept", rate));
  }
  console.log(`${rate} publishes a second to ${ROOMS} rooms of ${MEMBERS} on two nodes, plain, recoverable, and both compared:`);
  const row = (title, name, unit, digits, compare) =>
    console.log(`  ${title}: ${span(plain.map((it) => it[name] * unit), digits)}, ${span(kept.map((it) => it[name] * unit), digits)}, ${span(kept.map((it, at) => compare(it[name], plain[at][name])), 2)}`);
  const times = (one, other) => one / other;
  row("Redis' CPU, us", "redis", 1e6, 2, times);
  row("both nodes' CPU, us", "nodes", 1e6, 1, times);
  row("p50, ms", "p50", 1e3, 2, (one, other) => (one - other) * 1e3);
  row("p99, ms", "p99", 1e3, 2, (one, other) => (one - other) * 1e3);
}

for (const node of nodes) await node.stop();
await redis.kill();
process.exit(0);
