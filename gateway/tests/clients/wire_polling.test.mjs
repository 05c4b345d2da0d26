// HTTP long-polling: handshake, payloads, the rules about concurrent requests, closing.
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, describe, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { ENGINE, Polling, SOCKET_IO, swiftly } from "./lib/engine.mjs";
import { bare, refused } from "./lib/errors.mjs";
import { request } from "./lib/http.mjs";
import { startConformance } from "./lib/target.mjs";

let server;
before(async () => {
  server = await startConformance();
});
after(() => server?.stop());

const open = (options) => Polling.open(server.port, options);

describe("handshake", () => {
  for (const path of [ENGINE, SOCKET_IO]) {
    test(`${path} answers one open packet with exactly five keys`, async () => {
      const response = await request(server.port, `${path}?EIO=4&transport=polling`);
      assert.equal(response.status, 200);
      assert.equal(response.headers["content-type"], "text/plain; charset=UTF-8");
      assert.equal(response.headers["cache-control"], "no-store");
      assert.equal(response.headers["set-cookie"], undefined);
      assert.equal(response.text[0], "0");
      const { sid, ...rest } = JSON.parse(response.text.slice(1));
      assert.match(sid, /^[A-Za-z0-9_-]{20,}$/);
      assert.deepEqual(rest, { upgrades: ["websocket"], pingInterval: 300, pingTimeout: 200, maxPayload: 1_000_000 });
    });
  }

  test("session ids do not merely count", async () => {
    const sids = await Promise.all(Array.from({ length: 50 }, async () => (await open()).sid));
    assert.equal(new Set(sids.map((sid) => sid.slice(4, 16))).size, 50);
  });
});

describe("payloads", () => {
  test("a POST is answered with ok, a GET with the packets", swiftly(open, async (session) => {
    const posted = await session.post("4hello");
    assert.equal(posted.status, 200);
    assert.equal(posted.text, "ok");
    assert.equal(posted.headers["content-type"], "text/html");
    assert.equal(posted.headers["content-length"], "2");
    assert.equal(posted.headers["cache-control"], "no-store");
    const polled = await session.get();
    assert.equal(polled.status, 200);
    assert.equal(polled.text, "4hello");
    assert.equal(polled.headers["content-type"], "text/plain; charset=UTF-8");
    assert.equal(polled.headers["cache-control"], "no-store");
  }));

  for (const [name, packets] of [
    ["text", ["4one", "4two", "4three"]],
    ["Unicode", ["4Я Б Г", "4てすと漢字", "4😀👩‍👩‍👧", "4\u0000\u0001\u001f\u007f\u2028"]],
    ["line feeds", ["4a\n4b\r\n"]],
    ["an empty message", ["4", "4after"]],
    ["binary", ["bAQIDBA=="]],
    ["empty binary", ["b", "4after"]],
    ["text and binary", ["4hello", "bAQIDBA==", "4again", `b${Buffer.alloc(3_000, 7).toString("base64")}`]],
  ]) {
    test(`${name} comes back unchanged and in order`, swiftly(open, async (session) => {
      await session.post(packets.join("\x1e"));
      assert.deepEqual(await session.packets(packets.length), packets);
    }));
  }

  test("a body in chunks that split characters is read as one", swiftly(open, async (session) => {
    const bytes = Buffer.from("4漢字😀\x1e4second");
    assert.equal((await session.post([...bytes].map((byte) => Buffer.of(byte)))).status, 200);
    assert.deepEqual(await session.packets(2), ["4漢字😀", "4second"]);
  }));

  test("200 POSTs on as many connections keep their order", async () => {
    const session = await open();
    for (let first = 0; first < 200; first += 5) {
      const sent = Array.from({ length: 5 }, (_, i) => `4${first + i}`);
      for (const packet of sent) assert.equal((await session.post(packet)).status, 200);
      assert.deepEqual(await session.packets(5), sent);
    }
  });

  test("a session works over a single kept-alive connection", async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const session = await open();
    for (let i = 0; i < 20; i += 1) {
      assert.equal((await session.post(`4${i}`, { agent })).text, "ok");
      assert.deepEqual(await session.packets(1, { agent }), [`4${i}`]);
    }
    agent.destroy();
  });

  test("a body of exactly the maximum is delivered", swiftly(open, async (session) => {
    const packet = `4${"a".repeat(999_999)}`;
    assert.equal((await session.post(packet)).status, 200);
    assert.equal(await session.packet(), packet);
  }));

  for (const [name, body] of [
    ["announced by its length", Buffer.alloc(1_000_001, "4")],
    ["of unannounced length", Array.from({ length: 11 }, () => Buffer.alloc(100_000, "4"))],
  ]) {
    test(`a body above the maximum, ${name}, gets 413, is not delivered and leaves the session open`, swiftly(open, async (session) => {
      bare(await session.post(body), 413);
      await session.post("4next");
      assert.equal(await session.packet(), "4next");
    }));
  }

  test("compression is used only for those who accept it, and is sound", swiftly(open, async (session) => {
    const packet = `4${"compressible ".repeat(300)}`;
    await session.post(packet);
    const accepted = await session.get({ headers: { "Accept-Encoding": "gzip" } });
    const body = accepted.headers["content-encoding"] === "gzip" ? gunzipSync(accepted.body).toString() : accepted.text;
    assert.equal(body, packet);
    await session.post(packet);
    const plain = await session.get();
    assert.equal(plain.headers["content-encoding"], undefined);
    assert.equal(plain.text, packet);
  }));
});

