// Blocks and revocations over Redis: in force on three nodes when the call answers, and after what may happen to nodes and to Redis.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { io } from "socket.io-client";
import { Client } from "./lib/clients.mjs";
import { isReady, joined, metric, relay } from "./lib/gateways.mjs";
import { token } from "./lib/tracer.mjs";
import { request } from "../clients/lib/http.mjs";
import { Redis } from "../../../testkit/js/redis.mjs";
import { Inbox, until, within } from "../../../testkit/js/wait.mjs";

const FULL = process.env.CLUSTER_FULL === "1";
const BLOCKS = FULL ? 1_000 : 60;
/** Users that are blocked at the same time. */
const AT_A_TIME = 10;
const NAMES = ["a", "b", "c"];
const KEY = "a key for the tests of users";
const SECRET = "a secret for the tests of users";
const PATIENCE_MS = 60_000;
/** The sockets of a user who is blocked and does not give up, and how long they try. */
const STUBBORN = 50;
const STUBBORN_MS = FULL ? 10_000 : 2_000;

describe("three nodes and one Redis", () => {
  let redis;
  let nodes;
  let settings;

  before(async () => {
    redis = await Redis.start();
    settings = { "redis.url": redis.url, "api.key": KEY, "auth.jwt_secret": SECRET, "cluster.request_timeout": "3s" };
    nodes = await Promise.all(NAMES.map((name) => relay(name, settings)));
    await Promise.all(nodes.map((node) => joined(node, NAMES.length)));
  });
  after(async () => {
    await Promise.all((nodes ?? []).map((node) => node.kill()));
    await redis?.stop();
  });

  it(`a block is in force on every node when the call answers, ${BLOCKS} times`, async (test) => {
    const late = [];
    for (let first = 0; first < BLOCKS; first += AT_A_TIME) {
      const users = Array.from({ length: Math.min(AT_A_TIME, BLOCKS - first) }, (_, number) => first + number);
      late.push(...(await Promise.all(users.map(blocked))));
    }
    late.sort((one, other) => one - other);
    const [median, last] = [late[late.length >> 1], late.at(-1)].map((it) => it.toFixed(1));
    test.diagnostic(`${BLOCKS} blocks: the clients knew ${median} ms (median) and ${last} ms (at most) after the answer`);
    if (FULL) assert.ok(late.at(-1) < 100, `${last} ms`);
    assert.deepEqual(await everywhere("gateway_users_blocked"), [BLOCKS, BLOCKS, BLOCKS]);
    for (const node of nodes) assert.equal((await list(node, "blocks?limit=1000")).length, BLOCKS);
  });

  /** Blocks a user with a client on each node. Returns how long after the answer the last of them knew. */
  async function blocked(number) {
    const name = `user ${number}`;
    const clients = await Promise.all(nodes.map((node) => open(node, name)));
    let knew = 0;
    const gone = clients.map(({ socket }) => new Promise((resolve) => socket.once("disconnect", (reason) => {
      knew = performance.now();
      resolve(reason);
    })));
    await call(nodes[number % nodes.length], "block", { user: name, for: "1h" });
    const answered = performance.now();
    // Those that connect from now on come to nobody.
    const errors = await Promise.all(nodes.map((node) => refusal(node, name)));
    for (const error of errors) assert.equal(error.data?.code, "user_blocked", `${error}`);
    const reasons = await within(PATIENCE_MS, Promise.all(gone), "all clients are told");
    assert.deepEqual(reasons, ["io server disconnect", "io server disconnect", "io server disconnect"]);
    return Math.max(knew - answered, 0);
  }

  it("a blocked user who does not give up costs little", async (test) => {
    await call(nodes[0], "block", { user: "stubborn" });
    const [other] = await Promise.all([open(nodes[0], "patient")]);
    const auth = { token: token(SECRET, "stubborn") };
    const before = await cpu(nodes[0]);
    const slowest = { echo: 0 };
    let refused = 0;
    let goes = true;
    const stubborn = Array.from({ length: STUBBORN }, async () => {
      while (goes) {
        const error = await attempt(nodes[0], auth);
        assert.equal(error.data?.code, "user_blocked");
        refused += 1;
        // As fast as the client library comes back by itself when it is in a hurry.
        await delay(100);
      }
    });
    const end = performance.now() + STUBBORN_MS;
    while (performance.now() < end) {
      const began = performance.now();
      await other.call("echo", 1);
      slowest.echo = Math.max(slowest.echo, performance.now() - began);
    }
    goes = false;
    await Promise.all(stubborn);
    const spent = (await cpu(nodes[0])) - before;
    test.diagnostic(`${refused} refusals of ${STUBBORN} sockets in ${STUBBORN_MS} ms cost ${((spent / refused) * 1e6).toFixed(0)} µs of CPU each, the echoes of another client with them; the slowest of these took ${slowest.echo.toFixed(1)} ms`);
    assert.ok(refused >= STUBBORN);
    other.close();
  });

  it("a token is revoked on every node", async () => {
    const clients = await Promise.all(nodes.map((node) => open(node, "ann", { jti: "one" })));
    const gone = clients.map(({ socket }) => new Promise((resolve) => socket.once("disconnect", resolve)));
    const other = await open(nodes[0], "ann", { jti: "two" });
    await call(nodes[1], "revoke", { jti: "one", for: "1h" });
    await within(PATIENCE_MS, Promise.all(gone), "all clients are told");
    for (const node of nodes) assert.equal((await refusal(node, "ann", { jti: "one" })).data?.code, "token_revoked");
    assert.ok(other.socket.connected);
    const now = Math.floor(Date.now() / 1000);
    await call(nodes[2], "revoke", { user: "ann", issued_until: now });
    await until("it goes", () => !other.socket.connected);
    assert.equal((await refusal(nodes[0], "ann", { iat: now })).data?.code, "token_revoked");
    (await open(nodes[0], "ann", { iat: now + 1 })).close();
  });

  it("a node that stands still is named, and follows when it goes on", async () => {
    const client = await open(nodes[2], "bob");
    nodes[2].freeze();
    const answer = await post(nodes[0], "block", { user: "bob" });
    nodes[2].thaw();
    assert.deepEqual([answer.status, JSON.parse(answer.text).error.code], [503, "not_everywhere"]);
    assert.match(answer.text, /: c;/);
    await until("its client goes", () => !client.socket.connected);
    assert.equal((await refusal(nodes[2], "bob")).data?.code, "user_blocked");
    await Promise.all(nodes.map((node) => joined(node, NAMES.length)));
  });

  it("a node that is killed and started again knows who is blocked before it is ready", async () => {
    await nodes[1].kill();
    await call(nodes[0], "block", { user: "eve" }, "until");
    nodes[1] = await relay("b", settings);
    await joined(nodes[1], NAMES.length);
    for (const name of ["bob", "eve", "user 0"]) assert.equal((await refusal(nodes[1], name)).data?.code, "user_blocked", name);
  });

  it("what Redis loses comes back from the nodes, and a node that starts then has it", async () => {
    const before = await everywhere("gateway_users_blocked");
    await redis.kill();
    const answer = await post(nodes[0], "block", { user: "tom" });
    assert.deepEqual([answer.status, JSON.parse(answer.text).error.code], [503, "unavailable"]);
    await redis.restart();
    await Promise.all(nodes.map((node) => joined(node, NAMES.length)));
    await until("it is written again", async () => (await everywhere("gateway_users_restored_total")).some((it) => it > 0));
    nodes.push(await relay("d", settings));
    await joined(nodes[3], 4);
    await until("it has all", async () => (await metric(nodes[3], "gateway_users_blocked")) === before[0]);
    assert.equal((await refusal(nodes[3], "eve")).data?.code, "user_blocked");
    await nodes.pop().stop();
    await Promise.all(nodes.map((node) => joined(node, NAMES.length)));
  });

  it("what is unblocked stays so, whatever a server of Redis forgot", async () => {
    const key = "socket.io-gateway{nodes}users";
    const before = await redis.command("HGET", key, "user:eve");
    await call(nodes[0], "unblock", { user: "eve" });
    (await open(nodes[1], "eve")).close();
    // As a replica does that became the master before it had heard of it.
    await redis.command("HSET", key, "user:eve", before);
    await redis.command("HSET", key, "", before.split(":")[0]);
    await until("it is put right", async () => (await redis.command("HGET", key, "user:eve")).includes("lifted"));
    for (const node of nodes) (await open(node, "eve")).close();
  });

  it("a Redis that takes no writes keeps no node from being ready, and takes no block", async () => {
    const key = "socket.io-gateway{nodes}users";
    await redis.command("HSET", key, "user:over", "1:1:{}");
    await redis.command("CONFIG", "SET", "min-replicas-to-write", "1");
    const late = await relay("d", settings);
    await until("it is ready", () => isReady(late));
    assert.equal((await refusal(late, "bob")).data?.code, "user_blocked");
    const answer = await post(late, "block", { user: "sue" });
    assert.deepEqual([answer.status, JSON.parse(answer.text).error.code], [503, "unavailable"]);
    (await open(late, "sue")).close();
    await late.stop();
    await redis.command("CONFIG", "SET", "min-replicas-to-write", "0");
    await Promise.all(nodes.map((node) => joined(node, NAMES.length)));
    await call(nodes[0], "block", { user: "sue" }, "until");
    assert.equal((await refusal(nodes[1], "sue")).data?.code, "user_blocked");
  });

  it("garbage in Redis is counted and hurts nobody", async () => {
    const key = "socket.io-gateway{nodes}users";
    await redis.command("HSET", key, "user:odd", "no record", "other:odd", "1:0:{}", "user:late", "9999999999999999:0:{}");
    await until("it is seen", async () => (await everywhere("gateway_users_odd_total")).every((it) => it > 0));
    (await open(nodes[0], "late")).close();
    assert.ok((await Promise.all(nodes.map(isReady))).every(Boolean));
    await redis.command("HDEL", key, "user:odd", "other:odd", "user:late");
    await call(nodes[0], "block", { user: "last" });
    assert.equal((await refusal(nodes[2], "last")).data?.code, "user_blocked");
  });

  const everywhere = (series) => Promise.all(nodes.map((node) => metric(node, series)));
  const cpu = (node) => metric(node, "process_cpu_seconds_total");

  function open(node, name, claims = {}) {
    return Client.open(node, "websocket", { auth: { token: token(SECRET, name, claims) } });
  }

  /** What a client is told that may not connect. */
  const refusal = (node, name, claims = {}) => attempt(node, { token: token(SECRET, name, claims) });

  async function attempt(node, auth) {
    const socket = io(node.url, { transports: ["websocket"], forceNew: true, reconnection: false, auth });
    const inbox = new Inbox();
    socket.on("connect", () => inbox.push(new Error("it is connected")));
    socket.on("connect_error", (error) => inbox.push(error));
    const error = await inbox.next(PATIENCE_MS, "an answer");
    socket.disconnect();
    return error;
  }

  function post(node, path, body) {
    const headers = { authorization: `Bearer ${KEY}`, "content-type": "application/json" };
    return request(node.internalPort, `/api/v1/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  }

  /** A call that is answered with ok. With `until` it is repeated: a node that died is named until it is no member any more. */
  async function call(node, path, body, repeats) {
    let answer = await post(node, path, body);
    if (repeats) await until("all nodes confirm", async () => (answer = await post(node, path, body)).status === 200);
    assert.equal(answer.status, 200, answer.text);
    return JSON.parse(answer.text);
  }

  async function list(node, path) {
    const answer = await request(node.internalPort, `/api/v1/${path}`, { headers: { authorization: `Bearer ${KEY}` } });
    return JSON.parse(answer.text).blocks;
  }
});
