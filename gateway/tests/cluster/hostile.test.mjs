// Whatever is published on the channels of a cluster, its nodes go on.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Client } from "./lib/clients.mjs";
import { isReady, messages } from "./lib/gateways.mjs";
import { connectRedis } from "./lib/node_server.mjs";
import { random } from "./lib/random.mjs";
import { until } from "../../../testkit/js/wait.mjs";
import { World } from "./lib/world.mjs";

const FULL = process.env.CLUSTER_FULL === "1";
const MESSAGES = FULL ? 200_000 : 5_000;
const AT_A_TIME = 500;
/** What is published here would be obeyed if it were legal; clients of this namespace go on talking. */
const CALM = "/calm";

const VECTORS = JSON.parse(readFileSync(join(import.meta.dirname, "../../../adapter-redis/tests/vectors/node.json"), "utf8")).vectors;

for (const mode of ["classic", "sharded"]) {
  describe(`hostile messages, ${mode}`, () => {
    const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
    let world;
    before(async () => {
      world = await World.start({
        relays: ["a", "b"],
        libraries: ["d"],
        settings: { namespaces: `/,${CALM}`, "redis.mode": mode === "classic" ? "pubsub" : mode, "log.level": "off" },
      });
    });
    after(() => world.stop());

    it(`clients go on talking while ${MESSAGES} wrong messages arrive`, async (test) => {
      test.diagnostic(`SEED=${seed}`);
      const dice = random(seed);
      const redis = await connectRedis("ioredis", world.redis.url);
      test.after(() => redis.disconnect());
      const talkers = await Promise.all([["a", "polling"], ["a", "websocket"], ["b", "websocket"]].map(([id, transport]) => Client.open(world.server(id), transport, { namespace: CALM })));
      for (const talker of talkers) await talker.join("talk");

      // What nodes of a cluster subscribe to, and what nobody does.
      const inUse = mode === "classic" ? await redis.pubsub("CHANNELS") : await redis.call("PUBSUB", "SHARDCHANNELS");
      const hostile = [...inUse.filter((channel) => !channel.includes(CALM)), "socket.io#/#nobody#", ...world.names.map((name) => `socket.io#/#${world.client(name).id}#`)];
      const calm = inUse.filter((channel) => channel.includes(CALM));
      const vectors = VECTORS.map(({ hex }) => Buffer.from(hex, "hex"));

      let said = 0;
      for (let sent = 0; sent < MESSAGES; sent += AT_A_TIME) {
        const batch = redis.pipeline();
        for (let number = 0; number < AT_A_TIME; number += 1) {
          const isCalm = calm.length > 0 && dice.below(10) === 0;
          const channel = dice.choose(isCalm ? calm : hostile);
          const payload = isCalm ? dice.bytes(dice.below(40)) : dice.mutation(vectors);
          if (mode === "classic") batch.publish(channel, payload);
          else batch.call("SPUBLISH", channel, payload);
        }
        await batch.exec();
        for (const talker of talkers) {
          said += 1;
          assert.deepEqual(await talker.call("publish", "talk", "said", said), { ok: true });
          for (const other of talkers) if (other !== talker) assert.deepEqual(await other.next(), ["said", said]);
        }
      }

      // Records of nodes that are none.
      const index = "socket.io-gateway{nodes}";
      await redis.sadd(index, "x", "", Buffer.from([0xff]), "y".repeat(1_000), "z");
      await redis.set(`${index}#x`, "{}");
      await redis.set(`${index}#`, Buffer.from([0xff, 0xfe]));
      await until("those without a record are struck off", async () => (await redis.scard(index)) === 5);

      const counted = [];
      for (const gateway of world.gateways) {
        await until(`${gateway.id} is ready`, () => isReady(gateway));
        counted.push(await messages(gateway, "in", "undecodable"));
      }
      test.diagnostic(`counted as undecodable: ${counted.join(", ")}`);
      assert.ok(counted.every((count) => count > MESSAGES / 20));
      talkers.forEach((talker) => talker.close());

      // The hostile namespace's clients may have been moved or disconnected: legal requests are obeyed. New ones are served.
      const fresh = await Promise.all(world.gateways.map((server) => Client.open(server, "websocket")));
      for (const client of fresh) await client.join("fresh");
      const d = fresh.at(-1);
      assert.equal(await d.call("emit", { rooms: ["fresh"] }, "hello"), true);
      for (const client of fresh) assert.deepEqual(await client.next(), ["hello"]);
      const found = await d.call("fetch_sockets", { rooms: ["fresh"] });
      assert.deepEqual([found.found.length, found.missing_nodes, found.missing_others], [3, [], 0]);
      fresh.forEach((client) => client.close());
    });
  });
}
