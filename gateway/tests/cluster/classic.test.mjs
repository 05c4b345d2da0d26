// Relays, a node of the library, a Node server with @socket.io/redis-adapter and a redis-emitter on one Redis: once with each of Node's
// client libraries.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { messages } from "./lib/gateways.mjs";
import { until } from "../../../testkit/js/wait.mjs";
import { broadcasts, questions } from "./lib/operations.mjs";
import { World } from "./lib/world.mjs";

const VARIANTS = {
  redis: { node: {}, settings: {} },
  ioredis: { node: { publishOnSpecificResponseChannel: true }, settings: { "redis.specific_responses": true } },
};

for (const [library, { node, settings }] of Object.entries(VARIANTS)) {
  describe(`classic, beside Node with ${library}`, () => {
    let world;
    before(async () => {
      world = await World.start({
        relays: ["a", "b", "c"],
        libraries: ["d"],
        settings: { "cluster.request_timeout": "1s", ...settings },
        node: { library, options: { requestsTimeout: 2_000, ...node } },
        emitter: library,
      });
    });
    after(() => world.stop());

    broadcasts(() => world, ["node", "emitter", "d"]);
    questions(() => world, "d");

    it("the emitter moves and disconnects sockets and reaches servers", async () => {
      const { io } = world.node;
      const names = ["a/polling", "d/websocket", "node/polling"];
      const rooms = names.map((name) => world.client(name).id);
      const emit = world.senders().get("emitter");
      world.emitter.call("socketsJoin", { rooms }, ["emitted"]);
      await until("all have joined", async () => (await io.in("emitted").fetchSockets()).length === names.length);
      emit({ rooms: ["emitted"] }, "joined");
      await world.expect(emit, names, [["joined"]]);
      world.emitter.call("socketsLeave", { rooms: ["emitted"], except: [rooms[0]] }, ["emitted"]);
      emit({ rooms: ["emitted"] }, "left");
      await world.expect(emit, names.slice(0, 1), [["left"]]);
      const told = new Promise((resolve) => io.once("hello", (...args) => resolve(args)));
      world.emitter.call("serverSideEmit", {}, "hello", 5);
      assert.deepEqual(await told, [5]);
      for (const transport of ["polling", "websocket"]) assert.deepEqual(await world.client(`d/${transport}`).next(), ["server_side", 5]);
      const gone = ["a/polling", "node/polling"].map((name) => new Promise((resolve) => world.client(name).socket.once("disconnect", resolve)));
      world.emitter.call("disconnectSockets", { rooms: [rooms[0], rooms[2]] }, true);
      await Promise.all(gone);
    });

    it("a message that two subscriptions match is delivered once, and no node hears itself", async () => {
      const d = world.server("d");
      const client = world.client("d/websocket");
      // It begins as the ids of this node's sockets do, so the pattern of private rooms matches it, too.
      const room = `${client.id.slice(0, 5)} and more`;
      await client.join(room);
      world.node.io.to(room).emit("once");
      assert.deepEqual(await client.next(), ["once"]);
      const fenced = new Promise((resolve) => client.socket.once("after", resolve));
      world.node.io.to(client.id).emit("after");
      await fenced;
      assert.deepEqual(await client.next(), ["after"]);
      assert.ok((await messages(d, "in", "own")) > 0);
      for (const gateway of world.gateways) assert.equal(await messages(gateway, "in", "undecodable"), 0);
    });
  });
}
