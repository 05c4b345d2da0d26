// Live traces over Redis: complete under load, and ended when the node of their reader is killed.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Client } from "./lib/clients.mjs";
import { joined, metric, relay } from "./lib/gateways.mjs";
import { Load } from "./lib/load.mjs";
import { Tracer, token } from "./lib/tracer.mjs";
import { Redis } from "../../../testkit/js/redis.mjs";
import { until } from "../../../testkit/js/wait.mjs";

const FULL = process.env.CLUSTER_FULL === "1";
const USERS = FULL ? 5_000 : 300;
/** Most that connect at the same time. */
const AT_A_TIME = 50;
const ROOMS = 100;
const ROUNDS = FULL ? 500 : 100;
const NAMES = ["a", "b", "c"];
const KEY = "a key for the tests of traces";
const SECRET = "a secret for the tests of traces";
/** For so long a node traces for another one that is silent, and a little longer on a machine that is busy. */
const LEASE_MS = 10_000;
const LATE_MS = 10_000;

describe("three nodes and one Redis", () => {
  let redis;
  let nodes;
  const clients = [];

  before(async () => {
    redis = await Redis.start();
    const settings = { "redis.url": redis.url, "api.key": KEY, "auth.jwt_secret": SECRET };
    nodes = await Promise.all(NAMES.map((name) => relay(name, settings)));
    await Promise.all(nodes.map((node) => joined(node, NAMES.length)));
  });
  after(async () => {
    clients.forEach((client) => client.close());
    await Promise.all((nodes ?? []).map((node) => node.stop()));
    await redis?.stop();
  });

  async function user(node, name) {
    const client = await Client.open(node, "websocket", { auth: { token: token(SECRET, name) } });
    clients.push(client);
    return client;
  }

  it(`a trace of one user among ${USERS} under load has all that its client sent and received`, async (test) => {
    const [a, b, c] = nodes;
    const names = Array.from({ length: USERS - 1 }, (_, number) => number);
    for (let first = 0; first < names.length; first += AT_A_TIME) {
      await Promise.all(names.slice(first, first + AT_A_TIME).map(async (number) => {
        const client = await user(nodes[number % nodes.length], `user ${number}`);
        client.socket.offAny();
        await client.join(`room ${number % ROOMS}`);
      }));
    }
    const tracer = await Tracer.open(a, KEY, "user=ann&arguments=true", NAMES.length);
    const ann = await user(b, "ann");
    const recorded = [];
    ann.socket.onAny((...event) => recorded.push(event));
    await ann.join("room 0", "of ann");
    const [bob, eve, tom] = [await user(a, "bob"), await user(b, "eve"), await user(c, "tom")];
    const loads = [new Load(bob, "room 0"), new Load(tom, "room 1"), new Load(eve, "room 2")];
    for (let round = 0; round < ROUNDS; round += 1) {
      const told = [bob, eve, tom].map((client) => client.call("publish", "of ann", `from ${client.server.id}`, round, "é"));
      await Promise.all([...told, ann.call("echo", round)]);
    }
    await Promise.all(loads.map((load) => load.stop()));
    for (const client of [bob, eve, tom]) await client.call("publish", ["room 0", "of ann"], "last", client.server.id);
    await until("Ann has all", () => recorded.filter(([event]) => event === "last").length === 3);
    ann.close();
    await until("the trace has that she went", () => tracer.of("disconnected").length === 1);
    tracer.close();
    const sent = tracer.of("sent").map(({ event, arguments: text }) => [event, ...JSON.parse(`[${text}]`)]);
    test.diagnostic(`Ann received ${recorded.length} events among ${clients.length} users, and the trace has ${sent.length}`);
    assert.ok(recorded.length > 3 * ROUNDS);
    assert.deepEqual(sent, recorded);
    const received = tracer.of("received").map(({ event }) => event);
    assert.deepEqual(received, ["join", ...Array(ROUNDS).fill("echo")]);
    assert.equal(tracer.of("ack_sent").length, 1 + ROUNDS);
    assert.deepEqual([tracer.of("lost"), tracer.of("not_tracing")], [[], []]);
    assert.ok(tracer.lines.every(({ what, user: whose }) => ["tracing", "closed"].includes(what) || whose === "ann"));
    for (const node of nodes) await until("the trace is over", async () => (await metric(node, "gateway_traces")) === 0);
  });

  it("kill -9 of the reader's node ends the trace on the others, and readers elsewhere hear of it", async (test) => {
    const [a, b, c] = nodes;
    const here = await Tracer.open(a, KEY, "room=chat", NAMES.length);
    const there = await Tracer.open(b, KEY, "room=chat", NAMES.length);
    for (const node of [b, c]) assert.equal(await metric(node, "gateway_traces"), 2);
    const killed = performance.now();
    await a.kill();
    await until("the reader's connection is gone", () => here.ended);
    for (const node of [b, c]) {
      await until("its trace is over", async () => (await metric(node, "gateway_traces")) === 1, LEASE_MS + LATE_MS);
    }
    test.diagnostic(`the others traced for ${Math.round(performance.now() - killed)} ms more`);
    await until("the other reader hears of it", () => there.of("not_tracing").length === 1);
    const [line] = there.of("not_tracing");
    assert.equal(line.node, "a");
    assert.match(line.reason, /it does not answer|it left the cluster/);
    const client = await user(c, "zoe");
    await client.join("chat");
    await until("the other trace goes on", () => there.of("joined").length === 1);
    there.close();
    for (const node of [b, c]) await until("it ends", async () => (await metric(node, "gateway_traces")) === 0);
  });
});
