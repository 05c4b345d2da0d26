// A backend that emits with Node's redis-emitter.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { until } from "../../../testkit/js/wait.mjs";
import { next } from "../testing/gateway.mjs";
import { EXAMPLES, startCluster } from "./lib/programs.mjs";

let cluster;
before(async () => (cluster = await startCluster({ GATEWAY_API_KEY: "a key of the examples" })));
after(() => cluster?.stop());

test("it reaches a room on every node, and moves its members", async () => {
  const clients = cluster.nodes.map((node) => node.connect());
  for (const client of clients) assert.deepEqual(await client.emitWithAck("join", "lobby"), { ok: true });
  const heard = clients.map((client) => next(client, "said"));
  const env = { ...process.env, REDIS_URL: cluster.redis.url };
  await promisify(execFile)(process.execPath, ["redis-emitter/chat.mjs", "lobby", "hello"], { cwd: EXAMPLES, env });
  for (const said of heard) assert.deepEqual(await said, ["backend", "hello"]);
  const seen = { name: "lobby:seen", members: 2 };
  await until("both were moved", async () => {
    const { rooms } = await cluster.nodes[0].api("rooms");
    return rooms.some((room) => room.name === seen.name && room.members === seen.members);
  });
});
