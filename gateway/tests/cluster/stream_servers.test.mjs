// backend.stream on a Redis that speaks TLS, and on one that sentinels watch and replace.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, it } from "node:test";
import { Client } from "./lib/clients.mjs";
import { joined, metric, relay } from "./lib/gateways.mjs";
import { Keys } from "./lib/keys.mjs";
import { Redis, Sentinels } from "../../../testkit/js/redis.mjs";
import { consume, distinct, KEY, numbers, of } from "./lib/stream.mjs";
import { until } from "../../../testkit/js/wait.mjs";

const DURABLE = ["--appendonly", "yes", "--appendfsync", "always"];
const keys = new Keys();
after(() => keys.remove());

/** One who emits numbered events and keeps what became of each. */
class Speaker {
  static async open(node) {
    return new Speaker(node, await Client.open(node, "websocket"));
  }

  constructor(node, client) {
    this.node = node;
    this.client = client;
    this.id = client.id;
    /** "ok", a code, or nothing yet, by the event's number. */
    this.answers = [];
  }

  say(times, ...more) {
    for (let i = 0; i < times; i += 1) {
      const number = this.answers.push(undefined) - 1;
      this.client.socket.emit("say", number, ...more, (answer) => {
        this.answers[number] = answer.ok ? "ok" : answer.error.code;
      });
    }
  }

  answered() {
    return until("every event has an answer", () => !this.answers.includes(undefined));
  }

  /** Says more until Redis has confirmed one in time. */
  confirmed() {
    return until("an event is confirmed", async () => {
      this.say(1);
      await this.answered();
      return this.answers.at(-1) === "ok";
    }, 90_000);
  }
}

async function sum(nodes, series) {
  const values = await Promise.all(nodes.map((node) => metric(node, series)));
  return values.reduce((all, value) => all + value, 0);
}

function nothingWaits(nodes) {
  return until("nothing waits", async () => (await sum(nodes, "gateway_stream_waiting")) === 0);
}

function nodesOf(test, url, authority) {
  const settings = { "redis.url": url, "backend.stream": KEY, "backend.timeout": "1s" };
  const env = authority ? { SSL_CERT_FILE: authority } : {};
  return Promise.all(["a", "b"].map(async (id) => {
    const node = await relay(id, settings, env);
    test.after(() => node.stop());
    return node;
  }));
}

it("over TLS entries arrive in order, also after Redis was killed, and a server that cannot be trusted gets none", async (test) => {
  const redis = await Redis.start(DURABLE, keys);
  test.after(() => redis.stop());
  const nodes = await nodesOf(test, redis.url, keys.authority);
  for (const node of nodes) await joined(node, 2);
  const speakers = await Promise.all([...nodes, ...nodes].map((node) => Speaker.open(node)));
  for (const speaker of speakers) speaker.say(100);
  await nothingWaits(nodes);
  await redis.kill();
  for (const speaker of speakers) speaker.say(100);
  for (const speaker of speakers) await speaker.answered();
  for (const { answers } of speakers) assert.deepEqual(new Set(answers.slice(100)), new Set(["backend_timeout"]));

  await redis.restart();
  for (const speaker of speakers) await speaker.confirmed();
  const stranger = await relay("c", { "redis.url": redis.url, "backend.stream": KEY, "backend.timeout": "1s" }, { SSL_CERT_FILE: keys.other });
  test.after(() => stranger.stop());
  const client = await Client.open(stranger, "websocket");
  assert.equal((await client.call("say", 0)).error.code, "backend_timeout");
  await until("it tries again", async () => (await metric(stranger, "gateway_stream_retries_total")) > 1);
  assert.deepEqual([await metric(stranger, "gateway_stream_waiting"), await metric(stranger, "gateway_stream_written_total")], [2, 0]);

  const kept = distinct(await consume(redis.url, { ca: readFileSync(keys.authority) }));
  for (const { id, answers } of speakers) assert.deepEqual(numbers(of(kept, id)), [...answers.keys()]);
  assert.deepEqual(of(kept, client.id), []);
});

for (const [name, given] of [["sentinels", undefined], ["sentinels and TLS", keys]]) {
  it(`${name}: what was taken without a master is written to the next one, and what was not says so`, async (test) => {
    const servers = await Sentinels.start(given);
    test.after(() => servers.stop());
    const nodes = await nodesOf(test, servers.url, given?.authority);
    for (const node of nodes) await joined(node, 2);
    const speakers = await Promise.all(nodes.map((node) => Speaker.open(node)));
    const length = async (server) => Number(await server.command("XLEN", KEY));
    for (const speaker of speakers) speaker.say(100);
    await until("the replica has them", async () => (await length(servers.replica)) === 2 * 101);

    for (const speaker of speakers) speaker.say(500);
    await until("more are there", async () => (await length(servers.master)) > 2 * 101);
    await servers.lose();
    for (const speaker of speakers) speaker.say(100);
    for (const speaker of speakers) await speaker.answered();
    for (const { answers } of speakers) assert.deepEqual(new Set(answers.slice(600)), new Set(["backend_timeout"]));
    assert.equal(await sum(nodes, "gateway_stream_refused_total"), 0);
    const [full] = speakers;
    full.say(60, "x".repeat(900_000));
    await full.answered();
    const refused = full.answers.filter((answer) => answer === "backend_overloaded").length;
    assert.equal(full.answers.at(-1), "backend_overloaded");
    await assert.rejects(Client.open(full.node, "websocket"), ({ data }) => data?.code === "backend_overloaded");
    assert.equal(await metric(full.node, "gateway_stream_refused_total"), refused + 1);
    for (const node of nodes) assert.ok((await metric(node, "gateway_stream_retries_total")) > 0);
    // Redis confirms before it replicates: of these, a connect and events, the last may be gone with the master.
    const confirmed = await Promise.all(nodes.map(async (node) => (await metric(node, "gateway_stream_written_total")) - 1));

    await servers.replace();
    for (const speaker of speakers) await speaker.confirmed();
    for (const node of nodes) await joined(node, 2);
    await nothingWaits(nodes);

    const entries = await consume(servers.replica.url, given ? { ca: readFileSync(given.authority) } : {});
    const kept = distinct(entries);
    let [taken, lost] = [0, 0];
    for (const [index, { id, answers }] of speakers.entries()) {
      const wanted = [...answers.keys()].filter((number) => answers[number] !== "backend_overloaded");
      const written = numbers(of(kept, id));
      const isThere = new Set(written);
      const mayBeGone = (number) => number >= 100 && number < confirmed[index] && !isThere.has(number);
      assert.deepEqual(written, wanted.filter((number) => !mayBeGone(number)), "all, in order");
      taken += wanted.length;
      lost += wanted.length - written.length;
    }
    test.diagnostic(`${taken} taken, ${refused} refused, ${entries.length - kept.length} twice, ${lost} gone with the master; ${confirmed} were confirmed`);
    assert.equal(await sum(nodes, "gateway_stream_written_total"), taken + speakers.length);
    for (const { client } of speakers) client.close();
  });
}
