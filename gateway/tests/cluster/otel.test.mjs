// Traces over Redis, as OpenTelemetry's own library reads them: from a client's handshake to the delivery on other nodes.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { after, before, describe, it } from "node:test";
import { Client } from "./lib/clients.mjs";
import { Collector } from "./lib/collector.mjs";
import { joined, relay } from "./lib/gateways.mjs";
import { consume } from "./lib/stream.mjs";
import { NodeServer } from "./lib/node_server.mjs";
import { Redis } from "../../../testkit/js/redis.mjs";

const NAMES = ["a", "b", "c"];
const KEY = "a key for the tests of traces";
const SECRET = "a secret of the backend";

/** What a program with a tracer sends. */
function context() {
  const [trace, span] = [randomBytes(16).toString("hex"), randomBytes(8).toString("hex")];
  return { trace, span, traceparent: `00-${trace}-${span}-01` };
}

/** The only span of a name, of a node if one is named. */
function one(spans, name, node) {
  const found = spans.filter((span) => span.name === name && (!node || span.resource["service.instance.id"] === node));
  assert.equal(found.length, 1, `${name} of ${node}: ${JSON.stringify(found)}`);
  return found[0];
}

/** Each span begins after its parent did, whose clock is the same here. */
function followsItsParent(spans) {
  const byId = new Map(spans.map((span) => [span.id, span]));
  for (const span of spans) {
    const parent = byId.get(span.parent);
    assert.ok(span.end >= span.start);
    // What began when it was found out is a little off.
    if (parent) assert.ok(span.start + 5_000_000 >= parent.start, `${span.name} before ${parent.name}`);
  }
}

for (const { mode, recovery } of [{ mode: "pubsub" }, { mode: "sharded" }, { mode: "pubsub", recovery: true }]) {
  describe(`${mode}${recovery ? " with recovery" : ""}`, () => {
    let redis;
    let collector;
    let backend;
    let nodes;
    let node;
    const clients = [];
    const calls = [];

    before(async () => {
      redis = await Redis.start();
      collector = await Collector.start();
      backend = createServer(async (request, response) => {
        const parts = [];
        for await (const part of request) parts.push(part);
        const call = JSON.parse(Buffer.concat(parts));
        calls.push({ headers: request.headers, call });
        const emit = { rooms: ["news"], event: "said", args: call.args };
        const answers = { connect: { actions: [{ join: ["news"] }] }, event: { ack: ["ok"], actions: [{ emit }] } };
        response.end(JSON.stringify(answers[call.type] ?? {}));
      });
      await new Promise((resolve) => backend.listen(0, "127.0.0.1", resolve));
      const settings = {
        "redis.url": redis.url,
        "redis.mode": mode,
        "api.key": KEY,
        "backend.url": `http://127.0.0.1:${backend.address().port}/`,
        "backend.secret": SECRET,
        "backend.stream": "events",
        "otel.endpoint": collector.url,
        "otel.sample": "0",
        "otel.trust_parent": "true",
        ...(recovery ? { "recovery.window": "1m" } : {}),
      };
      nodes = await Promise.all(NAMES.map((name) => relay(name, settings)));
      await Promise.all(nodes.map((it) => joined(it, NAMES.length)));
      node = await NodeServer.start(redis.url, { mode: mode === "sharded" ? "sharded" : "classic" });
    });
    after(async () => {
      clients.forEach((client) => client.close());
      await node?.stop();
      await Promise.all((nodes ?? []).map((it) => it.stop()));
      backend?.close();
      await collector?.stop();
      await redis?.stop();
    });

    async function open(server, options = {}) {
      const client = await Client.open(server, "websocket", options);
      clients.push(client);
      return client;
    }

    it("one trace goes from a client's handshake through the webhook to the delivery on every node", async () => {
      const [a, b, c] = nodes;
      const far = [await open(b), await open(c)];
      const beside = await open(node);
      await beside.join("news");
      const { trace, span, traceparent } = context();
      const ann = await open(a, { extraHeaders: { traceparent, tracestate: "one=1" } });
      assert.equal(await ann.call("say", "hi"), "ok");
      for (const client of [ann, beside, ...far]) assert.deepEqual((await client.next()).slice(0, 2), ["said", "hi"]);

      await collector.has(trace, "deliver", NAMES.length);
      const spans = collector.of(trace);
      const connect = one(spans, "connect", "a");
      const event = one(spans, "event", "a");
      const webhook = one(spans, "webhook event", "a");
      const publish = one(spans, "publish", "a");
      assert.equal(connect.parent, span);
      assert.equal(one(spans, "webhook connect", "a").parent, connect.id);
      assert.equal(event.parent, connect.id);
      assert.equal(webhook.parent, event.id);
      assert.equal(publish.parent, webhook.id);
      for (const name of NAMES) {
        const deliver = one(spans, "deliver", name);
        assert.equal(deliver.parent, publish.id);
        assert.equal(deliver.attributes["gateway.recipients"], 1);
      }
      const kinds = [connect, event, webhook, publish].map(({ kind }) => kind);
      assert.deepEqual(kinds, ["SPAN_KIND_SERVER", "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT", "SPAN_KIND_PRODUCER"]);
      assert.ok(spans.every((it) => it.sampled && it.scope === "gateway" && it.resource["service.name"] === "gateway"));
      assert.equal(spans.length, 6 + NAMES.length - 1);
      followsItsParent(spans);

      const called = calls.filter(({ headers }) => headers.traceparent.includes(trace));
      assert.deepEqual(called.map(({ headers }) => headers.traceparent.split("-")[2]), [one(spans, "webhook connect").id, webhook.id]);
      assert.ok(called.every(({ headers }) => headers.tracestate === "one=1"));
      const entries = await consume(redis.url);
      const carried = entries.filter((entry) => entry.traceparent?.includes(trace));
      assert.deepEqual(carried.map(({ type }) => type), recovery ? ["event"] : ["connect", "event"]);
      assert.equal(carried.at(-1).traceparent, `00-${trace}-${event.id}-01`);
      assert.equal(carried.at(-1).body.args[0], "hi");
      // Whoever told nothing is in no trace that is sampled.
      assert.ok(collector.spans().every((it) => it.trace === trace));
    });

    it("a call of the API is a part of its caller's trace, on every node", async () => {
      const [a] = nodes;
      const { trace, span, traceparent } = context();
      const headers = { authorization: `Bearer ${KEY}`, traceparent, "content-type": "application/json" };
      const body = JSON.stringify({ rooms: ["news"], event: "told", args: [1] });
      const answer = await fetch(`http://127.0.0.1:${a.internalPort}/api/v1/emit`, { method: "POST", headers, body });
      assert.equal(answer.status, 200);
      for (const client of clients) assert.deepEqual((await client.next()).slice(0, 2), ["told", 1]);
      await collector.has(trace, "deliver", NAMES.length);
      const spans = collector.of(trace);
      const call = one(spans, "POST /api/v1/emit", "a");
      assert.equal(call.parent, span);
      const publish = one(spans, "publish", "a");
      assert.equal(publish.parent, call.id);
      for (const name of NAMES) assert.equal(one(spans, "deliver", name).parent, publish.id);
      followsItsParent(spans);
    });
  });
}
