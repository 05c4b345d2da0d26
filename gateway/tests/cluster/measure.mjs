// Figures for docs/redis.md, not a test: GATEWAY_BIN=.. CLUSTER_NODE_BIN=.. node measure.mjs
//
// Three relays and a Node server on one Redis, in one machine with whatever else runs there: what each receives from Redis, and how long
// an event takes from a client of one relay to a client of another.
import { setTimeout as delay } from "node:timers/promises";
import { Client } from "./lib/clients.mjs";
import { EmitterProcess } from "./lib/emitter.mjs";
import { joined, relay } from "./lib/gateways.mjs";
import { NodeServer } from "./lib/node_server.mjs";
import { Proxy } from "../../../testkit/js/proxy.mjs";
import { Redis } from "../../../testkit/js/redis.mjs";
import { until } from "../../../testkit/js/wait.mjs";

const ROOMS = 1_000;
const PER_SECOND = 1_000;
const SECONDS = 10;
const LATENCIES = 10_000;

const redis = await Redis.start();
const ids = ["a", "b", "c"];
const proxies = Object.fromEntries(await Promise.all([...ids, "node"].map(async (id) => [id, await Proxy.start(redis.port)])));
const relays = await Promise.all(ids.map((id) => relay(id, { "redis.url": proxies[id].redisUrl })));
const node = await NodeServer.start(proxies.node.redisUrl);
const emitter = await EmitterProcess.start("ioredis", redis.url);
for (const gateway of relays) await joined(gateway, 3);
const clients = await Promise.all(relays.map((gateway) => Client.open(gateway, "websocket")));
for (let number = 0; number < ROOMS; number += 1) await clients[number % 3].join(`room${number}`);

const text = "x".repeat(64);
let sent = 0;
const before = Object.fromEntries(Object.entries(proxies).map(([id, { received }]) => [id, received]));
const began = performance.now();
while (sent < PER_SECOND * SECONDS) {
  const due = Math.min(PER_SECOND * SECONDS, ((performance.now() - began) / 1_000) * PER_SECOND);
  for (; sent < due; sent += 1) emitter.emit({ rooms: [`room${sent % ROOMS}`] }, "hello", { number: sent, text });
  await delay(5);
}
await until("all have arrived", () => clients.reduce((sum, { inbox }) => sum + inbox.size, 0) === sent);
const seconds = (performance.now() - began) / 1_000;
console.log(`${ROOMS} rooms on three relays, ${Math.round(sent / seconds)} broadcasts per second to one room each, for ${seconds.toFixed(1)} s:`);
for (const [id, { received }] of Object.entries(proxies)) console.log(`  ${id}: ${((received - before[id]) / seconds / 1_000).toFixed(0)} kB/s from Redis`);

const [from, , to] = clients;
await to.join("latency");
const latencies = [];
to.socket.on("ping", (at) => latencies.push(performance.now() - at));
const start = performance.now();
for (let number = 0; number < LATENCIES; ) {
  const due = Math.min(LATENCIES, performance.now() - start);
  for (; number < due; number += 1) from.socket.emit("publish", "latency", "ping", performance.now());
  await delay(1);
}
await until("all have arrived", () => latencies.length === LATENCIES);
latencies.sort((one, other) => one - other);
const at = (share) => latencies[Math.floor(latencies.length * share)].toFixed(2);
console.log(`from a client of one relay to a client of another, 1,000 per second: median ${at(0.5)} ms, 99 % below ${at(0.99)} ms`);

clients.forEach((client) => client.close());
await emitter.stop();
await node.stop();
await Promise.all(relays.map((gateway) => gateway.stop()));
await redis.stop();
process.exit(0);
