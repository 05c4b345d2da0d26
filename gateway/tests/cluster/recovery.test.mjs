// Clients that come back to any node, whoever died meanwhile: nothing that was acknowledged is missing, twice or out of order.
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { io } from "socket.io-client";
import { Crowd, RoundRobin } from "./lib/crowd.mjs";
import { joined, metric, relay } from "./lib/gateways.mjs";
import { NodeServer } from "./lib/node_server.mjs";
import { Redis } from "../../../testkit/js/redis.mjs";
import { until } from "../../../testkit/js/wait.mjs";

const NAMES = ["a", "b", "c"];
const ROOMS = ["red", "green", "blue"];
const MEMBERS = 8;
const SETTINGS = { "recovery.window": "60s", "engine.ping_interval": "1s", "engine.ping_timeout": "1500ms" };

/** Three nodes of one Redis behind one address, and a crowd that publishes. */
class Fleet {
  static async start(redis, settings = {}) {
    const fleet = new Fleet(redis, { ...SETTINGS, "redis.url": redis.url, ...settings });
    fleet.nodes = await Promise.all(NAMES.map((name) => relay(name, fleet.settings)));
    await Promise.all(fleet.nodes.map((node) => joined(node, NAMES.length)));
    fleet.balancer = await RoundRobin.start(fleet.nodes);
    return fleet;
  }

  constructor(redis, settings) {
    this.redis = redis;
    this.settings = settings;
  }

  async crowd() {
    const crowd = new Crowd(this.balancer.url);
    await crowd.join(ROOMS, MEMBERS);
    await crowd.publish(ROOMS, 10);
    await delay(300);
    return crowd;
  }

  /** Starts a node in the place of another one. */
  async replace(index) {
    this.nodes[index] = await relay(NAMES[index], this.settings);
    this.balancer.nodes[index] = this.nodes[index];
    await joined(this.nodes[index], NAMES.length);
  }

  async stop() {
    this.balancer?.stop();
    await Promise.all(this.nodes.map((node) => node.stop()));
  }
}

function whole(test, crowd, faults) {
  test.diagnostic(`${crowd.published} events acknowledged; ${crowd.recovered} recovered, ${crowd.notRecovered} not`);
  assert.deepEqual(faults, []);
  assert.ok(crowd.published > 50, `${crowd.published} events`);
}

