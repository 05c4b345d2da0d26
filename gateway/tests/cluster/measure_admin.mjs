// Figures for docs/admin.md, not a test: GATEWAY_BIN=.. LOADTEST_BIN=.. node measure_admin.mjs [clients]
//
// Three nodes with so many clients, and an admin page on one of them. Bytes per second over Redis, and to the page: without a page, with one that
// shows an idle cluster, and with one that shows a busy cluster, by the setting's default and by a larger one.
import { spawn } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { Redis } from "../../../testkit/js/redis.mjs";
import { until } from "../../../testkit/js/wait.mjs";
import { HASH, LOGIN, Page } from "./lib/admin.mjs";
import { joined, metric, relay } from "./lib/gateways.mjs";

const CLIENTS = Number(process.argv[2] ?? 20_000);
const SECONDS = 20;
const NODES = ["a", "b", "c"];
/** Clients that are busy, and events of each in a second. */
const BUSY = [150, 10];

const redis = await Redis.start();
const settings = { "redis.url": redis.url, "cluster.secret": "a secret of these figures", "admin.user": LOGIN.username, "admin.password": HASH, "admin.mode": process.env.MODE ?? "development", "admin.events_per_second": process.env.EVENTS ?? 100 };
const nodes = await Promise.all(NODES.map((id) => relay(id, settings)));
for (const node of nodes) await joined(node, NODES.length);

const loads = [];
function load(...args) {
  const child = spawn(process.env.LOADTEST_BIN, [...args, "--quiet"], { stdio: ["ignore", "ignore", "inherit"] });
  loads.push(child);
  return child;
}

const connections = async () => {
  const counts = await Promise.all(nodes.map((node) => metric(node, 'gateway_connections{transport="websocket"}')));
  return counts.reduce((sum, count) => sum + count, 0);
};

async function transferred() {
  const text = await redis.command("INFO", "stats");
  const of = (name) => Number(new RegExp(`${name}:(\\d+)`).exec(text)[1]);
  return { in: of("total_net_input_bytes"), out: of("total_net_output_bytes") };
}

async function measure(what, page) {
  const [before, bytes, count, began] = [await transferred(), page?.bytes, page?.events.length, Date.now()];
  await delay(SECONDS * 1_000);
  const [now, seconds] = [await transferred(), (Date.now() - began) / 1_000];
  const rate = (value) => Math.round(value / seconds);
  const told = page ? `, to the page ${rate(page.bytes - bytes)} bytes and ${rate(page.events.length - count)} events per second, ${page.lists} lists` : "";
  console.log(`${what}: to Redis ${rate(now.in - before.in)}, from Redis ${rate(now.out - before.out)} bytes per second${told}`);
}

try {
  for (const node of nodes) load("idle", "--url", node.url, "--clients", `${Math.ceil(CLIENTS / NODES.length)}`, "--messages", "0", "--hold", "1h", "--ready-within", "600s");
  await until("all are connected", async () => (await connections()) >= CLIENTS, 600_000);
  console.log(`${await connections()} clients on ${NODES.length} nodes`);
  await delay(5_000);
  await measure("no page");
  const opened = Date.now();
  const page = await Page.open(nodes[0]);
  if (settings["admin.mode"] === "development") {
    await until("the page has its list", () => page.sockets);
    console.log(`a list of ${page.sockets.size} sockets after ${Date.now() - opened} ms, ${page.bytes} bytes in all`);
  }
  await until("all nodes told their numbers", () => page.servers.size === NODES.length);
  console.log(`the page counts ${page.count("/")} sockets`);
  await delay(3_000);
  await measure("a page, nothing happens", page);
  load("echo", "--url", nodes.map(({ url }) => url).join(), "--clients", `${BUSY[0]}`, "--rate", `${BUSY[1]}`, "--duration", "1h");
  await delay(8_000);
  await measure(`a page, ${BUSY[0] * BUSY[1]} events in and as many acknowledgements per second`, page);
  for (const node of nodes) {
    const of = (result) => metric(node, `gateway_admin_events_total{result="${result}"}`);
    console.log(`${node.id}: shown ${await of("shown")}, beyond ${await of("beyond")}, left out ${await of("left_out")}, not told ${await of("not_told")}`);
  }
  page.close();
} finally {
  loads.forEach((child) => child.kill("SIGKILL"));
  await Promise.all(nodes.map((node) => node.stop()));
  await redis.stop();
}
process.exit(0);
