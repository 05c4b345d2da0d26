// Figures for docs/redis.md, not a test: GATEWAY_BIN=.. CLUSTER_NODE_BIN=.. node measure.mjs
//
// Three relays and a Node server on one Redis, in one machine with whatever else runs there: what each receives from Redis, and how long
// an event takes from a client of one relay to a client of another.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { Client } from "./lib/clients.mjs";
import { EmitterProcess } from "./lib/emitter.mjs";
import { joined, relay } from "./lib/gateways.mjs";
import { NodeServer } from "./lib/node_server.mjs";
import { Redis } from "./lib/redis.mjs";
import { until } from "./lib/until.mjs";

const ROOMS = 1_000;
const PER_SECOND = 1_000;
const SECONDS = 10;
const LATENCIES = 10_000;

/** Passes on to Redis and counts what comes back. */
async function counting(port) {
  const server = createServer((client) => {
    const redis = connect(port, "127.0.0.1");
    redis.setNoDelay();
    client.setNoDelay();
    redis.on("data", (chunk) => {
      server.received += chunk.length;
    });
    client.pipe(redis).pipe(client);
    for (const end of [client, redis]) end.on("error", () => [client, redis].forEach((other) => other.destroy()));
  });
  server.received = 0;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  server.url = `redis://127.0.0.1:${server.address().port}`;
  server.unref();
  return server;
}

const redis = await Redis.start();
const ids = ["a", "b", "c"];
const proxies = Object.fromEntries(await Promise.all([...ids, "node"].map(async (id) => [id, await counting(redis.port)])));
const relays = await Promise.all(ids.map((id) => relay(id, { "redis.url": proxies[id].url })));
const node = await NodeServer.start(proxies.node.url);
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
