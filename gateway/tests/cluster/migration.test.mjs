// A cluster that moves from Node's servers to ours: what Node's servers do to sockets of ours, and ask them.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { World } from "./lib/world.mjs";

const ROUNDS = 200;

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
