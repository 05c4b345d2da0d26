// npm run mocha
import assert from "node:assert/strict";
import { next, startGateway } from "./gateway.mjs";

describe("a chat on the relay", function () {
  this.timeout(120_000);
  let gateway;

  before(async () => (gateway = await startGateway()));
  after(() => gateway.stop());

  it("passes on what is published", async () => {
    const [ann, bob] = [gateway.connect(), gateway.connect()];
    assert.deepEqual(await bob.emitWithAck("join", "lobby"), { ok: true });
    const heard = next(bob, "said");
    assert.deepEqual(await ann.emitWithAck("publish", "lobby", "said", "hello"), { ok: true });
    assert.deepEqual(await heard, ["hello"]);
  });

  it("tells what is wrong", async () => {
    const answer = await gateway.connect().emitWithAck("join", "");
    assert.equal(answer.error.code, "bad_room");
  });
});
