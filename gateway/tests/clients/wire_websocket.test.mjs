// A session that begins as a WebSocket: handshake, messages, frames, closing.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { ENGINE, SOCKET_IO, Ws } from "./lib/engine.mjs";
import { refused } from "./lib/errors.mjs";
import { request } from "./lib/http.mjs";
import { RawWebSocket } from "./lib/raw.mjs";
import { REFERENCE, startConformance } from "./lib/target.mjs";

// Long enough for a busy machine, and shorter than the connect timeout. Heartbeats are answered meanwhile and close nothing.
const PROMPTLY_MS = 800;

let server;
before(async () => {
  server = await startConformance();
});
after(() => server?.stop());

const session = (options) => Ws.session(server.port, options);

describe("handshake", () => {
  for (const path of [ENGINE, SOCKET_IO]) {
    test(`${path} sends one open packet with exactly five keys and no upgrades`, async () => {
      const websocket = await session({ path });
      const { sid, ...rest } = websocket.opened;
      assert.match(sid, /^[A-Za-z0-9_-]{20,}$/);
      assert.deepEqual(rest, { upgrades: [], pingInterval: 300, pingTimeout: 200, maxPayload: 1_000_000 });
      websocket.close();
    });
  }

  test("polling requests for a WebSocket session are bad requests and leave it open", async () => {
    const websocket = await session();
    const url = `${ENGINE}?EIO=4&transport=polling&sid=${websocket.opened.sid}`;
    refused(await request(server.port, url), 3);
    refused(await request(server.port, url, { method: "POST", body: "4a" }), 3);
    websocket.send("4still here");
    assert.equal(await websocket.next(), "4still here");
    websocket.close();
  });

  test("a WebSocket session cannot be taken over by another WebSocket", { skip: REFERENCE && "in Node it can" }, async () => {
    const websocket = await session();
    const thief = await Ws.open(server.port, { query: `&sid=${websocket.opened.sid}` }).catch(() => undefined);
    if (thief) {
      thief.send("2probe");
      thief.send("5");
      await thief.closing();
    }
    websocket.send("4still mine");
    assert.equal(await websocket.next(), "4still mine");
    websocket.close();
  });

  test("garbage glued to the handshake closes that connection only", async () => {
    const raw = await RawWebSocket.open(server.port, `${ENGINE}?EIO=4&transport=websocket`, { glued: Buffer.from("\xff\xff\xff garbage", "latin1") });
    await raw.ended();
    const websocket = await session();
    websocket.send("4fine");
    assert.equal(await websocket.next(), "4fine");
    websocket.close();
  });

  test("a frame glued to the handshake is not lost", { skip: REFERENCE && "Node listens too late for it" }, async () => {
    const raw = await RawWebSocket.open(server.port, `${ENGINE}?EIO=4&transport=websocket`, { glued: RawWebSocket.text("4early") });
    const [opened, early] = await raw.take(2);
    assert.equal(opened.payload[0], "0".charCodeAt(0));
    assert.equal(early.payload.toString(), "4early");
    raw.destroy();
  });
});

describe("messages", () => {
  for (const message of ["4hello", "4", "4漢字😀\u0000\x1e", `4${"a".repeat(999_999)}`]) {
    test(`text ${JSON.stringify(message.slice(0, 20))} comes back in a text frame`, async () => {
      const websocket = await session();
      websocket.send(message);
      assert.equal(await websocket.next(), message);
      websocket.close();
    });
  }

  for (const length of [0, 1, 125, 126, 65_535, 65_536, 1_000_000]) {
    test(`${length} bytes come back in a binary frame without a type byte`, async () => {
      const websocket = await session();
      const bytes = randomBytes(length);
      websocket.send(bytes);
      assert.deepEqual(await websocket.next(), bytes);
      websocket.close();
    });
  }

  test("a thousand messages keep their order", async () => {
    const websocket = await session();
    const sent = Array.from({ length: 1_000 }, (_, i) => `4${i}`);
    for (const message of sent) websocket.send(message);
    assert.deepEqual(await websocket.take(1_000), sent);
    websocket.close();
  });

  test("base64 in a text frame is a binary message", async () => {
    const websocket = await session();
    websocket.send("bAQIDBA==");
    assert.deepEqual(await websocket.next(), Buffer.of(1, 2, 3, 4));
    websocket.close();
  });

  test("a client that asked for base64 gets binary as text frames", async () => {
    const websocket = await session({ query: "&b64=1" });
    websocket.send("bAQIDBA==");
    assert.equal(await websocket.next(), "bAQIDBA==");
    websocket.send(Buffer.of(9));
    assert.equal(await websocket.next(), "bCQ==");
    websocket.close();
  });

  test("fragments are joined, with a ping in between answered at once", async () => {
    const raw = await RawWebSocket.session(server.port);
    raw.send(RawWebSocket.frame({ opcode: 1, fin: false, payload: "4fir" }));
    raw.send(RawWebSocket.frame({ opcode: 9, payload: "between" }));
    const pong = await raw.next();
    assert.equal(pong.opcode, 10);
    assert.equal(pong.payload.toString(), "between");
    raw.send(RawWebSocket.frame({ opcode: 0, fin: false, payload: "st \xe6\xbc" , encoding: "latin1" }));
    raw.send(RawWebSocket.frame({ opcode: 0, payload: "\xa2", encoding: "latin1" }));
    assert.equal((await raw.next()).payload.toString(), "4first 漢");
    raw.destroy();
  });

  test("frames that arrive byte by byte are read", async () => {
    const raw = await RawWebSocket.session(server.port);
    for (const byte of RawWebSocket.text("4slow but steady")) raw.send(Buffer.of(byte));
    assert.equal((await raw.next()).payload.toString(), "4slow but steady");
    raw.destroy();
  });
});

