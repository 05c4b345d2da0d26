// Who is there, over Redis: told once, without ghosts after kill -9, without flapping in a rollout, and after what may happen to Redis.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { io } from "socket.io-client";
import { Client } from "./lib/clients.mjs";
import { RoundRobin } from "./lib/crowd.mjs";
import { joined, metric, relay } from "./lib/gateways.mjs";
import { RawUser, Receiver, knows, presence } from "./lib/presence.mjs";
import { token } from "./lib/tracer.mjs";
import { Redis } from "../../../testkit/js/redis.mjs";
import { until } from "../../../testkit/js/wait.mjs";

const FULL = process.env.CLUSTER_FULL === "1";
/** Users of the node that is killed. */
const GHOSTS = FULL ? 3_000 : 300;
/** Users that come back in a rollout. */
const ROLLED = FULL ? 300 : 60;
const KEY = "a key for the tests of presence";
const SECRET = "a secret for the tests of presence";
const NAMES = ["a", "b", "c"];
const LEASE_MS = 3_000;

describe("three nodes, one Redis and a backend", () => {
  let redis;
  let receiver;
  let nodes;
  let settings;

  before(async () => {
    redis = await Redis.start();
    receiver = await Receiver.start(SECRET, async () => (await presence(await until("nodes run", () => nodes?.[1]), KEY)).keys());
    settings = {
      "redis.url": redis.url,
      "api.key": KEY,
      "auth.jwt_secret": SECRET,
      "backend.url": receiver.url,
      "backend.secret": SECRET,
      "backend.stream": "events",
      "backend.routes": "/* connect nowhere,/* disconnect nowhere,/* join relay,/* leave relay",
      "presence.users": true,
      "presence.rooms": "chat:*",
      "presence.lease": `${LEASE_MS}ms`,
      "presence.grace": "1s",
    };
    nodes = await Promise.all(NAMES.map((name) => relay(name, settings)));
    await Promise.all(nodes.map((node) => joined(node, NAMES.length)));
  });
  after(async () => {
    await Promise.all((nodes ?? []).map((node) => node.kill()));
    receiver?.stop();
    await redis?.stop();
  });

  it("the first connection of a user and the last are told, to the webhook and to the stream", async () => {
    await until("a reset comes first", () => receiver.of("reset").length === 1);
    const ann = await Promise.all(nodes.map((node) => open(node, "ann")));
    await knows(receiver, ["ann"]);
    await until("all three are counted", async () => (await there()).join() === "ann,3");
    ann[0].close();
    ann[1].close();
    await until("two of three are gone", async () => (await there())[0]?.[1] === 1);
    ann[2].close();
    await knows(receiver, []);
    assert.deepEqual(await there(), []);
    const told = receiver.events.map(({ event, namespace, user }) => [event, namespace, user]);
    assert.deepEqual(told, [["reset", undefined, undefined], ["user_online", "/", "ann"], ["user_offline", "/", "ann"]]);
    assert.deepEqual(receiver.events.map(({ number }) => number), [1, 2, 3]);
    assert.equal(receiver.forged, 0);
    const ids = receiver.events.map(({ id }) => id);
    await until("the stream has the same", async () => (await streamed()).map(({ id }) => id).join() === ids.join());
    const [entry] = (await streamed()).filter(({ event }) => event === "user_online");
    assert.deepEqual([entry.type, entry.user, entry.namespace, entry.version], ["presence", "ann", "/", 1]);
  });

  it("a room is occupied with its first member and vacated with its last", async () => {
    const [one, other] = await Promise.all([open(nodes[0], "one"), open(nodes[2], "other")]);
    await one.join("chat:1", "private");
    await until("it is occupied", () => receiver.rooms.has("chat:1"));
    await other.join("chat:1");
    await one.call("leave", "chat:1");
    other.close();
    await until("it is vacated", () => !receiver.rooms.has("chat:1"));
    one.close();
    await knows(receiver, []);
    const rooms = receiver.events.filter(({ room }) => room).map(({ event, room }) => `${event} ${room}`);
    assert.deepEqual(rooms, ["room_occupied chat:1", "room_vacated chat:1"]);
  });

  it("a backend that is away, or takes nothing, hears everything later and in order", async () => {
    const before = receiver.events.length;
    const asked = receiver.requests;
    receiver.status = 503;
    const users = [];
    for (let number = 0; number < 20; number += 1) users.push(await open(nodes[number % 3], `late ${number}`));
    // More often than one call tries.
    await until("it was asked again and again", () => receiver.requests > asked + 6);
    receiver.status = undefined;
    await knows(receiver, users.map((_, number) => `late ${number}`));
    users.forEach((user) => user.close());
    await knows(receiver, []);
    const told = receiver.events.slice(before);
    assert.equal(told.length, 40);
    const numbers = told.map(({ number }) => number);
    assert.deepEqual(numbers, numbers.toSorted((one, other) => one - other));
  });

  it(`nobody of ${GHOSTS} users of a node that is killed is there after the lease`, async (test) => {
    const names = Array.from({ length: GHOSTS }, (_, number) => `ghost ${number}`);
    const stay = ["ghost 0", "ghost 1", "stays"];
    const ghosts = await RawUser.openAll(nodes[0], names.map((name) => token(SECRET, name)));
    const others = await RawUser.openAll(nodes[1], stay.map((name) => token(SECRET, name)));
    await knows(receiver, [...names, "stays"]);
    assert.equal((await presence(nodes[2], KEY)).size, GHOSTS + 1);
    const before = receiver.events.length;
    await nodes[0].kill();
    const killed = performance.now();
    await until("no ghost is there", async () => (await presence(nodes[2], KEY)).size === stay.length);
    const gone = performance.now() - killed;
    await knows(receiver, stay);
    const told = performance.now() - killed;
    test.diagnostic(`${GHOSTS} users of a killed node, a lease of ${LEASE_MS} ms: gone from GET presence after ${gone.toFixed(0)} ms, told to the webhook after ${told.toFixed(0)} ms, ${receiver.events.length - before} events, ${receiver.doubles} of them twice`);
    assert.deepEqual(await there(), stay.map((name) => [name, 1]));
    assert.equal(receiver.events.length - before, GHOSTS - 2);
    if (FULL) assert.ok(gone < LEASE_MS + 2_000, `${gone} ms`);
    const buried = await Promise.all(nodes.slice(1).map((node) => metric(node, "gateway_presence_leases_expired_total")));
    assert.equal(buried.reduce((sum, it) => sum + it), 1);
    nodes[0] = await relay("a", settings);
    await Promise.all(nodes.map((node) => joined(node, NAMES.length)));
    [...ghosts, ...others].forEach((user) => user.close());
    await knows(receiver, []);
  });

  it("a node that stands still for longer than the lease comes back with its users", async () => {
    const bob = await RawUser.open(nodes[1], token(SECRET, "bob"));
    await knows(receiver, ["bob"]);
    nodes[1].freeze();
    await knows(receiver, []);
    nodes[1].thaw();
    await knows(receiver, ["bob"]);
    assert.deepEqual(await there(), [["bob", 1]]);
    assert.equal(await metric(nodes[1], "gateway_presence_restarts_total"), 1);
    bob.close();
    await knows(receiver, []);
  });

  it("a Redis that is emptied, or comes back empty, leads to a reset and to no flood", async () => {
    const names = Array.from({ length: 30 }, (_, number) => `kept ${String(number).padStart(2, "0")}`);
    const users = [];
    for (const [place, node] of nodes.entries()) users.push(...(await RawUser.openAll(node, names.filter((_, it) => it % 3 === place).map((name) => token(SECRET, name)))));
    await knows(receiver, names);
    for (const empty of [() => redis.command("FLUSHALL"), async () => (await redis.kill(), await redis.restart())]) {
      const before = receiver.events.length;
      await empty();
      await until("a reset is told", () => receiver.events.slice(before).some(({ event }) => event === "reset"));
      await knows(receiver, names);
      assert.deepEqual(receiver.events.slice(before).map(({ event }) => event), ["reset"]);
      assert.deepEqual((await there()).map(([name]) => name), names);
      await Promise.all(nodes.map((node) => joined(node, NAMES.length)));
    }
    users.forEach((user) => user.close());
    await knows(receiver, []);
  });

  it("users come and go while Redis is away, and it is put right", async () => {
    const gone = await RawUser.open(nodes[2], token(SECRET, "gone"));
    const stays = await RawUser.open(nodes[1], token(SECRET, "stays"));
    await knows(receiver, ["gone", "stays"]);
    const events = receiver.events.length;
    const failed = () => Promise.all([nodes[0], nodes[2]].map((node) => metric(node, "gateway_presence_failures_total")));
    const before = await failed();
    redis.freeze();
    const came = await RawUser.open(nodes[0], token(SECRET, "came"));
    gone.close();
    await until("both nodes could not tell it", async () => (await failed()).every((count, place) => count > before[place]));
    redis.thaw();
    await knows(receiver, ["came", "stays"]);
    await until("the store says so, too", async () => (await there()).join() === "came,1,stays,1");
    // The lease was over while nobody could call, and nobody counted as dead.
    const told = receiver.events.slice(events).map(({ event, user }) => `${event} ${user}`);
    assert.deepEqual(told.sort(), ["user_offline gone", "user_online came"]);
    came.close();
    stays.close();
    await knows(receiver, []);
  });

  const there = async () => [...(await presence(nodes[1], KEY))];

  /** The presence events in the stream, in their order. */
  async function streamed() {
    const lines = (await redis.command("XRANGE", "events", "-", "+")).split("\n");
    return lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line)).filter(({ type }) => type === "presence");
  }
});

