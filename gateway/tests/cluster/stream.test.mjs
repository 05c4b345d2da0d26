// Events go into a Redis Stream, and consumer groups get all of them, in the order of each socket.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { after, before, describe, it } from "node:test";
import { Client } from "./lib/clients.mjs";
import { joined, metric, relay } from "./lib/gateways.mjs";
import { Redis, RedisCluster } from "../../../testkit/js/redis.mjs";
import { Proxy } from "../../../testkit/js/proxy.mjs";
import { consume, distinct, KEY, numbers, of } from "./lib/stream.mjs";
import { until } from "../../../testkit/js/wait.mjs";

const DURABLE = ["--appendonly", "yes", "--appendfsync", "always"];
const SECRET = "a secret that only tests know";

describe("two nodes with backend.stream", () => {
  let redis;
  let nodes;
  before(async () => {
    redis = await Redis.start(DURABLE);
    const settings = { "redis.url": redis.url, "backend.stream": KEY, "backend.timeout": "1s" };
    nodes = await Promise.all(["a", "b"].map((id) => relay(id, settings)));
    for (const node of nodes) await joined(node, 2);
  });
  after(async () => {
    await Promise.all(nodes.map((node) => node.stop()));
    await redis.stop();
  });

  it("a consumer group gets what each socket did, in its order", async () => {
    const clients = await Promise.all(Array.from({ length: 10 }, (_, number) => Client.open(nodes[number % 2], number % 3 ? "websocket" : "polling", { auth: { number } })));
    const ids = clients.map(({ id }) => id);
    for (let number = 0; number < 50; number += 1) for (const client of clients) client.socket.emit("say", number, Buffer.from([number]));
    for (const client of clients) assert.deepEqual(await client.call("last", 50), { ok: true });
    clients.forEach((client) => client.close());
    await until("all have left", async () => (await redis.command("XLEN", KEY)) === `${10 * 53}`);
    const entries = await consume(redis.url);
    for (const [index, id] of ids.entries()) {
      const own = of(entries, id);
      assert.deepEqual([own[0].type, own.at(-1).type], ["connect", "disconnect"]);
      assert.equal(own[0].body.auth.number, index);
      assert.equal(own.at(-1).body.reason, "client namespace disconnect");
      assert.deepEqual(numbers(own), Array.from({ length: 51 }, (_, number) => number));
      const { namespace, event, body } = own[2];
      assert.deepEqual([namespace, event, body.version, body.event], ["/", "say", 1, "say"]);
      assert.deepEqual(body.args, [1, { $binary: "AQ==" }]);
      assert.deepEqual(own.map(({ body }) => body.ack ?? false), own.map(({ event }) => event === "last"));
    }
    assert.equal(new Set(entries.map(({ id }) => id)).size, entries.length);
    assert.equal((await metric(nodes[0], "gateway_stream_written_total")) + (await metric(nodes[1], "gateway_stream_written_total")), entries.length);
  });

  it("what was taken while Redis was killed is there when it is back", async (test) => {
    const clients = await Promise.all(nodes.map((node) => Client.open(node, "websocket")));
    const answers = [];
    let number = 0;
    const say = (times) => {
      for (let i = 0; i < times; i += 1, number += 1) for (const { socket, id } of clients) {
        const asked = { id, number };
        answers.push(new Promise((resolve) => socket.emit("say", number, (answer) => resolve({ ...asked, answer }))));
      }
    };
    say(200);
    await until("some are there", async () => Number(await redis.command("XLEN", KEY)) > 530);
    await redis.kill();
    say(200);
    await until("they wait", async () => (await metric(nodes[0], "gateway_stream_waiting")) > 0);
    const answered = await Promise.all(answers);
    await redis.restart();
    say(10);
    await until("nothing waits", async () => (await Promise.all(nodes.map((node) => metric(node, "gateway_stream_waiting")))).every((waiting) => waiting === 0));
    answered.push(...(await Promise.all(answers.slice(answered.length))));
    const entries = await consume(redis.url);
    const kept = distinct(entries);
    const codes = answered.map(({ answer }) => (answer.ok ? "ok" : answer.error.code));
    const count = (code) => codes.filter((other) => other === code).length;
    test.diagnostic(`${count("ok")} ok, ${count("backend_timeout")} not yet; ${entries.length - kept.length} entries twice`);
    assert.ok(count("ok") > 0 && count("backend_timeout") > 0);
    assert.equal(count("ok") + count("backend_timeout"), codes.length);
    for (const { id } of clients) assert.deepEqual(numbers(of(kept, id)), Array.from({ length: number }, (_, i) => i), "all, in order");
    clients.forEach((client) => client.close());
  });

  it("more than may wait is refused, and says so", async () => {
    const client = await Client.open(nodes[0], "websocket");
    redis.freeze();
    const before = nodes[0].residentBytes();
    const large = "x".repeat(900_000);
    const answers = [];
    for (let number = 0; number < 60; number += 1) answers.push(client.call("large", number, large));
    const codes = (await Promise.all(answers)).map(({ error }) => error.code);
    assert.equal(codes[0], "backend_timeout");
    assert.equal(codes.at(-1), "backend_overloaded");
    assert.ok((await metric(nodes[0], "gateway_stream_waiting_bytes")) < 36_000_000);
    assert.ok((await metric(nodes[0], "gateway_stream_refused_total")) >= 10);
    const refused = await metric(nodes[0], "gateway_stream_refused_total");
    await assert.rejects(Client.open(nodes[0], "websocket"), ({ data }) => data?.code === "backend_overloaded");
    assert.equal(await metric(nodes[0], "gateway_stream_refused_total"), refused + 1);
    assert.ok(nodes[0].residentBytes() - before < 200_000_000);
    redis.thaw();
    await until("nothing waits", async () => (await metric(nodes[0], "gateway_stream_waiting")) === 0);
    assert.deepEqual(await client.call("small"), { ok: true });
    client.close();
  });

  it("a node that stops writes its last entries", async () => {
    await consume(redis.url);
    const node = await relay("c", { "redis.url": redis.url, "backend.stream": KEY, "shutdown.drain": "0" });
    const clients = await Promise.all(Array.from({ length: 20 }, () => Client.open(node, "websocket")));
    for (const client of clients) client.socket.emit("bye", 1);
    for (const client of clients) await client.call("bye", 2);
    const ids = clients.map(({ id }) => id);
    assert.deepEqual(await node.terminate({ within: 30_000 }), { code: 0, signal: null });
    const entries = await consume(redis.url);
    for (const id of ids) assert.deepEqual(of(entries, id).map(({ type }) => type), ["connect", "event", "event", "disconnect"]);
    await node.stop();
  });
});

