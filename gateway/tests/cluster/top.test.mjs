// What is busiest, over Redis, beside a Node server, and when a node is killed.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { request } from "../clients/lib/http.mjs";
import { Load } from "./lib/load.mjs";
import { until } from "../../../testkit/js/wait.mjs";
import { World } from "./lib/world.mjs";

const KEY = "a key for the tests of top";

describe("three nodes and a Node server on one Redis", () => {
  let world;
  before(async () => {
    world = await World.start({ relays: ["a", "b", "c"], settings: { "api.key": KEY }, node: {} });
  });
  after(() => world.stop());

  async function top(node) {
    const { status, text } = await request(node.internalPort, "/api/v1/top", { headers: { Authorization: `Bearer ${KEY}` } });
    assert.equal(status, 200, text);
    return JSON.parse(text);
  }

  const ids = ({ nodes }) => nodes.map(({ id }) => id);

  it("all nodes tell their rates, and Node servers are counted as not answering", async () => {
    for (const name of ["b/websocket", "c/websocket"]) await world.client(name).join("load");
    const load = new Load(world.client("a/websocket"), "load");
    await top(world.server("a"));
    const answer = await top(world.server("b"));
    await load.stop();
    assert.deepEqual([ids(answer), answer.missing_nodes, answer.missing_others], [["a", "b", "c"], [], 1]);
    const [a, b, c] = answer.nodes;
    assert.ok(a.events_in > 50 && b.events_out > 50 && c.events_out > 50, JSON.stringify(answer));
    assert.ok(a.lag_p99_ms > 0, JSON.stringify(a));
    const room = answer.rooms.find(({ name }) => name === "load");
    assert.ok(room.events > 50 && Math.abs(room.deliveries / room.events - 2) < 0.5, JSON.stringify(room));
  });

  it("a node that is killed is named until it is no member any more", async () => {
    await world.server("c").kill();
    const answer = await top(world.server("a"));
    assert.deepEqual([ids(answer), answer.missing_nodes], [["a", "b"], ["c"]]);
    await until("it is gone", async () => (await top(world.server("a"))).missing_nodes.length === 0);
  });
});