describe("a rollout", () => {
  let redis;
  let receiver;
  let balancer;
  let nodes = [];
  let clients = [];

  after(async () => {
    clients.forEach((client) => client.disconnect());
    balancer?.stop();
    await Promise.all(nodes.map((node) => node.kill()));
    receiver?.stop();
    await redis?.stop();
  });

  it(`of three nodes tells nothing of ${ROLLED} users who come back`, async (test) => {
    redis = await Redis.start();
    receiver = await Receiver.start(SECRET, async () => (await presence(await until("nodes run", () => nodes[0]), KEY)).keys());
    const settings = {
      "redis.url": redis.url,
      "api.key": KEY,
      "auth.jwt_secret": SECRET,
      "backend.url": receiver.url,
      "backend.secret": SECRET,
      "backend.routes": "/* connect nowhere,/* disconnect nowhere",
      "shutdown.drain": "2s",
      "presence.users": true,
      // Longer than any machine takes for a client to come back.
      "presence.grace": "60s",
    };
    nodes = await Promise.all(NAMES.map((name) => relay(name, settings)));
    await Promise.all(nodes.map((node) => joined(node, NAMES.length)));
    balancer = await RoundRobin.start(nodes);
    const names = Array.from({ length: ROLLED }, (_, number) => `rolled ${number}`);
    const options = { transports: ["websocket"], forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 300 };
    clients = names.map((name) => io(balancer.url, { ...options, auth: { token: token(SECRET, name) } }));
    let back = 0;
    for (const client of clients) client.io.on("reconnect", () => (back += 1));
    await knows(receiver, names);
    const before = receiver.events.length;
    for (const [place, name] of NAMES.entries()) {
      const left = nodes.filter((_, other) => other !== place);
      balancer.nodes = left;
      await nodes[place].terminate();
      await Promise.all(left.map((node) => joined(node, 2)));
      nodes[place] = await relay(name, settings);
      balancer.nodes = nodes;
      await Promise.all(nodes.map((node) => joined(node, NAMES.length)));
    }
    await until("everybody is back", () => clients.every((client) => client.connected));
    // What is told before this one has been told.
    const marker = await RawUser.open(nodes[0], token(SECRET, "marker"));
    await knows(receiver, [...names, "marker"]);
    test.diagnostic(`${ROLLED} users came back ${back} times in a rollout of three nodes, and nothing was told of them`);
    assert.ok(back >= ROLLED);
    assert.deepEqual(receiver.events.slice(before).map(({ event, user }) => `${event} ${user}`), ["user_online marker"]);
    marker.close();
  });
});

function open(node, name) {
  return Client.open(node, "websocket", { auth: { token: token(SECRET, name) } });
}