describe("three nodes and one Redis", () => {
  let redis;
  let fleet;
  before(async () => {
    redis = await Redis.start();
    fleet = await Fleet.start(redis);
  });
  after(async () => {
    await fleet?.stop();
    await redis?.stop();
  });

  it("whoever is cut off comes back to another node with everything, again and again", async (test) => {
    const crowd = await fleet.crowd();
    for (let round = 0; round < 5; round += 1) {
      crowd.cut();
      await delay(700);
      await crowd.everybody();
    }
    whole(test, crowd, await crowd.stop());
    assert.equal(crowd.notRecovered, 0);
    assert.ok(crowd.recovered >= 4 * crowd.members.length);
  });

  it("connections that nobody closes are taken over", async (test) => {
    const crowd = await fleet.crowd();
    fleet.balancer.silence();
    await delay(4_000);
    whole(test, crowd, await crowd.stop());
    assert.equal(crowd.notRecovered, 0);
  });

  it("a rolling restart loses nobody and nothing", async (test) => {
    const crowd = await fleet.crowd();
    for (const index of NAMES.keys()) {
      await fleet.nodes[index].stop();
      await fleet.replace(index);
      await delay(300);
    }
    whole(test, crowd, await crowd.stop());
    assert.equal(crowd.notRecovered, 0);
  });

  it("what a client sends until it sees the close of a drained node arrives, acknowledged or not", async (test) => {
    const listener = io(fleet.nodes[1].url, { transports: ["websocket"], forceNew: true });
    const heard = new Map();
    listener.on("n", (client, number) => heard.set(client, [...(heard.get(client) ?? []), number]));
    await once(listener, "connect");
    await listener.emitWithAck("join", "listened");
    const clients = Array.from({ length: 10 }, () => io(fleet.nodes[0].url, { transports: ["websocket"], forceNew: true, reconnection: false }));
    await Promise.all(clients.map((client) => once(client, "connect")));
    const sent = clients.map(() => 0);
    // From the close frame on the library drops what it is given, and says that it is connected until the connection is gone.
    const hasSeenTheClose = (client) => !client.connected || client.io.engine.transport.ws.readyState !== 1;
    const sending = setInterval(() => {
      clients.forEach((client, index) => {
        if (!hasSeenTheClose(client)) client.emit("publish", "listened", "n", index, sent[index]++);
      });
    }, 2);
    await delay(300);
    await fleet.nodes[0].stop();
    clearInterval(sending);
    await fleet.replace(0);
    const total = sent.reduce((sum, count) => sum + count, 0);
    const arrived = () => [...heard.values()].reduce((sum, numbers) => sum + numbers.length, 0);
    await until("everything", () => arrived() >= total, 10_000).catch(() => {});
    test.diagnostic(`${total} events sent without an acknowledgement, ${arrived()} arrived`);
    for (const [index, count] of sent.entries()) assert.deepEqual(heard.get(index), Array.from({ length: count }, (_, number) => number));
    for (const client of [listener, ...clients]) client.disconnect();
  });

  it("nodes that are killed lose nobody and nothing", async (test) => {
    const crowd = await fleet.crowd();
    for (const index of NAMES.keys()) {
      await delay(100 * index);
      await fleet.nodes[index].kill();
      await delay(500);
      await fleet.replace(index);
    }
    whole(test, crowd, await crowd.stop());
    assert.equal(crowd.notRecovered, 0);
  });

  it("connected clients see nothing of a subscriber that is cut, or of a node that stands still", async (test) => {
    const crowd = await fleet.crowd();
    for (let round = 0; round < 3; round += 1) {
      await redis.command("CLIENT", "KILL", "TYPE", "pubsub");
      await delay(700);
    }
    await redis.command("CLIENT", "KILL", "TYPE", "normal");
    await delay(700);
    fleet.nodes[1].freeze();
    await delay(900);
    fleet.nodes[1].thaw();
    await delay(1_000);
    whole(test, crowd, await crowd.stop());
    assert.equal(crowd.notRecovered, 0);
    const filled = await Promise.all(fleet.nodes.map((node) => metric(node, "gateway_recovery_filled_events_total")));
    assert.ok(filled.some((it) => it > 0), `${filled}`);
  });

  it("every node comes to tell how much is in the logs", async () => {
    const sizes = () => Promise.all(fleet.nodes.map((node) => Promise.all(["logs", "log_entries", "log_bytes"].map((it) => metric(node, `gateway_recovery_${it}`)))));
    const publisher = io(fleet.balancer.url, { transports: ["websocket"], forceNew: true });
    await until("connected", () => publisher.connected);
    // All know of what was before once they agree on it twice.
    const settled = async () => {
      let last = "";
      await until("all tell the same", async () => {
        const now = (await sizes()).map((it) => it.join(" "));
        const isSame = new Set(now).size === 1 && now[0] === last;
        if (!isSame) await delay(1_500);
        last = now[0];
        return isSame;
      });
      return last.split(" ").map(Number);
    };
    const before = await settled();
    for (let number = 0; number < 40; number++) await publisher.emitWithAck("publish", `counted-${number % 10}`, "n", number);
    publisher.disconnect();
    const added = async () => (await sizes()).map((it) => it.map((size, index) => size - before[index]));
    await until("all count what was added", async () => (await added()).every(([logs, entries]) => logs === 10 && entries === 40));
    for (const [, , bytes] of await added()) assert.ok(bytes > 40 * 100, `${bytes}`);
  });

  it("Node servers hear what is published, and what they publish arrives live", async () => {
    const node = await NodeServer.start(redis.url);
    const here = io(fleet.balancer.url, { transports: ["websocket"], forceNew: true });
    const there = io(node.url, { transports: ["websocket"], forceNew: true });
    try {
      const got = { here: [], there: [] };
      here.onAny((...event) => got.here.push(event));
      there.onAny((...event) => got.there.push(event));
      await until("connected", () => here.connected && there.connected);
      await here.emitWithAck("join", "mixed");
      await there.emitWithAck("enter", ["mixed"]);
      const publisher = io(fleet.balancer.url, { transports: ["websocket"], forceNew: true });
      await until("connected", () => publisher.connected);
      await publisher.emitWithAck("publish", "mixed", "ours", 1, Buffer.from("x"));
      await until("ours", () => got.here.length === 1 && got.there.length === 1);
      assert.deepEqual(got.there, got.here);
      const [, , , offset] = got.here[0];
      assert.match(offset, /^[\w-]{8}\.\d{16}$/);
      node.io.to("mixed").emit("theirs", 2);
      await until("theirs", () => got.here.length === 2 && got.there.length === 2);
      assert.deepEqual(got.there[1], ["theirs", 2]);
      assert.deepEqual(got.here[1].slice(0, 2), ["theirs", 2]);
      assert.ok(got.here[1][2] >= offset);
      publisher.disconnect();
    } finally {
      here.disconnect();
      there.disconnect();
      await node.stop();
    }
  });
});

describe("Redis dies", () => {
  it("empty again, everybody is told that it begins anew", async (test) => {
    const redis = await Redis.start();
    const fleet = await Fleet.start(redis);
    try {
      const crowd = await fleet.crowd();
      await redis.kill();
      await delay(1_000);
      await redis.restart();
      await delay(3_000);
      const published = crowd.published;
      await until("publishing goes on", () => crowd.published > published + 10, 30_000);
      whole(test, crowd, await crowd.stop());
      // A client may come to a node that has not noticed yet, and is told once more.
      assert.ok(crowd.members.every(({ lives }) => lives.length > 1));
    } finally {
      await fleet.stop();
      await redis.stop();
    }
  });

  // Longer than a client waits for the store: 15 s.
  it("with everything kept, nobody loses anything, although it is away for long", async (test) => {
    const redis = await Redis.start(["--appendonly", "yes", "--appendfsync", "always"]);
    const fleet = await Fleet.start(redis);
    try {
      const crowd = await fleet.crowd();
      await redis.kill();
      crowd.cut();
      await delay(17_000);
      await redis.restart();
      await delay(3_000);
      crowd.cut();
      const published = crowd.published;
      await until("publishing goes on", () => crowd.published > published + 10, 30_000);
      whole(test, crowd, await crowd.stop());
      assert.equal(crowd.notRecovered, 0);
    } finally {
      await fleet.stop();
      await redis.stop();
    }
  });
});
