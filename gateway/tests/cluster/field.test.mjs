// Redis as it behaves in the field: busy, slow, demoted, full, and nodes that stand still. Every message is accounted for.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Client } from "./lib/clients.mjs";
import { Receiver, Sender } from "./lib/count.mjs";
import { isReady, joined, metric, readiness, relay } from "./lib/gateways.mjs";
import { Keys } from "./lib/keys.mjs";
import { Proxy } from "../../../testkit/js/proxy.mjs";
import { Redis } from "../../../testkit/js/redis.mjs";
import { consume, distinct, KEY, numbers, of } from "./lib/stream.mjs";
import { until } from "../../../testkit/js/wait.mjs";

/** What a test has started, in order; it is stopped the other way round. */
class Started {
  #things = [];

  add(thing) {
    this.#things.push(thing);
    return thing;
  }

  async redis(...args) {
    return this.add(await Redis.start(...args));
  }

  async proxy(...args) {
    return this.add(await Proxy.start(...args));
  }

  async node(id, url, settings = {}) {
    return this.add(await relay(id, { "redis.url": url, ...settings }));
  }

  async nodes(ids, url, settings) {
    const nodes = await Promise.all(ids.map((id) => this.node(id, url, settings)));
    for (const node of nodes) await joined(node, nodes.length);
    return nodes;
  }

  async client(node, transport = "websocket") {
    const client = await Client.open(node, transport);
    this.add({ stop: () => client.close() });
    return client;
  }

  async receiver(node, ...rooms) {
    return Receiver.join(await this.client(node), ...rooms);
  }

  async sender(node, room, options) {
    return Sender.start(await this.client(node), room, options);
  }

