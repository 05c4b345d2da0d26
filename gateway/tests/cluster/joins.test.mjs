// From the acknowledgement of a join on, nothing is missed.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { createHmac } from "node:crypto";
import { Client } from "./lib/clients.mjs";
import { joined, relay } from "./lib/gateways.mjs";
import { Redis } from "../../../testkit/js/redis.mjs";
import { Proxy } from "../../../testkit/js/proxy.mjs";
import { World } from "./lib/world.mjs";

const ROUNDS = 60;
const FROZEN_MS = 1_500;
const FAR_ROUNDS = 50;
const FAR_MS = 20;
const SECRET = "a secret that only tests know";
const KEY = "a key that only tests know";

for (const mode of ["classic", "sharded"]) {
  describe(`joins, ${mode}`, () => {
    let world;
    before(async () => {
      world = await World.start({
        relays: ["a", "b"],
        libraries: ["d"],
        settings: { "redis.mode": mode === "classic" ? "pubsub" : mode },
        node: { mode },
        emitter: mode === "classic" ? "redis" : undefined,
      });
    });
    after(() => world.stop());

    /** Everything that can publish to a room, and whether `joiner` would hear it. */
    function publishers(joiner) {
      const senders = new Map(world.senders());
      for (const name of ["a/websocket", "b/polling"]) if (name !== joiner) senders.set(name, ({ rooms }, ...args) => world.client(name).socket.emit("publish", rooms, ...args));
      return [...senders];
    }

    for (const joiner of ["a/polling", "a/websocket", "d/websocket"]) {
      it(`${joiner} misses nothing in ${ROUNDS} rooms`, async () => {
        const client = world.client(joiner);
        const others = publishers(joiner);
        for (let round = 0; round < ROUNDS; round += 1) {
          const [name, emit] = others[round % others.length];
          const room = `${joiner} ${round}`;
          await client.join(room);
          emit({ rooms: [room] }, "published", name, round);
          assert.deepEqual(await client.next(), ["published", name, round]);
        }
      });
    }

    it("several rooms joined together are all there", async () => {
      const client = world.client("a/websocket");
      const rooms = Array.from({ length: 300 }, (_, number) => `many ${number}`);
      await client.join(...rooms);
      for (const room of rooms) world.node.io.to(room).emit("in", room);
      for (const room of rooms) assert.deepEqual(await client.next(), ["in", room]);
    });

    it("no join is acknowledged before Redis has confirmed it", async () => {
      const clients = ["a/polling", "a/websocket", "b/websocket", "d/websocket"].map((name) => world.client(name));
      world.redis.freeze();
      let acknowledged = 0;
      const joins = clients.map((client) => client.join("frozen").then(() => {
        acknowledged += 1;
      }));
      try {
        await delay(FROZEN_MS);
        assert.equal(acknowledged, 0);
        // What is published on the same node arrives all the same.
        world.client("a/websocket").socket.emit("publish", "frozen", "here already");
        assert.deepEqual(await world.client("a/polling").next(), ["here already"]);
      } finally {
        world.redis.thaw();
      }
      await Promise.all(joins);
      world.node.io.to("frozen").emit("thawed");
      for (const client of clients) {
        let event;
        // The other nodes hear of the former now, or not, if they joined behind it.
        do event = await client.next(); while (event[0] === "here already");
        assert.deepEqual(event, ["thawed"]);
      }
    });
  });
}

describe("joins on a node that is far from Redis", () => {
  let redis, slow, here, there;
  before(async () => {
    redis = await Redis.start();
    slow = await Proxy.start(redis.port, { answersLate: { command: "SUBSCRIBE", milliseconds: FAR_MS } });
    const settings = { "redis.private_patterns": 0, "auth.jwt_secret": SECRET, "api.key": KEY };
    [here, there] = await Promise.all([
      relay("here", { ...settings, "redis.url": redis.url }),
      relay("there", { ...settings, "redis.url": slow.redisUrl }),
    ]);
    for (const node of [here, there]) await joined(node, 2);
  });
  after(async () => {
    for (const node of [here, there]) await node?.stop();
    slow?.stop();
    await redis?.stop();
  });

  async function post(node, call, body) {
    const headers = { authorization: `Bearer ${KEY}`, "content-type": "application/json" };
    const response = await fetch(`http://127.0.0.1:${node.internalPort}/api/v1/${call}`, { method: "POST", headers, body: JSON.stringify(body) });
    assert.equal(response.status, 200);
    return response.json();
  }

  function open(user) {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, exp: 4_000_000_000 })}`;
    const token = `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
    return Client.open(there, "websocket", { auth: { token } });
  }

  it(`a user is reached from the connect on, ${FAR_ROUNDS} times`, async () => {
    for (let round = 0; round < FAR_ROUNDS; round += 1) {
      const client = await open(`user ${round}`);
      await post(here, "emit", { rooms: [`$user:user ${round}`], event: "hi", args: [round] });
      assert.deepEqual(await client.next(), ["hi", round]);
      client.close();
    }
  });

  it(`an emit at another node behind a join by the API arrives, ${FAR_ROUNDS} times`, async () => {
    const client = await open("member");
    for (let round = 0; round < FAR_ROUNDS; round += 1) {
      const rooms = [`room ${round}`];
      assert.deepEqual(await post(there, "join", { select: { user: "member" }, rooms }), { ok: true });
      await post(here, "emit", { rooms, event: "there", args: [round] });
      assert.deepEqual(await client.next(), ["there", round]);
    }
    client.close();
  });
});
