// Nodes and a Node server with createShardedAdapter on one Redis, in each of its subscription modes.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { messages } from "./lib/gateways.mjs";
import { broadcasts, questions } from "./lib/operations.mjs";
import { World } from "./lib/world.mjs";

for (const [subscriptionMode, library] of [["static", "redis"], ["dynamic", "redis"], ["dynamic-private", "ioredis"]]) {
  describe(`sharded, ${subscriptionMode}, beside Node with ${library}`, () => {
    let world;
    before(async () => {
      world = await World.start({
        relays: subscriptionMode === "dynamic" ? ["a"] : [],
        libraries: ["d", "e"],
        settings: { "redis.mode": "sharded", "redis.subscription_mode": subscriptionMode, "cluster.request_timeout": "1s" },
        node: { library, mode: "sharded", options: { subscriptionMode } },
      });
    });
    after(() => world.stop());

    broadcasts(() => world, ["node", "d"]);
    questions(() => world, "d", { allRooms: false });

    it("nothing that came was unreadable, and nothing that went was lost", async () => {
      for (const gateway of world.gateways) {
        assert.equal(await messages(gateway, "in", "undecodable"), 0);
        for (const result of ["dropped", "unconfirmed", "refused"]) assert.equal(await messages(gateway, "out", result), 0);
      }
    });
  });
}