  async stop() {
    for (const thing of this.#things.reverse()) await thing.stop();
  }
}

const FLOWING = 50;

function flowing(receiver, room, more = FLOWING) {
  const before = receiver.of(room).length;
  return until("messages arrive", () => receiver.of(room).length >= before + more);
}

describe("a process stands still", () => {
  const started = new Started();
  let redis;
  let a;
  let b;
  before(async () => {
    redis = await started.redis();
    [a, b] = await started.nodes(["a", "b"], redis.url);
  });
  after(() => started.stop());

  for (const ms of [4_500, 10_000]) {
    it(`a node for ${ms} ms: it hears everything when it goes on`, async (test) => {
      const [receiver, sender] = [await started.receiver(b, `node ${ms}`), await started.sender(a, `node ${ms}`)];
      await flowing(receiver, sender.room);
      const gaps = await metric(b, "gateway_adapter_gaps_total");
      b.freeze();
      await delay(ms);
      b.thaw();
      const { lost } = await sender.account(test, `node frozen for ${ms} ms`, receiver);
      assert.deepEqual(lost, [0]);
      assert.equal(await metric(b, "gateway_adapter_gaps_total"), gaps);
    });
  }

  it("a node that publishes: nothing that it took is lost", async (test) => {
    const [receiver, sender] = [await started.receiver(b, "frozen sender"), await started.sender(a, "frozen sender")];
    await flowing(receiver, sender.room);
    a.freeze();
    await delay(8_000);
    a.thaw();
    const { lost } = await sender.account(test, "publishing node frozen for 8 s", receiver);
    assert.deepEqual(lost, [0]);
  });

  for (const ms of [4_000, 9_000]) {
    it(`Redis for ${ms} ms: what is missing was counted`, async (test) => {
      const [receiver, sender] = [await started.receiver(b, `redis ${ms}`), await started.sender(a, `redis ${ms}`)];
      await flowing(receiver, sender.room);
      redis.freeze();
      await delay(ms);
      redis.thaw();
      for (const node of [a, b]) await joined(node, 2);
      const { lost: [lost], dropped, refused, unconfirmed } = await sender.account(test, `Redis frozen for ${ms} ms`, receiver);
      assert.deepEqual([dropped, refused], [0, 0]);
      assert.ok(lost <= unconfirmed, `${lost} of ${unconfirmed}`);
    });
  }
});

describe("a link of 400 kB/s both ways", () => {
  const started = new Started();
  after(() => started.stop());

  it("is slow and loses nothing, and no watchdog bites", async (test) => {
    const redis = await started.redis();
    const slow = await started.proxy(redis.port, { bytesPerSecond: 400_000 });
    const [a, b] = [await started.node("a", redis.url), await started.node("b", slow.redisUrl)];
    for (const node of [a, b]) await joined(node, 2);
    const before = await metric(b, "gateway_adapter_reconnects_total");
    // Six megabytes at once, each way: fifteen seconds.
    const burst = { size: 20_000, everyMs: 0, most: 300 };
    const [here, there] = [await started.receiver(a, "from b"), await started.receiver(b, "from a")];
    const senders = [await started.sender(a, "from a", burst), await started.sender(b, "from b", burst)];
    for (const sender of senders) await sender.done();
    const [from_a, from_b] = await Promise.all([senders[0].account(test, "to the slow node", there), senders[1].account(test, "from the slow node", here)]);
    assert.deepEqual([from_a.lost, from_b.lost], [[0], [0]]);
    assert.equal(await metric(b, "gateway_adapter_reconnects_total"), before);
  });
});

describe("the master behind one address changes", () => {
  const started = new Started();
  let old;
  let next;
  let address;
  let a;
  let b;
  let c;
  before(async () => {
    old = await started.redis();
    next = await started.redis(["--replicaof", "127.0.0.1", `${old.port}`]);
    await until("the replica follows", async () => (await old.command("INFO", "replication")).includes("state=online"));
    address = await started.proxy(old.port);
    [a, b] = await started.nodes(["a", "b"], address.redisUrl);
  });
  after(() => started.stop());

  /** All connections that are there stay open, to what is a replica now. */
  async function swap() {
    await old.command("FAILOVER", "TO", "127.0.0.1", `${next.port}`);
    await until("the roles have changed", async () => (await next.command("ROLE")).startsWith("master"));
    await until("the roles have changed", async () => (await old.command("ROLE")).startsWith("slave"));
    address.target = next.port;
    [old, next] = [next, old];
  }

  async function nobodyIsLeftBehind(...nodes) {
    for (const node of nodes) await joined(node, nodes.length);
    await until("nobody is at the replica", async () => {
      const clients = await next.command("CLIENT", "LIST");
      return !/name=gateway-\w+-(publisher|subscriber)/.test(clients);
    });
  }

  it("by a failover: the nodes follow, and what is missing was counted", async (test) => {
    const [receiver, sender] = [await started.receiver(b, "failover"), await started.sender(a, "failover")];
    await flowing(receiver, sender.room);
    await swap();
    await nobodyIsLeftBehind(a, b);
    c = await started.node("c", address.redisUrl);
    for (const node of [a, b, c]) await joined(node, 3);
    const late = await started.receiver(c, sender.room);
    await flowing(late, sender.room);
    const { lost: [lost], dropped, refused, unconfirmed } = await sender.account(test, "failover behind one address", receiver);
    assert.deepEqual([dropped, refused], [0, 0]);
    assert.ok(lost <= unconfirmed, `${lost} of ${unconfirmed}`);
    const back = await started.receiver(a, "back");
    const other = await started.sender(c, "back", { most: 100 });
    await other.done();
    assert.deepEqual((await other.account(test, "from a node that came later", back)).lost, [0]);
  });

  it("by REPLICAOF: the nodes follow as well", async () => {
    await next.command("REPLICAOF", "NO", "ONE");
    await old.command("REPLICAOF", "127.0.0.1", `${next.port}`);
    // Until the address changes, there is no master at it, and the nodes say so.
    for (const node of [a, b]) {
      const detail = await until(`${node.id} says so`, async () => (await readiness(node)).detail);
      assert.match(detail, /not the master|READONLY|no connection/);
    }
    address.target = next.port;
    [old, next] = [next, old];
    await nobodyIsLeftBehind(a, b, c, await started.node("d", address.redisUrl));
  });
});

describe("Redis runs a script for nine seconds", () => {
  const started = new Started();
  after(() => started.stop());

  it("messages and events wait, and /ready says why", async (test) => {
    const redis = await started.redis();
    const [a, b] = await started.nodes(["a", "b"], redis.url);
    const stream = await started.node("s", redis.url, { "backend.stream": KEY });
    for (const node of [a, b, stream]) await joined(node, 3);
    const [receiver, sender] = [await started.receiver(b, "busy"), await started.sender(a, "busy")];
    const said = await started.client(stream);
    await flowing(receiver, sender.room);
    const script = redis.keepBusy(9_000);
    await delay(1_000);
    for (let number = 0; number < 100; number += 1) said.socket.emit("say", number);
    const busy = await until("/ready says so", async () => {
      const { detail } = await readiness(a);
      return detail?.includes("BUSY") && detail;
    });
    assert.equal((await readiness(a)).ready, false);
    test.diagnostic(`/ready says: ${busy}`);
    assert.match(busy, /^Redis refuses messages: BUSY Redis is busy running a script/);
    await until("the stream's trouble is told", async () => /BUSY/.test(JSON.stringify(await readiness(stream))));
    await script;
    for (const node of [a, b, stream]) await joined(node, 3);
    const { lost, dropped, refused, unconfirmed } = await sender.account(test, "BUSY for 9 s", receiver);
    assert.deepEqual([lost, dropped, refused, unconfirmed], [[0], 0, 0, 0]);
    assert.equal(await metric(a, "gateway_adapter_reconnects_total"), 0);
    await until("nothing waits", async () => (await metric(stream, "gateway_stream_waiting")) === 0);
    const entries = distinct(await consume(redis.url));
    assert.deepEqual(numbers(of(entries, said.id)), Array.from({ length: 100 }, (_, number) => number));
  });
});

describe("Redis refuses writes when nodes start", () => {
  const cases = [
    ["NOREPLICAS", (redis) => redis.command("CONFIG", "SET", "min-replicas-to-write", "1"), ["min-replicas-to-write", "0"]],
    ["OOM", (redis) => redis.command("CONFIG", "SET", "maxmemory", "1"), ["maxmemory", "0"]],
    ["MISCONF", (redis) => redis.loseDisk(), ["stop-writes-on-bgsave-error", "no"]],
  ];
  for (const [error, refuse, [setting, value]] of cases) {
    it(`with ${error}: they hear each other and say what is wrong`, async (test) => {
      const started = new Started();
      try {
        const redis = await started.redis();
        await redis.command("SET", "something", "changed");
        await refuse(redis);
        const [a, b] = [await started.node("a", redis.url), await started.node("b", redis.url)];
        for (const node of [a, b]) {
          await until(`${node.id} is ready`, () => isReady(node));
          const { warnings } = await until("and says why it may not be known", async () => {
            const said = await readiness(node);
            return said.warnings && said;
          });
          assert.match(warnings[0], new RegExp(`^Redis refuses the heartbeat: ${error} `));
        }
        const [receiver, sender] = [await started.receiver(b, error), await started.sender(a, error, { most: 1_000, everyMs: 1 })];
        await sender.done();
        await delay(3_000);
        const { lost, refused, unconfirmed } = await sender.account(test, error, receiver);
        assert.deepEqual([lost, refused, unconfirmed], [[0], 0, 0]);
        assert.equal(await metric(b, "gateway_adapter_gaps_total"), 0);
        await redis.command("CONFIG", "SET", setting, value);
        for (const node of [a, b]) {
          await joined(node, 2);
          await until("nothing is wrong", async () => (await readiness(node)).warnings === undefined);
        }
      } finally {
        await started.stop();
      }
    });
  }
});

describe("a node that cannot join says why", () => {
  const started = new Started();
  after(() => started.stop());

  async function says(url, pattern, settings) {
    const node = await relay("a", { "redis.url": url, ...settings });
    const detail = await until(`it says ${pattern}`, async () => {
      const { ready, detail } = await readiness(node);
      return ready === false && pattern.test(detail) && detail;
    }).catch(async (error) => {
      throw new Error(`${error.message}; it says ${JSON.stringify(await readiness(node))}`);
    }).finally(() => node.stop());
    return detail;
  }

  it("in Redis' own words", async (test) => {
    const redis = await started.redis();
    const { port } = redis;
    await redis.command("ACL", "SETUSER", "deaf", "on", ">secret", "allkeys", "allchannels", "+@all", "-psubscribe", "-subscribe");
    await redis.command("ACL", "SETUSER", "dumb", "on", ">secret", "allkeys", "allchannels", "+@all", "-publish");
    const replica = await started.redis(["--replicaof", "127.0.0.1", `${port}`]);
    const keys = new Keys();
    started.add({ stop: () => keys.remove() });
    const tls = await started.redis([], keys);
    const cases = [
      [`redis://:wrong@127.0.0.1:${port}`, /no connection to Redis: .*AUTH/],
      [`redis://deaf:wrong@127.0.0.1:${port}`, /no connection to Redis: WRONGPASS/],
      [`redis://deaf:secret@127.0.0.1:${port}`, /subscriptions are not in force: NOPERM .*subscribe/],
      [`redis://dumb:secret@127.0.0.1:${port}`, /Redis refuses messages: NOPERM .*publish/],
      [`rediss://127.0.0.1:${port}`, /no connection to Redis: no (answer to TLS|TLS there).* redis instead of rediss/],
      [`redis://127.0.0.1:${tls.port}`, /no connection to Redis: .*(TLS|closed)/],
      [`redis://127.0.0.1:${replica.port}`, /no connection to Redis: not the master: it is a replica of 127.0.0.1/],
      ["redis://127.0.0.1:1", /no connection to Redis: Connection refused/],
    ];
    for (const [url, pattern] of cases) {
      const detail = await says(url, pattern);
      assert.ok(!detail.includes("wrong@") && !detail.includes("secret"), detail);
      test.diagnostic(`${url.replace(/:\w+@/, ":..@")}: ${detail}`);
    }
  });
});

describe("a room whose channel Redis refuses", () => {
  const started = new Started();
  after(() => started.stop());

  it("is not joined, nor are those that were named with it", async () => {
    const redis = await started.redis();
    // Not those of sockets' own rooms either: clients connect all the same.
    const channels = ["&socket.io#/#", "&socket.io#/#fine*", "&socket.io-request#*", "&socket.io-response#*", "&socket.io-gateway#*"];
    await redis.command("ACL", "SETUSER", "some", "on", ">secret", "allkeys", "resetchannels", ...channels, "+@all", "-psubscribe");
    const [node] = await started.nodes(["a"], `redis://some:secret@127.0.0.1:${redis.port}`, { "redis.private_patterns": 0 });
    const [member, other] = [await started.client(node), await started.client(node)];
    await member.join("fine");
    const refused = await member.call("join", ["fine", "fine too", "bad"]);
    assert.equal(refused.error?.code, "forbidden_room", JSON.stringify(refused));
    // Nobody waits for an answer to this one.
    member.socket.emit("join", "bad");
    // Answered once the node has that one: a client's events are handled in their order.
    await member.join("fine");
    await until("it has left again", async () => (await metric(node, 'gateway_rooms{namespace="/"}')) === 1);
    for (const room of ["fine too", "bad", "fine"]) await other.call("publish", room, "to", room);
    assert.deepEqual(await member.next(), ["to", "fine"]);
  });
});
