// Two nodes become four, while members of rooms are sent numbered events: who is let go comes back elsewhere and misses nothing.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { io } from "socket.io-client";
import { request } from "../clients/lib/http.mjs";
import { Crowd, RoundRobin } from "./lib/crowd.mjs";
import { joined, metric, relay } from "./lib/gateways.mjs";
import { Redis } from "../../../testkit/js/redis.mjs";
import { until } from "../../../testkit/js/wait.mjs";

const KEY = "a key for the tests of rebalancing";
const ROOMS = ["one", "two", "three", "four"];
const MEMBERS = 20;
/** In each second. */
const ARRIVALS = 120;
const WANTED = ["cluster.rebalance", "cluster.rebalance_per_second"];

const folder = mkdtempSync(join(tmpdir(), "rebalance-"));
const file = join(folder, "gateway.toml");
const nodes = [];
let redis;
let balancer;
let crowd;

before(async () => {
  redis = await Redis.start();
  writeFileSync(file, "");
  await start("a", "b");
  balancer = await RoundRobin.start(nodes);
  crowd = new Crowd(balancer.url);
});
after(async () => {
  crowd?.close();
  balancer?.stop();
  await Promise.all(nodes.map((node) => node.stop()));
  await redis?.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function start(...names) {
  const settings = { config: file, "redis.url": redis.url, "recovery.window": "60s", "api.key": KEY };
  nodes.push(...(await Promise.all(names.map((name) => relay(name, settings)))));
  await Promise.all(nodes.map((node) => joined(node, nodes.length)));
}

async function reload(node) {
  const headers = { authorization: `Bearer ${KEY}`, "content-type": "application/json" };
  const answer = await request(node.internalPort, "/api/v1/reload", { method: "POST", headers, body: "{}" });
  assert.equal(answer.status, 200, answer.text);
  return JSON.parse(answer.text).changed;
}

const everywhere = (series) => Promise.all(nodes.map((node) => metric(node, series)));
const connections = async () => {
  const [websockets, polls] = await Promise.all(["websocket", "polling"].map((it) => everywhere(`gateway_connections{transport="${it}"}`)));
  return websockets.map((count, index) => count + polls[index]);
};

test("connections spread over nodes that came, and nothing is lost", async (test) => {
  await crowd.join(ROOMS, MEMBERS);
  await crowd.publish(ROOMS, 20);
  await start("c", "d");
  balancer.nodes = nodes;
  const before = await connections();
  const mean = (ROOMS.length * (MEMBERS + 1)) / nodes.length;
  assert.ok(before[0] > 1.5 * mean && before[2] === 0, `${before}`);

  // The settings say so while the nodes serve.
  writeFileSync(file, '[cluster]\nrebalance = "auto"\nrebalance_per_second = 30\n');
  for (const node of nodes) assert.deepEqual(await reload(node), WANTED);
  await until("it begins", async () => (await everywhere("gateway_rebalancing")).some((it) => it === 1), 30_000);
  await until("it is even", async () => {
    const busy = (await everywhere("gateway_rebalancing")).some((it) => it === 1);
    const now = await connections();
    return !busy && now.reduce((sum, it) => sum + it, 0) === 4 * mean && Math.max(...now) <= mean + 10;
  }, 60_000);
  const letGo = await everywhere('gateway_connections_closed_total{reason="rebalanced",transport="websocket"}');
  const faults = await crowd.stop();
  test.diagnostic(`${before} connections became ${await connections()}; ${letGo} were let go, ${crowd.recovered} recovered, ${crowd.published} published`);
  assert.deepEqual(faults, []);
  assert.equal(crowd.notRecovered, 0);
  assert.ok(crowd.recovered > 0 && letGo[0] > 0 && letGo[1] > 0 && letGo[2] + letGo[3] === 0, `${letGo}`);
});

test("nobody is moved who arrives evenly, however often somebody asks", async (test) => {
  crowd.close();
  await until("nobody is there", async () => (await connections()).every((it) => it === 0));
  writeFileSync(file, '[cluster]\nrebalance_per_second = 30\n');
  for (const node of nodes) await reload(node);
  const letGo = () => everywhere('gateway_connections_closed_total{reason="rebalanced",transport="websocket"}');
  const before = await letGo();
  const clients = [];
  let connects = 0;
  for (let turn = 0; turn < 10; turn += 1) {
    const headers = { authorization: `Bearer ${KEY}`, "content-type": "application/json" };
    const asked = await request(nodes[turn % nodes.length].internalPort, "/api/v1/rebalance", { method: "POST", headers, body: "{}" });
    assert.equal(asked.status, 200, asked.text);
    for (let number = 0; number < ARRIVALS; number += 1) {
      const client = io(balancer.url, { transports: ["websocket"], forceNew: true });
      client.on("connect", () => (connects += 1));
      clients.push(client);
    }
    await until("they are there", () => connects === clients.length);
    // The nodes look once a second, and begin after five looks at most.
    await delay(1000);
    assert.deepEqual(await everywhere("gateway_rebalancing"), nodes.map(() => 0), `turn ${turn}: ${await connections()}`);
  }
  test.diagnostic(`${clients.length} clients arrived: ${await connections()}`);
  for (const client of clients) client.close();
  assert.deepEqual([await letGo(), connects], [before, clients.length]);
});
