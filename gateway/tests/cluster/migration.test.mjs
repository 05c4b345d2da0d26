// A cluster that moves from Node's servers to ours: what Node's servers do to sockets of ours, and ask them.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { request } from "../clients/lib/http.mjs";
import { connectRedis } from "./lib/node_server.mjs";
import { World } from "./lib/world.mjs";

const ROUNDS = 200;
const KEY = "a key that only tests know";

describe("moving from Node, classic, redis.interest = all", () => {
  let world;
  before(async () => {
    world = await World.start({
      relays: ["a"],
      settings: { "redis.interest": "all" },
      node: { mode: "classic" },
    });
  });
  after(() => world.stop());

  for (const name of ["a/websocket", "a/polling"]) {
    it(`${name} gets what is emitted right behind a join by Node, ${ROUNDS} times`, async () => {
      const client = world.client(name);
      for (let round = 0; round < ROUNDS; round += 1) {
        const room = `${name} ${round}`;
        world.node.io.in(client.id).socketsJoin(room);
        world.node.io.to(room).emit("joined", round);
      }
      for (let round = 0; round < ROUNDS; round += 1) assert.deepEqual(await client.next(), ["joined", round]);
    });
  }

  it("each emit arrives once, to the namespace, to a room, to a socket", async () => {
    const client = world.client("a/websocket");
    await client.join("once");
    const { io } = world.node;
    for (let round = 0; round < 20; round += 1) {
      io.to("once").emit("room", round);
      io.to(client.id).emit("socket", round);
      io.emit("all", round);
      for (const event of ["room", "socket", "all"]) assert.deepEqual(await client.next(), [event, round]);
    }
  });
});

for (const mode of ["classic", "sharded"]) {
  describe(`questions of Node's servers to themselves, ${mode}`, () => {
    let world;
    before(async () => {
      world = await World.start({
        relays: ["a"],
        settings: { "redis.mode": mode === "classic" ? "pubsub" : mode },
        node: { mode },
      });
    });
    after(() => world.stop());

    it("serverSideEmitWithAck is answered by a relay, which has nothing to say", async () => {
      for (const args of [[], [1, { a: [2] }], [Buffer.from("x")]]) {
        assert.deepEqual(await world.node.io.serverSideEmitWithAck("anything", ...args), [undefined]);
      }
    });
  });
}

for (const mode of ["classic", "sharded"]) {
  describe(`rooms named like the ids of Node's sockets, ${mode}`, () => {
    let world;
    before(async () => {
      world = await World.start({
        relays: ["a", "b"],
        settings: { "redis.mode": mode === "classic" ? "pubsub" : mode, "cluster.request_timeout": "2s", "api.key": KEY },
        node: { mode },
      });
    });
    after(() => world.stop());

    const toAll = (_, ...args) => world.node.io.emit(...args);
    /** Nobody has asked about it. */
    const foreign = () => randomBytes(10).toString("hex");

    it("the own room of a socket of any server is refused, whatever its running number is", async () => {
      const relayed = world.client("a/websocket");
      const numbers = world.names.map((name) => world.client(name).id.slice(-4));
      assert.ok(numbers.some((number) => /^AAA[A-Z]$/.test(number)), `${numbers}`);
      // After 16,777,215 sockets.
      const require = createRequire(import.meta.url);
      const { base64id } = require(join(dirname(require.resolve("socket.io")), "contrib/base64id.js"));
      base64id.sequenceNumber = 0xff_ff_fe;
      const late = await world.open(world.node, "websocket", { auth: {} });
      assert.equal(late.id.slice(-4), "____");
      for (const name of world.names) {
        const answer = await relayed.call("join", ["harmless", world.client(name).id]);
        assert.equal(answer.error?.code, "forbidden_room", name);
      }
      world.node.io.to(late.id).emit("secret");
      assert.deepEqual(await late.next(), ["secret"]);
      await world.expect(toAll, [], []);
    });

    it("any other is joined, and heard by its members on every server", async () => {
      const names = ["a/websocket", "b/polling", "node/polling"];
      for (const room of [foreign(), "Xq3vB0yT7mKd9RfLw2Zs", "-OaBcD3fGh1jKlMnOpQr", "Xq3vB0yT7mKd9RfLAAAB"]) {
        for (const name of names) await world.client(name).join(room);
        await world.client("b/websocket").call("publish", room, "published");
        world.node.io.to(room).emit("emitted");
        for (const name of names) {
          const heard = [await world.client(name).next(), await world.client(name).next()].map(([event]) => event);
          assert.deepEqual(heard.sort(), ["emitted", "published"]);
        }
      }
    });

    it("a list of rooms has them, of whichever server their members are, and no socket's own", async () => {
      const room = foreign();
      for (const name of ["a/polling", "node/websocket"]) await world.client(name).join(room);
      // A socket of Node in the own room of another.
      await world.client("node/polling").join(world.client("node/websocket").id);
      const { text } = await request(world.server("b").internalPort, "/api/v1/rooms?limit=1000", { headers: { Authorization: `Bearer ${KEY}` } });
      const rooms = new Map(JSON.parse(text).rooms.map(({ name, members }) => [name, members]));
      assert.equal(rooms.get(room), 2);
      for (const name of world.names) assert.equal(rooms.has(world.client(name).id), false, name);
    });

    it("what one client sends keeps its order while the gateway asks", async () => {
      const client = world.client("a/websocket");
      const room = foreign();
      // A join is acknowledged once it holds on every node, so its answer may come behind the leave's.
      const answers = await Promise.all(["join", "leave"].map((event) => client.call(event, room)));
      assert.deepEqual(answers, [{ ok: true }, { ok: true }]);
      world.node.io.to(room).emit("left");
      await world.expect(toAll, [], []);
    });

    it("none is joined while a Node server does not answer", async () => {
      const client = world.client("a/websocket");
      // What Node servers subscribe to; nobody is behind it.
      const frozen = await connectRedis("redis", world.redis.url);
      let joined;
      try {
        if (mode === "classic") await frozen.subscribe("socket.io-request#/#", () => {});
        else await frozen.sSubscribe("socket.io#/#", () => {});
        const answer = await client.call("join", ["harmless", foreign()]);
        assert.equal(answer.error?.code, "unavailable");
        assert.match(answer.error.message, /not joined/);
        await world.expect(toAll, [], []);
        joined = client.call("join", foreign());
        await world.client("b/websocket").call("echo");
      } finally {
        frozen.destroy();
      }
      assert.deepEqual(await joined, { ok: true });
    });
  });
}
