// Figures for docs/benchmarks.md, not a test: GATEWAY_BIN=.. LOADTEST_BIN=.. node measure_webhook.mjs [runs]
//
// Clients whose events are acknowledged by a backend behind webhooks, and the same calls made to the backend directly, by wrk. Each client has
// one call under way. Backend, gateway and load share the machine; runs take turns.
import { execFile } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { debianProgram } from "../../../testkit/js/install.mjs";
import { startRelay } from "../clients/lib/target.mjs";
import { BackendProcess } from "./lib/backend.mjs";

const RUNS = Number(process.argv[2] ?? 5);
const SECONDS = 5;
/** For the throughput, and for the latency. */
const MANY = 100;
const FEW = 10;

debianProgram("/usr/bin/wrk", "wrk", "wrk from Debian (or install it yourself)");

const run = promisify(execFile);
const backend = await BackendProcess.start();
const node = await startRelay(["--backend-url", backend.url, "--backend-secret", "a secret of these figures", "--backend-concurrency", `${MANY}`]);

/** What loadtest says of so many clients; times are in seconds. */
async function throughGateway(clients) {
  const file = join(tmpdir(), `gateway-webhook-${process.pid}.json`);
  const load = ["--clients", `${clients}`, "--window", "1", "--size", "128", "--warmup", "1s", "--duration", `${SECONDS}s`];
  await run(process.env.LOADTEST_BIN, ["echo", "--quiet", "--url", node.url, "--pid", `${node.pid}`, "--json", file, ...load]);
  const { figures } = JSON.parse(readFileSync(file, "utf8"));
  rmSync(file);
  return Object.fromEntries(figures.map(({ name, value }) => [name, value]));
}

/** What wrk says of so many connections to the backend; times are in seconds. */
async function directly(clients) {
  const call = { version: 1, type: "event", id: "x".repeat(20), node: "n", namespace: "/", socket: { id: "y".repeat(20), user: null, rooms: [], data: null }, event: "echo", args: ["x".repeat(128)], ack: true };
  const file = join(tmpdir(), `gateway-webhook-${process.pid}.lua`);
  writeFileSync(file, `wrk.method = "POST"\nwrk.headers["content-type"] = "application/json"\nwrk.body = ${JSON.stringify(JSON.stringify(call))}\n`);
  const { stdout } = await run("wrk", ["-t1", `-c${clients}`, `-d${SECONDS}s`, "--latency", "-s", file, backend.url]);
  rmSync(file);
  const units = { us: 1e-6, ms: 1e-3, s: 1 };
  const at = (percent) => {
    const [, value, unit] = new RegExp(`${percent}%\\s+([\\d.]+)(us|ms|s)`).exec(stdout);
    return Number(value) * units[unit];
  };
  return { p50: at(50), p99: at(99), rate: Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)[1]) };
}

const median = (values) => values.sort((one, other) => one - other)[values.length >> 1];
const span = (values, digits) => `${median(values).toFixed(digits)} (${Math.min(...values).toFixed(digits)} to ${Math.max(...values).toFixed(digits)})`;

const many = [];
const few = [];
const direct = [];
for (let number = 0; number < RUNS; number += 1) {
  many.push(await throughGateway(MANY));
  few.push(await throughGateway(FEW));
  direct.push(await directly(FEW));
}
const milliseconds = (of, name) => span(of.map((it) => it[name] * 1_000), 3);
console.log(`${MANY} clients: ${span(many.map(({ rate }) => rate), 0)} events per second, ${span(many.map((it) => it.acks_per_cpu_second), 0)} per CPU second of the gateway`);
console.log(`${FEW} clients through the gateway: p50 ${milliseconds(few, "p50")} ms, p99 ${milliseconds(few, "p99")} ms, ${span(few.map(({ rate }) => rate), 0)} per second`);
console.log(`${FEW} callers directly: p50 ${milliseconds(direct, "p50")} ms, p99 ${milliseconds(direct, "p99")} ms, ${span(direct.map(({ rate }) => rate), 0)} per second`);

await node.stop();
await backend.stop();
process.exit(0);