describe("invalid bodies", { concurrency: 4 }, () => {
  for (const body of ["", "abc", "7", "8x", "-1", " 4", "\x1e4a", "2", "2probe"]) {
    test(`${JSON.stringify(body)} closes the session`, swiftly(open, async (session) => {
      const parked = await session.park();
      await session.post(body).catch(() => {});
      assert.equal((await parked.response).text, "1");
      refused(await session.get(), 1);
    }));
  }

  for (const body of ["4first\x1e", "4first\x1e\x1e4second", "4first\x1ezz", "4first\x1e2"]) {
    test(`${JSON.stringify(body)} closes the session after its first packet was handled`, swiftly(open, async (session) => {
      const parked = await session.park();
      await session.post(body).catch(() => {});
      assert.equal((await parked.response).text.split("\x1e")[0], "4first");
      refused(await session.get(), 1);
    }));
  }

  for (const body of ["0", "0{}", "5", "6", "3"]) {
    test(`${JSON.stringify(body)} is ignored`, swiftly(open, async (session) => {
      assert.equal((await session.post(body)).status, 200);
      await session.post("4still here");
      assert.equal(await session.packet(), "4still here");
    }));
  }

  test("invalid UTF-8 does no harm to others", swiftly(open, async (session) => {
    await session.post(Buffer.from([0x34, 0xff, 0xfe, 0xc0])).catch(() => {});
    const other = await open();
    await other.post("4fine");
    assert.equal(await other.packet(), "4fine");
  }));
});

describe("concurrent requests", { concurrency: 4 }, () => {
  test("a GET with something buffered is answered at once with all of it", swiftly(open, async (session) => {
    await session.post("4one");
    await session.post("4two\x1e4three");
    assert.equal((await session.get()).text, "4one\x1e4two\x1e4three");
  }));

  test("a parked GET is answered by the next message", swiftly(open, async (session) => {
    const parked = await session.park();
    await session.post("4hello");
    assert.equal((await parked.response).text, "4hello");
  }));

  test("a second GET closes the session: the first gets the close packet, the second 400", swiftly(open, async (session) => {
    const parked = await session.park();
    bare(await session.get(), 400);
    const first = await parked.response;
    assert.equal(first.status, 200);
    assert.equal(first.text, "1");
    refused(await session.get(), 1);
  }));

  test("a second POST closes the session: a parked GET gets the close packet, the second POST 400", swiftly(open, async (session) => {
    const parked = await session.park();
    const stalled = stalledPost(session);
    await stalled.begun;
    bare(await session.post("4b"), 400);
    assert.equal((await parked.response).text, "1");
    refused(await session.get(), 1);
    stalled.abort();
  }));

  test("an aborted GET closes the session", swiftly(open, async (session) => {
    const parked = await session.park();
    parked.abort();
    assert.equal((await session.get()).status, 400);
    refused(await session.get(), 1);
  }));

  test("a POST aborted midway closes the session", swiftly(open, async (session) => {
    const parked = await session.park();
    const stalled = stalledPost(session);
    await stalled.begun;
    stalled.abort();
    // At once: by the heartbeat, a ping would come first.
    assert.equal((await parked.response).text, "1");
    refused(await session.get(), 1);
  }));

  test("the header Connection: close ends a connection and not the session", swiftly(open, async (session) => {
    for (const word of ["one", "two"]) {
      await session.post(`4${word}`, { headers: { Connection: "close" } });
      assert.equal((await session.get({ headers: { Connection: "close" } })).text, `4${word}`);
    }
  }));
});

describe("close", { concurrency: 4 }, () => {
  test("a close packet ends the session: the parked GET gets a noop, the POST ok", swiftly(open, async (session) => {
    const parked = await session.park();
    const posted = await session.post("1");
    assert.equal(posted.status, 200);
    assert.equal(posted.text, "ok");
    assert.equal((await parked.response).text, "6");
    refused(await session.get(), 1);
    refused(await session.post("4a"), 1);
  }));

  test("packets before a close packet are handled", swiftly(open, async (session) => {
    const parked = await session.park();
    await session.post("4last words\x1e1");
    assert.equal((await parked.response).text.split("\x1e")[0], "4last words");
    refused(await session.get(), 1);
  }));
});

/** A POST whose body never ends. */
function stalledPost(session) {
  const outgoing = http.request({ host: "127.0.0.1", port: session.port, path: session.url, method: "POST", headers: { "Content-Length": 100 }, agent: false });
  outgoing.on("error", () => {});
  const begun = new Promise((resolve) => outgoing.write("4begun", () => setTimeout(resolve, 25)));
  return { begun, abort: () => outgoing.destroy() };
}
