// Clients with socket.io-msgpack-parser, which the gateway knows by their first message, beside those with JSON.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";
import parser from "socket.io-msgpack-parser";
import { WebSocket } from "ws";
import { call, Clients, connected, disconnected, heard, next, OK, refusal, TRANSPORTS } from "./lib/clients.mjs";
import { heardByOld, OldClients } from "./lib/old.mjs";
import { startRelay } from "./lib/target.mjs";
import { until, within } from "../../../testkit/js/wait.mjs";

const KEY = "a key of the API for these tests";

let server;
let clients;
let old;
before(async () => {
  server = await startRelay(["--engine-allow-eio3", "true", "--namespaces", "/,/chat", "--api-key", KEY]);
  clients = new Clients(server.url);
  old = new OldClients(server.url);
});
afterEach(() => {
  clients.close();
  old.close();
});
after(() => server?.stop());

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  const connect = (options = {}) => clients.connect({ parser, ...transport, ...options });

  describe(`socket.io-msgpack-parser, ${name}`, () => {
    test("joins, publishes and echoes, in one room with clients of JSON of both revisions", async () => {
      const [ann, bob, eve, dan] = await Promise.all([connect(), connect(), clients.connect(transport), old.connect(transport)]);
      const inboxes = [ann, bob, eve].map(heard).concat([heardByOld(dan)]);
      for (const socket of [ann, bob, eve, dan]) assert.deepEqual(await call(socket, "join", "room"), [OK]);
      const args = ["漢字 😀\u2028\0", { deep: [Buffer.from([0, 4, 255]), null, true] }, 1.5, -33, 2 ** 40, Buffer.alloc(0), randomBytes(70_000)];
      for (const [index, socket] of [ann, eve, dan].entries()) {
        assert.deepEqual(await call(socket, "publish", "room", "event", index, ...args), [OK]);
        for (const inbox of inboxes) {
          if (inbox !== inboxes[[ann, bob, eve, dan].indexOf(socket)]) assert.deepEqual(await inbox.next(20_000), ["event", index, ...args]);
        }
      }
      assert.deepEqual(await call(ann, "echo", ...args), args);
      assert.deepEqual(await call(ann, "echo"), []);
      assert.equal((await call(ann, "join", 7))[0].error.code, "bad_room");
    });

    test("dates are text, undefined is null, what is not finite is null, and every binary is bytes", async () => {
      const ann = await connect();
      const sent = [new Date(0), undefined, { u: undefined, v: 1 }, NaN, -0, new Uint8Array([1, 2]), new Uint8Array([3]).buffer];
      const got = ["1970-01-01T00:00:00.000Z", null, { v: 1 }, null, 0, Buffer.from([1, 2]), Buffer.from([3])];
      assert.deepEqual(await call(ann, "echo", ...sent), got);
    });

    test("is asked for an acknowledgement, joins another namespace, and is refused in its own words", async () => {
      const ann = await connect();
      ann.on("well?", (number, answer) => answer("it came", Buffer.from([number])));
      assert.deepEqual(await call(ann, "join", "asked"), [OK]);
      const response = await fetch(`http://127.0.0.1:${server.internalPort}/api/v1/emit`, {
        method: "POST",
        headers: { Authorization: `Bearer ${KEY}` },
        body: JSON.stringify({ rooms: ["asked"], event: "well?", args: [7], ack_timeout: "20s" }),
      });
      const { acks } = await response.json();
      assert.deepEqual(acks, [["it came", { $binary: "Bw==" }]]);
      const chat = await connect({ namespace: "/chat", auth: { token: "x" } });
      assert.deepEqual(await call(chat, "echo", 1), [1]);
      const nowhere = clients.socket({ parser, ...transport, namespace: "/nowhere" });
      assert.equal((await refusal(nowhere)).message, "Invalid namespace");
      ann.disconnect();
      assert.deepEqual(await call(chat, "echo", 2), [2]);
    });

    test("hears 1000 events in their order", async () => {
      const [ann, eve] = [await connect(), await clients.connect({ transports: ["websocket"] })];
      const atAnn = heard(ann);
      await call(ann, "join", "source");
      for (let number = 0; number < 1000; number += 1) eve.emit("publish", "source", "down", number, Buffer.from([number & 255]));
      for (let number = 0; number < 1000; number += 1) assert.deepEqual(await atAnn.next(30_000), ["down", number, Buffer.from([number & 255])]);
    });

    test("comes back when its connection breaks", async () => {
      const ann = await connect({ reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 100 });
      ann.io.engine.close();
      await next(ann, "connect", 20_000);
      assert.deepEqual(await call(ann, "echo", 1), [1]);
    });
  });
}

test("a client with recovery shows its position and gets what it missed", async () => {
  const kept = await startRelay(["--recovery-window", "1m"]);
  const others = new Clients(kept.url);
  try {
    const ann = await others.connect({ parser, transports: ["websocket"], reconnection: true, reconnectionDelay: 500, reconnectionDelayMax: 500 });
    const eve = await others.connect({ transports: ["websocket"] });
    const atAnn = heard(ann);
    await call(ann, "join", "room");
    await call(eve, "publish", "room", "event", 1);
    assert.deepEqual((await atAnn.next(20_000)).slice(0, 2), ["event", 1]);
    ann.io.engine.close();
    await call(eve, "publish", "room", "missed", Buffer.from([2]));
    await connected(ann);
    assert.ok(ann.recovered);
    assert.deepEqual((await atAnn.next(20_000)).slice(0, 2), ["missed", Buffer.from([2])]);
  } finally {
    others.close();
    await kept.stop();
  }
});

const closed = async (...messages) => {
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}/socket.io/?EIO=4&transport=websocket`);
  const end = new Promise((resolve) => socket.once("close", resolve));
  await within(10_000, new Promise((resolve) => socket.once("message", resolve)), "open");
  for (const message of messages) socket.send(message);
  await within(10_000, end, "close");
};

test("garbage, and two parsers in one session, close it and are counted", async () => {
  const series = async (kind) => {
    const text = await (await fetch(`http://127.0.0.1:${server.internalPort}/metrics`)).text();
    const name = `gateway_clients_total{parser="${kind}",revision="4",transport="websocket"} `;
    return Number(text.split("\n").find((line) => line.startsWith(name)).slice(name.length));
  };
  const before = [await series("unknown"), await series("msgpack"), await series("json")];
  const connect = Buffer.from("82a47479706500a36e7370a12f", "hex");
  await closed(Buffer.from("garbage"));
  await closed("4garbage");
  await closed(connect, '42["echo"]');
  await closed("40", connect);
  await until("all are counted", async () => (await series("unknown")) === before[0] + 2);
  assert.deepEqual([await series("msgpack"), await series("json")], [before[1] + 1, before[2] + 1]);
});

test("a reserved event closes the session, as with JSON", async () => {
  const ann = await clients.connect({ parser, transports: ["websocket"] });
  const reason = disconnected(ann);
  ann.io.engine.write(Buffer.from(new parser.Encoder().encode({ type: 2, data: ["disconnect", "x"], nsp: "/" })[0]));
  assert.equal(await reason, "transport close");
});
