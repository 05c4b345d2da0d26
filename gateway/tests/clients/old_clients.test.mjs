// The relay application with clients of Socket.IO 1 and 2 over every transport, beside those of today.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";
import { call, Clients, heard, OK, TRANSPORTS } from "./lib/clients.mjs";
import { heardByOld, joined, OLD_CLIENTS, OldClients, refused, transport } from "./lib/old.mjs";
import { startRelay } from "./lib/target.mjs";
import { until, within } from "../../../testkit/js/wait.mjs";

const KEY = "a key of the API for these tests";
const EVENTS = 1000;
const PATIENCE_MS = 30_000;

let server;
let old;
let today;
before(async () => {
  server = await startRelay(["--engine-allow-eio3", "true", "--namespaces", "/,/chat", "--api-key", KEY]);
  old = new OldClients(server.url);
  today = new Clients(server.url);
});
afterEach(() => {
  old.close();
  today.close();
});
after(() => server?.stop());

for (const [version, io] of Object.entries(OLD_CLIENTS)) {
  for (const [name, options] of Object.entries(TRANSPORTS)) {
    const connect = (more = {}) => old.connect({ io, ...options, ...more });
    // The first generation encodes its text twice when it polls, so that every server reads something else.
    const text = version.startsWith("1.") && name !== "websocket only" ? "hello" : "hello 漢字 😀 é\u2028";

    describe(`socket.io-client ${version}, ${name}`, () => {
      test("joins, publishes, leaves, broadcasts and echoes, in one room with a client of today", async () => {
        const [ann, bob, eve] = await Promise.all([connect(), connect(), today.connect(options)]);
        const [atAnn, atBob, atEve] = [heardByOld(ann), heardByOld(bob), heard(eve)];

        assert.deepEqual(await call(ann, "join", "room"), [OK]);
        assert.deepEqual(await call(bob, "join", ["room", "other"]), [OK]);
        assert.deepEqual(await call(eve, "join", "room"), [OK]);
        assert.deepEqual(await call(ann, "publish", "room", "chat", text, { from: "ann" }, null), [OK]);
        for (const inbox of [atBob, atEve]) assert.deepEqual(await inbox.next(), ["chat", text, { from: "ann" }, null]);
        assert.deepEqual(await call(eve, "publish", "room", "chat", "漢字 😀", [1]), [OK]);
        for (const inbox of [atAnn, atBob]) assert.deepEqual(await inbox.next(), ["chat", "漢字 😀", [1]]);

        assert.deepEqual(await call(bob, "leave", "room"), [OK]);
        assert.deepEqual(await call(eve, "publish", "room", "chat", "anybody?"), [OK]);
        assert.deepEqual(await atAnn.next(), ["chat", "anybody?"]);
        assert.deepEqual(await call(ann, "broadcast", "news", 1, "two", [3]), [OK]);
        for (const inbox of [atBob, atEve]) assert.deepEqual(await inbox.next(), ["news", 1, "two", [3]]);
        assert.deepEqual(await call(ann, "echo"), []);
        assert.deepEqual(await call(ann, "echo", 1, text, { three: [4, null, true] }), [1, text, { three: [4, null, true] }]);
        assert.deepEqual(await call(ann, "join", 7), [{ ok: false, error: { code: "bad_room", message: (await call(eve, "join", 7))[0].error.message } }]);
        assert.deepEqual([atAnn, atBob, atEve].map((inbox) => inbox.size), [0, 0, 0]);
      });

      test("sends binary, nested and several at once, and receives it, as a client of today does", async () => {
        const [ann, eve] = await Promise.all([connect(), today.connect(options)]);
        const [atAnn, atEve] = [heardByOld(ann), heard(eve)];
        await call(ann, "join", "room");
        await call(eve, "join", "room");
        const args = [Buffer.from("one"), { deep: [{ two: Buffer.from([0, 255, 30, 4]) }, "text"] }, Buffer.alloc(0), randomBytes(20_000), "last"];
        assert.deepEqual(plain(await call(ann, "echo", ...args)), args);
        assert.deepEqual(await call(ann, "publish", ["room"], "bytes", ...args), [OK]);
        assert.deepEqual(await atEve.next(), ["bytes", ...args]);
        assert.deepEqual(await call(eve, "publish", ["room"], "bytes", ...args, "é"), [OK]);
        assert.deepEqual(plain(await atAnn.next()), ["bytes", ...args, "é"]);
      });

      test("acknowledges what the gateway asks it, with binary as well", async () => {
        const ann = await connect();
        heardByOld(ann, (...args) => ["it came", Buffer.from([1, 2]), ...args]);
        assert.deepEqual(await call(ann, "join", "room"), [OK]);
        const response = await fetch(`http://127.0.0.1:${server.internalPort}/api/v1/emit`, {
          method: "POST",
          headers: { Authorization: `Bearer ${KEY}` },
          body: JSON.stringify({ rooms: ["room"], event: "well?", args: [1], ack_timeout: "20s" }),
        });
        const { acks } = await response.json();
        assert.deepEqual(acks, [["it came", { $binary: "AQI=" }, 1]]);
      });

      test("joins another namespace beside the one that it is in, leaves it, and is told which there is not", async () => {
        const ann = await connect();
        const chat = old.socket({ io, ...options, namespace: "/chat?token=x%20y" });
        await joined(chat);
        assert.deepEqual(await call(chat, "echo", 1), [1]);
        chat.disconnect();
        const nowhere = old.socket({ io, ...options, namespace: "/nowhere" });
        const answer = await refused(nowhere);
        assert.deepEqual(answer, { message: "Invalid namespace" });
        assert.deepEqual(await call(ann, "echo", 2), [2]);
      });

      test(`hears and sends ${EVENTS} events in their order, from the first moment on`, async () => {
        const eve = await today.connect();
        await call(eve, "join", "sink");
        const atEve = heard(eve);
        // It emits before it is connected, while it polls, amid the upgrade and after it.
        const ann = await old.connect({ io, ...options, upgraded: false });
        const atAnn = heardByOld(ann);
        const joins = call(ann, "join", "source");
        let answered = 0;
        for (let number = 0; number < EVENTS; number += 1) {
          ann.emit("publish", "sink", "up", number, () => (answered += 1));
          if (number === EVENTS / 2) await joins;
          if (number >= EVENTS / 2) eve.emit("publish", "source", "down", number);
          if (number % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
        }
        for (let number = 0; number < EVENTS; number += 1) assert.deepEqual(await atEve.next(PATIENCE_MS), ["up", number]);
        for (let number = EVENTS / 2; number < EVENTS; number += 1) assert.deepEqual(await atAnn.next(PATIENCE_MS), ["down", number]);
        await until("all are answered", () => answered === EVENTS);
        if (!options.transports) await until("it upgrades", () => transport(ann) === "websocket");
      });

      test("comes back when its connection breaks", async () => {
        const ann = await connect({ reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 100 });
        const again = new Promise((resolve) => ann.once("connect", resolve));
        ann.io.engine.close();
        await within(PATIENCE_MS, again, "the second connect");
        assert.deepEqual(await call(ann, "echo", 1), [1]);
      });
    });
  }
}

test("the gateway tells what its clients speak", async () => {
  const series = async (name) => {
    const text = await (await fetch(`http://127.0.0.1:${server.internalPort}/metrics`)).text();
    return Number(text.split("\n").find((line) => line.startsWith(`${name} `))?.split(" ").at(-1));
  };
  const name = (revision, kind) => `gateway_clients_total{parser="json",revision="${revision}",transport="${kind}"}`;
  const before = [await series(name(3, "polling")), await series(name(4, "websocket"))];
  await old.connect({ transports: ["polling"] });
  await today.connect({ transports: ["websocket"] });
  assert.deepEqual([await series(name(3, "polling")), await series(name(4, "websocket"))], before.map((count) => count + 1));
});

/** Old clients give slices of larger buffers. */
function plain(value) {
  if (Buffer.isBuffer(value)) return Buffer.from(value);
  if (value instanceof ArrayBuffer) return Buffer.from(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
  return value;
}
