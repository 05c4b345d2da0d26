// Figures for docs/opentelemetry.md, not a test: GATEWAY_BIN=.. LOADTEST_BIN=.. COLLECTOR_PYTHON=.. node measure_otel.mjs [rounds]
//
// What spans cost: the CPU time of one node for each acknowledged event, and for each delivery of a broadcast to a room of ten, without
// otel.endpoint and with 0, 1 and 100 % of the traces sampled. OLD_BIN may name a program from before spans. Node, load and collector share the
// machine; runs take turns, each on a node of its own.
import { execFile } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { startRelay } from "../clients/lib/target.mjs";
import { Collector } from "./lib/collector.mjs";
import { metric } from "./lib/gateways.mjs";

const ROUNDS = Number(process.argv[2] ?? 8);
const SECONDS = 6;
const LOADS = {
  echo: { args: ["echo", "--clients", "100", "--window", "1"], figure: "acks_per_cpu_second" },
  fanout: { args: ["fanout", "--rooms", "20", "--members", "10", "--window", "4"], figure: "deliveries_per_cpu_second" },
};

const run = promisify(execFile);
const collector = await Collector.start();
const sampled = (share) => ["--otel-endpoint", collector.url, "--otel-sample", share];
const MODES = { off: [], "0 %": sampled("0"), "1 %": sampled("0.01"), "100 %": sampled("1") };
const programs = Object.entries(MODES).map(([name, args]) => ({ name, args, program: process.env.GATEWAY_BIN }));
if (process.env.OLD_BIN) programs.unshift({ name: "before", args: [], program: process.env.OLD_BIN });

/** Microseconds of CPU time of the node for each message, and how many spans it kept. */
async function measure({ args, program }, load) {
  process.env.GATEWAY_BIN = program;
  const node = await startRelay(["--shards", "1", ...args]);
  const file = join(tmpdir(), `gateway-otel-${process.pid}.json`);
  const how = ["--quiet", "--url", node.url, "--pid", `${node.pid}`, "--json", file, "--size", "128", "--warmup", "1s", "--duration", `${SECONDS}s`];
  await run(process.env.LOADTEST_BIN, [...load.args, ...how]);
  const { figures } = JSON.parse(readFileSync(file, "utf8"));
  rmSync(file);
  const { value } = figures.find(({ name }) => name === load.figure);
  const of = (result) => metric(node, `gateway_otel_spans_total{result="${result}"}`).catch(() => 0);
  const spans = [await of("exported"), await of("full")];
  await node.stop();
  return { cost: 1e6 / value, spans };
}

const median = (values) => values.toSorted((one, other) => one - other)[values.length >> 1];

for (const [name, load] of Object.entries(LOADS)) {
  const found = programs.map(() => []);
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const index of programs.keys()) {
      const at = (index + round) % programs.length;
      found[at].push(await measure(programs[at], load));
    }
  }
  for (const [index, program] of programs.entries()) {
    const costs = found[index].map(({ cost }) => cost);
    const [exported, full] = [0, 1].map((which) => median(found[index].map(({ spans }) => spans[which])));
    console.log(`${name}, ${program.name}: ${median(costs).toFixed(2)} us (${Math.min(...costs).toFixed(2)} to ${Math.max(...costs).toFixed(2)}); spans: ${exported} exported, ${full} dropped`);
  }
}
await collector.stop();
process.exit(0);