describe("packets", { concurrency: 4 }, () => {
  for (const packet of ["", "abc", "7", "8x", " 4", "2", "2probe"]) {
    test(`${JSON.stringify(packet)} closes the connection without a status`, async () => {
      const websocket = await session();
      websocket.send(packet);
      assert.equal((await websocket.closing(PROMPTLY_MS)).code, 1005);
    });
  }

  for (const packet of ["0", "5", "6", "3"]) {
    test(`${JSON.stringify(packet)} is ignored`, async () => {
      const websocket = await session();
      websocket.send(packet);
      websocket.send("4still here");
      assert.equal(await websocket.next(), "4still here");
      websocket.close();
    });
  }

  test("a close packet closes the connection at once", { skip: REFERENCE && "Node ignores it until the ping timeout" }, async () => {
    const websocket = await session();
    websocket.send("1");
    assert.equal((await websocket.closing(PROMPTLY_MS)).code, 1005);
  });
});

describe("frames against RFC 6455", { concurrency: 4 }, () => {
  const { frame } = RawWebSocket;
  for (const [name, bytes, code] of [
    ["a message above the maximum", frame({ opcode: 1, payload: Buffer.alloc(1_000_001, "4") }), 1009],
    ["a header that announces a message above the maximum", frame({ opcode: 1, payload: Buffer.alloc(1_000_001, "4") }).subarray(0, 14), 1009],
    ["a header that announces 2^62 bytes", Buffer.from([0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]), 1009],
    [
      "fragments that add up to more than the maximum",
      Buffer.concat([0, 1, 2].map((i) => frame({ opcode: i === 0 ? 1 : 0, fin: false, payload: Buffer.alloc(400_000, "4") }))),
      1009,
    ],
    ["invalid UTF-8", frame({ opcode: 1, payload: Buffer.from([0x34, 0xc3, 0x28]) }), 1007],
    ["UTF-8 that ends in the middle of a character", frame({ opcode: 1, payload: Buffer.from([0x34, 0xe6, 0xbc]) }), 1007],
    ["an unmasked frame", frame({ opcode: 1, payload: "4a", masked: false }), 1002],
    ["an unknown opcode", frame({ opcode: 3, payload: "4a" }), 1002],
    ["a reserved bit", frame({ opcode: 1, payload: "4a", reserved: 0x40 }), 1002],
    ["a fragmented ping", frame({ opcode: 9, fin: false, payload: "a" }), 1002],
    ["a ping of 126 bytes", frame({ opcode: 9, payload: "a".repeat(126) }), 1002],
    ["a continuation of nothing", frame({ opcode: 0, payload: "a" }), 1002],
    ["a new message amid fragments", Buffer.concat([frame({ opcode: 1, fin: false, payload: "4a" }), frame({ opcode: 1, payload: "4b" })]), 1002],
    ["a close frame of one byte", frame({ opcode: 8, payload: "a" }), 1002],
    ["a forbidden close code", frame({ opcode: 8, payload: Buffer.from([0x03, 0xed]) }), 1002],
  ]) {
    test(`${name} is answered with close code ${code}`, async () => {
      const raw = await RawWebSocket.session(server.port);
      raw.send(bytes);
      const closing = await raw.next();
      assert.equal(closing.opcode, 8);
      assert.equal(closing.payload.readUInt16BE(0), code);
      await raw.ended();
    });
  }

  test("a close frame is answered with one and ends the connection", async () => {
    const raw = await RawWebSocket.session(server.port);
    raw.send(frame({ opcode: 8, payload: Buffer.from([0x03, 0xe8]) }));
    assert.equal((await raw.next()).opcode, 8);
    await raw.ended();
  });
});