it("beside a webhook the stream gets what the backend gets", async () => {
  const calls = [];
  const backend = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const call = JSON.parse(Buffer.concat(chunks));
    calls.push(call);
    response.end(JSON.stringify(call.type === "event" ? { ack: ["from the backend"] } : {}));
  });
  backend.listen(0, "127.0.0.1");
  await once(backend, "listening");
  const redis = await Redis.start();
  const node = await relay("a", {
    "redis.url": redis.url,
    "backend.stream": KEY,
    "backend.url": `http://127.0.0.1:${backend.address().port}/`,
    "backend.secret": SECRET,
    "backend.routes": "/ join relay,/ secret nowhere",
  });
  const client = await Client.open(node, "websocket");
  assert.equal(await client.call("say", 1), "from the backend");
  assert.deepEqual(await client.call("join", "room"), { ok: true });
  assert.equal((await client.call("secret")).error.code, "unknown_event");
  client.close();
  await until("the backend knows that it left", () => calls.at(-1).type === "disconnect");
  await until("the stream, too", async () => (await redis.command("XLEN", KEY)) === "3");
  const entries = await consume(redis.url);
  assert.deepEqual(entries.map(({ type }) => type), ["connect", "event", "disconnect"]);
  assert.deepEqual(calls.map(({ type }) => type), ["connect", "event", "disconnect"]);
  for (const index of [1, 2]) assert.deepEqual(entries[index].body, calls[index]);
  await node.stop();
  backend.close();
  await redis.stop();
});

it("a Redis that takes its time gets each entry once", async (test) => {
  const redis = await Redis.start();
  test.after(() => redis.stop());
  // Longer than clients of Redis wait by themselves, and less than the gateway says that it waits.
  const slow = await Proxy.start(redis.port, { answersLate: { command: "XADD", milliseconds: 800 } });
  test.after(() => slow.stop());
  const node = await relay("a", { "redis.url": slow.redisUrl, "backend.stream": KEY, "backend.timeout": "30s" });
  test.after(() => node.stop());
  const client = await Client.open(node, "websocket");
  test.after(() => client.close());
  for (let number = 0; number < 3; number += 1) assert.deepEqual(await client.call("say", number), { ok: true });
  const entries = await consume(redis.url);
  assert.deepEqual(entries.map(({ type }) => type), ["connect", "event", "event", "event"]);
  assert.equal(await metric(node, "gateway_stream_retries_total"), 0);
});

it("a Redis Cluster takes entries", async () => {
  const redis = await RedisCluster.start();
  const node = await relay("a", { "redis.url": redis.url, "backend.stream": KEY });
  const client = await Client.open(node, "websocket");
  for (let number = 0; number < 300; number += 1) client.socket.emit("say", number);
  assert.deepEqual(await client.call("say", 300), { ok: true });
  client.close();
  await until("all are there", async () => (await metric(node, "gateway_stream_written_total")) === 303);
  await node.stop();
  await redis.stop();
});
