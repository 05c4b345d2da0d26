// The relay application with real clients of three generations over every transport.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { call, CLIENTS, Clients, disconnected, heard, OK, TRANSPORTS } from "./lib/clients.mjs";
import { startRelay } from "./lib/target.mjs";
import { within } from "../../../testkit/js/wait.mjs";

let server;
let clients;
before(async () => {
  server = await startRelay();
  clients = new Clients(server.url);
});
afterEach(() => clients.close());
after(() => server?.stop());

for (const [version, io] of Object.entries(CLIENTS)) {
  for (const [name, transport] of Object.entries(TRANSPORTS)) {
    const connect = () => clients.connect({ io, ...transport });

    describe(`socket.io-client ${version}, ${name}`, () => {
      test("joins, publishes, leaves, broadcasts and echoes", async () => {
        const [ann, bob, eve] = await Promise.all([connect(), connect(), connect()]);
        const inboxes = [ann, bob, eve].map(heard);
        const [atAnn, atBob, atEve] = inboxes;

        assert.deepEqual(await call(ann, "join", "room"), [OK]);
        assert.deepEqual(await call(bob, "join", "room"), [OK]);
        assert.deepEqual(await call(ann, "publish", "room", "chat", "hello", { from: "ann" }, null), [OK]);
        assert.deepEqual(await atBob.next(), ["chat", "hello", { from: "ann" }, null]);

        assert.deepEqual(await call(bob, "leave", "room"), [OK]);
        assert.deepEqual(await call(ann, "publish", "room", "chat", "anybody?"), [OK]);
        assert.deepEqual(await call(ann, "broadcast", "news", 1, "two", [3]), [OK]);
        assert.deepEqual(await atBob.next(), ["news", 1, "two", [3]]);
        assert.deepEqual(await atEve.next(), ["news", 1, "two", [3]]);

        assert.deepEqual(await call(eve, "echo"), []);
        assert.deepEqual(await call(eve, "echo", 1, "two", { three: [4, null, true, "漢字 😀"] }), [1, "two", { three: [4, null, true, "漢字 😀"] }]);
        // What comes back to Ann last shows that nothing else was on its way to her.
        assert.deepEqual(await call(bob, "broadcast", "last"), [OK]);
        assert.deepEqual(await atAnn.next(), ["last"]);
        assert.deepEqual(await atEve.next(), ["last"]);
        assert.deepEqual(inboxes.map((inbox) => inbox.size), [0, 0, 0]);
      });

      test("sends binary, nested and several at once, and receives it", async () => {
        const [ann, bob] = await Promise.all([connect(), connect()]);
        const atBob = heard(bob);
        await call(bob, "join", "room");
        const args = [Buffer.from("one"), { deep: [{ two: Buffer.from([0, 255, 30]) }, "text"] }, Buffer.alloc(0), randomBytes(20_000), "last"];
        assert.deepEqual(await call(ann, "echo", ...args), args);
        assert.deepEqual(await call(ann, "publish", ["room"], "bytes", ...args), [OK]);
        assert.deepEqual(await atBob.next(), ["bytes", ...args]);
        assert.deepEqual(await call(bob, "broadcast", "bytes", { a: Buffer.from("a") }, Buffer.from("b")), [OK]);
      });

      test("passes 900 kB and is disconnected for more than the maximum", async () => {
        const [ann, bob] = await Promise.all([connect(), connect()]);
        const atBob = heard(bob);
        await call(bob, "join", "room");
        const large = "x".repeat(900_000);
        assert.deepEqual(await call(ann, "echo", large), [large]);
        assert.deepEqual(await call(ann, "publish", "room", "large", large), [OK]);
        assert.deepEqual(await atBob.next(), ["large", large]);
        // Base64 makes a third more of it by polling.
        const bytes = randomBytes(700_000);
        assert.deepEqual(await call(ann, "publish", "room", "large", bytes), [OK]);
        assert.deepEqual(await atBob.next(), ["large", bytes]);

        const reason = disconnected(ann);
        ann.emit("publish", "room", "too large", "x".repeat(1_000_001));
        assert.match(await reason, /^transport (close|error)$/);
        assert.deepEqual(await call(bob, "echo", "still served"), ["still served"]);
        assert.equal(atBob.size, 0);
      });

      test("hears 300 events of another in their order", async () => {
        const [ann, bob] = await Promise.all([connect(), connect()]);
        const atBob = heard(bob);
        await call(bob, "join", "room");
        const numbers = Array.from({ length: 300 }, (_, i) => i);
        for (const i of numbers) ann.emit("publish", "room", "number", i);
        assert.deepEqual((await atBob.take(300, 10_000)).map(([, i]) => i), numbers);
      });
    });
  }

  test(`socket.io-client ${version} keeps 1,000 events in order, both ways, while the upgrade happens`, async (context) => {
    const COUNT = 1_000;
    const peer = await clients.connect({ transports: ["websocket"] });
    await call(peer, "join", "upwards");
    const climber = await connectedByPolling(io);
    const upgraded = new Promise((resolve) => climber.io.engine.once("upgrade", resolve));
    let sent = 0;
    let sentAtUpgrade;
    upgraded.then(() => {
      sentAtUpgrade = sent;
    });
    const atPeer = heard(peer);
    const atClimber = heard(climber);
    const acks = [];
    let sentAtJoin;
    const joined = call(climber, "join", "downwards").then(() => {
      sentAtJoin = sent;
    });

    while (sent < COUNT) {
      for (const end = sent + 20; sent < end; sent += 1) {
        const i = sent;
        const value = i % 10 === 0 ? { i, bytes: Buffer.from([i & 255]) } : { i };
        climber.emit("publish", "upwards", "up", value, (answer) => acks.push([i, answer]));
        peer.emit("publish", "downwards", "down", value);
      }
      await delay(1);
      // The last part is kept for after the join and the upgrade.
      if (sent >= COUNT * 0.8) await Promise.all([joined, within(10_000, upgraded, "upgrade")]);
    }

    const expected = Array.from({ length: COUNT }, (_, i) => i);
    const up = await atPeer.take(COUNT, 10_000);
    assert.deepEqual(up.map(([, { i }]) => i), expected);
    assert.ok(up.every(([event, { i, bytes }]) => event === "up" && (i % 10 !== 0 || Buffer.from([i & 255]).equals(bytes))));
    // The first of them may have come before the climber was in its room; from then on none is missing.
    await call(peer, "publish", "downwards", "end");
    const down = [];
    for (let message = await atClimber.next(10_000); message[0] !== "end"; message = await atClimber.next(10_000)) down.push(message[1].i);
    assert.ok(down.length >= COUNT - sentAtJoin, `${down.length} came down, ${sentAtJoin} were sent before the join`);
    assert.deepEqual(down, expected.slice(-down.length));
    // Asking once more shows that all acks have come.
    await call(climber, "echo");
    assert.deepEqual(acks, expected.map((i) => [i, OK]));
    assert.equal(climber.io.engine.transport.name, "websocket");
    assert.ok(sentAtUpgrade > 0 && sentAtUpgrade < COUNT, `${sentAtUpgrade} were sent before the upgrade`);
    context.diagnostic(`${sentAtUpgrade} of ${COUNT} events were sent before the upgrade was done; ${down.length} came down`);
  });
}

/** A socket that is connected and still before its upgrade, which can also be done before the socket is connected. */
async function connectedByPolling(io) {
  for (let attempt = 0; attempt < 50; attempt += 1) {
    const socket = await clients.connect({ io });
    if (socket.io.engine.transport.name === "polling") return socket;
    socket.disconnect();
  }
  throw new Error("every socket was upgraded before it was connected");
}
