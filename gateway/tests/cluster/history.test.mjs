// The past of a room, kept by Redis, for whoever joins on any node while others publish on any node.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { io } from "socket.io-client";
import { request } from "../clients/lib/http.mjs";
import { joined, metric, relay } from "./lib/gateways.mjs";
import { Redis } from "../../../testkit/js/redis.mjs";
import { until } from "../../../testkit/js/wait.mjs";

const NAMES = ["a", "b", "c"];
const KEY = "a key for the tests of history";
const PUBLISHERS = 3;

describe("three nodes and one Redis", () => {
  let redis;
  let nodes;
  const sockets = [];
  const published = Array(PUBLISHERS).fill(0);
  let over = false;
  let publishing;

  before(async () => {
    redis = await Redis.start();
    const settings = { "redis.url": redis.url, "recovery.window": "60s", "api.key": KEY };
    nodes = await Promise.all(NAMES.map((name) => relay(name, settings)));
    await Promise.all(nodes.map((node) => joined(node, NAMES.length)));
  });
  after(async () => {
    over = true;
    await publishing;
    sockets.forEach((socket) => socket.disconnect());
    await Promise.all((nodes ?? []).map((node) => node.stop()));
    await redis?.stop();
  });

  async function client(node) {
    const socket = io(node.url, { transports: ["websocket"], forceNew: true });
    sockets.push(socket);
    socket.got = Array.from({ length: PUBLISHERS }, () => []);
    socket.on("n", (publisher, number) => socket.got[publisher].push(number));
    await until("connected", () => socket.connected);
    return socket;
  }

  /** Each publisher counts for itself, so that its events have one right order. */
  async function publish(socket, publisher) {
    while (!over) {
      const answer = await socket.emitWithAck("publish", "stream", "n", publisher, published[publisher]);
      assert.deepEqual(answer, { ok: true });
      published[publisher] += 1;
    }
  }

  function check(socket, what) {
    for (const [publisher, numbers] of socket.got.entries()) {
      const [first] = numbers;
      assert.deepEqual(
        numbers,
        numbers.map((_, index) => first + index),
        `${what}: publisher ${publisher}`,
      );
    }
  }

  const count = (socket) => socket.got.reduce((sum, numbers) => sum + numbers.length, 0);

  it("has no hole and nothing twice, also when subscriptions break meanwhile", async (test) => {
    const publishers = await Promise.all(Array.from({ length: PUBLISHERS }, (_, index) => client(nodes[index])));
    publishing = Promise.all(publishers.map(publish));
    await until("some events", () => published.every((it) => it > 30));
    let broken = 0;
    for (let round = 0; round < 30; round += 1) {
      const joining = await Promise.all(nodes.map(client));
      const answers = joining.map(async (socket) => {
        const answer = await socket.emitWithAck("join", "stream", { rewind: 40 });
        return [answer, count(socket)];
      });
      if (round % 5 === 4) {
        broken += 1;
        await redis.command("CLIENT", "KILL", "TYPE", round % 2 === 0 ? "pubsub" : "normal");
      }
      for (const [answer, before] of await Promise.all(answers)) {
        assert.deepEqual([answer.ok, answer.complete], [true, true], JSON.stringify(answer));
        assert.ok(before >= 40, `${before} before the acknowledgement`);
      }
      const known = [...published];
      const isThere = (socket) => socket.got.every((numbers, index) => numbers.at(-1) > known[index]);
      await until("live events", () => joining.every(isThere), 20_000);
      for (const socket of joining) {
        check(socket, `round ${round}`);
        socket.disconnect();
      }
    }
    const read = await Promise.all(nodes.map((node) => metric(node, "gateway_recovery_history_events_total")));
    test.diagnostic(`${published} events, ${read} read; ${broken} times connections broke`);
    assert.ok(read.every((it) => it >= 30 * 40));
  });

  it("is the same for the API of every node, and for who goes on behind an offset", async () => {
    over = true;
    await publishing;
    const headers = { authorization: `Bearer ${KEY}` };
    const pages = await Promise.all(
      nodes.map(async (node) => {
        const answer = await request(node.internalPort, "/api/v1/history?room=stream&limit=50", { headers });
        assert.equal(answer.status, 200, answer.text);
        return JSON.parse(answer.text);
      }),
    );
    assert.equal(pages[0].events.length, 50);
    for (const page of pages) assert.deepEqual(page, pages[0]);
    assert.equal(pages[0].newest, pages[0].events.at(-1).offset);
    const socket = await client(nodes[1]);
    const answer = await socket.emitWithAck("join", "stream", { after: pages[0].events[9].offset });
    assert.equal(answer.complete, true);
    assert.equal(count(socket), 40);
    check(socket, "behind an offset");
    await delay(100);
    assert.equal(count(socket), 40);
  });
});
