// Engine.IO 3 as bytes: the vectors that were captured from Node's servers and clients of Socket.IO 1 and 2.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { after, before, describe, test } from "node:test";
import { WebSocket } from "ws";
import { request, requestUpgrade } from "./lib/http.mjs";
import { FOLDER, startRelay } from "./lib/target.mjs";
import { Inbox, until, within } from "../../../testkit/js/wait.mjs";

const vectors = JSON.parse(readFileSync(join(FOLDER, "../../../protocol/tests/vectors/eio3-vectors.json"), "utf8"));
const MAX_PAYLOAD = 2000;

let server;
before(async () => {
  server = await startRelay(["--engine-allow-eio3", "true", "--namespaces", "/,/chat", "--engine-max-payload", `${MAX_PAYLOAD}B`, "--engine-cookie", "io"]);
});
after(() => server?.stop());

/** A polling session; `query` is added to each of its requests. */
class Session {
  static async open({ query = "&EIO=3", first = true } = {}) {
    const response = await request(server.port, `/socket.io/?transport=polling${query}`);
    assert.equal(response.status, 200, response.text);
    const [, length, open] = /^(\d+):0(.*)$/.exec(response.text);
    assert.equal(Number(length), open.length + 1);
    const session = new Session(query, JSON.parse(open), response);
    if (first) assert.equal((await session.get()).text, "2:40");
    return session;
  }

  constructor(query, open, response) {
    this.open = open;
    this.response = response;
    this.path = `/socket.io/?transport=polling${query}&sid=${open.sid}`;
  }

  get() {
    return request(server.port, this.path);
  }

  post(body, type = "text/plain;charset=UTF-8") {
    return request(server.port, this.path, { method: "POST", headers: { "Content-Type": type }, body });
  }
}

/** A WebSocket whose messages wait in an inbox. */
async function websocket(query) {
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}/socket.io/?transport=websocket${query}`);
  const inbox = new Inbox();
  socket.on("message", (data, binary) => inbox.push(binary ? data : data.toString()));
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.once("error", () => {});
  await within(10_000, new Promise((resolve) => socket.once("open", resolve)), "open");
  return { socket, inbox, closed, next: () => inbox.next(10_000) };
}

describe("handshake", () => {
  test("by polling has the open packet, and the next poll the connect to /", async () => {
    const { open, response } = await Session.open();
    assert.deepEqual(open.upgrades, ["websocket"]);
    assert.equal(response.headers["content-type"], "text/plain; charset=UTF-8");
    assert.deepEqual(response.headers["set-cookie"], [`io=${open.sid}; Path=/; HttpOnly; SameSite=Lax`]);
  });

  test("by WebSocket has both at once", async () => {
    const { socket, next } = await websocket("&EIO=3");
    assert.deepEqual(JSON.parse((await next()).slice(1)).upgrades, []);
    assert.equal(await next(), "40");
    socket.close();
  });

  test("a missing EIO is revision 3, and any other one is refused", async () => {
    await Session.open({ query: "" });
    for (const value of ["abc", "2", "5", "04", ""]) {
      const response = await request(server.port, `/socket.io/?transport=polling&EIO=${value}`);
      assert.deepEqual([response.status, response.text], [400, '{"code":5,"message":"Unsupported protocol version"}'], value);
    }
    const upgrade = await requestUpgrade(server.port, "/socket.io/?transport=websocket&EIO=5");
    assert.equal(upgrade.status, 400);
  });

  test("JSONP is refused with words", async () => {
    const response = await request(server.port, "/socket.io/?EIO=3&transport=polling&j=0&b64=1");
    assert.equal(response.status, 400);
    assert.equal(JSON.parse(response.text).message, "JSONP polling is not served: let the client use XHR polling or WebSocket");
  });

  test("a request of the other revision does not reach a session", async () => {
    const { open } = await Session.open();
    const other = (query) => request(server.port, `/socket.io/?transport=polling&sid=${open.sid}${query}`);
    assert.equal((await other("&EIO=4")).status, 400);
    assert.equal((await requestUpgrade(server.port, `/socket.io/?transport=websocket&EIO=4&sid=${open.sid}`)).status, 400);
    const today = await request(server.port, "/socket.io/?EIO=4&transport=polling");
    const { sid } = JSON.parse(today.text.slice(1));
    for (const query of ["&EIO=3", ""]) {
      const response = await request(server.port, `/socket.io/?transport=polling&sid=${sid}${query}`);
      assert.deepEqual([response.status, JSON.parse(response.text).code], [400, 3], query);
    }
  });

  test("a session that has left polling refuses the sid, which peers never see anyway", async () => {
    const { next } = await websocket("&EIO=3");
    const { sid } = JSON.parse((await next()).slice(1));
    assert.equal((await request(server.port, `/socket.io/?transport=polling&EIO=3&sid=${sid}`)).status, 400);
    assert.equal((await request(server.port, `/socket.io/?transport=polling&EIO=3&sid=${sid}`, { method: "POST", body: "1:2" })).status, 400);
  });
});

describe("posts", () => {
  for (const { content_type: type, body, hex, verdict } of vectors.client_posts_and_server_verdict) {
    const name = `${type.split(";")[0]} ${body === undefined ? hex : JSON.stringify(body)}: ${verdict}`;
    test(name, async () => {
      const session = await Session.open();
      const sent = body === undefined ? Buffer.from(hex, "hex") : body;
      const response = await session.post(sent, type);
      assert.deepEqual([response.status, response.text], [200, "ok"]);
      // What only Node takes for a number is none here.
      const isOver = /clos|Node only|cut short/.test(verdict) && !/session lives/.test(verdict);
      if (isOver) {
        await until("the session is over", async () => {
          const { status, text } = await session.get();
          if (status === 200) assert.match(text, /^(1:3)?(1:6)?(1:1)?$/);
          return status === 400;
        });
        return;
      }
      await session.post("1:2");
      const pongs = /pong|^ping$|binary ping/.test(verdict) ? 2 : 1;
      let polled = "";
      while (polled.length < 3 * pongs) polled += (await session.get()).text;
      assert.equal(polled, "1:3".repeat(pongs));
    });
  }

  test("an octet-stream may name a charset, and a body may be larger than one message", async () => {
    const session = await Session.open();
    const packet = `42["echo","${"x".repeat(MAX_PAYLOAD / 2)}"]`;
    const body = `${packet.length}:${packet}`.repeat(5) + "1:2";
    assert.equal((await session.post(body)).status, 200);
    assert.equal((await session.post(Buffer.from("0001ff32", "hex"), "Application/Octet-Stream; charset=UTF-8")).status, 200);
    let polled = "";
    while (polled.length < 6) polled += (await session.get()).text;
    assert.equal(polled, "1:31:3");
  });

  test("a packet larger than the maximum closes, and a body that is far too large is refused", async () => {
    const session = await Session.open();
    const packet = `42["echo","${"x".repeat(MAX_PAYLOAD)}"]`;
    await session.post(`${packet.length}:${packet}`);
    await until("the session is over", async () => (await session.get()).status === 400);
    const other = await Session.open();
    assert.equal((await other.post("x".repeat(4 * MAX_PAYLOAD + 1))).status, 413);
  });

  test("a session of revision 4 takes no octet-stream", async () => {
    const { sid } = JSON.parse((await request(server.port, "/socket.io/?EIO=4&transport=polling")).text.slice(1));
    const path = `/socket.io/?EIO=4&transport=polling&sid=${sid}`;
    assert.equal((await request(server.port, path, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: "x" })).status, 400);
  });
});

describe("polls", () => {
  const binary = '451-0["echo",{"_placeholder":true,"num":0},"é😀"]';

  test("have the binary form only if a packet is binary and the client takes it", async () => {
    for (const [query, expected] of [
      ["&EIO=3", Buffer.concat([frame(0, '461-0[{"_placeholder":true,"num":0},"\\u00e9\\ud83d\\ude00"]'), frame(1, "\x04\x01\x02")])],
      ["&EIO=3&b64=1", Buffer.from(text('461-0[{"_placeholder":true,"num":0},"\\u00e9\\ud83d\\ude00"]') + "6:b4AQI=")],
    ]) {
      const session = await Session.open({ query });
      await session.post(text(binary) + "6:b4AQI=");
      const response = await session.get();
      assert.deepEqual(response.body.toString("latin1"), expected.toString("latin1"));
      assert.equal(response.headers["content-type"], query.includes("b64") ? "text/plain; charset=UTF-8" : "application/octet-stream");
      // Without binary it is text again.
      await session.post(text('421["echo","é"]'));
      assert.equal((await session.get()).text, text('431["\\u00e9"]'));
    }
  });

  test("have at most 16 packets", async () => {
    const session = await Session.open();
    await session.post(text('42["broadcast","x"]') + Array.from({ length: 40 }, (_, id) => text(`42${id}["echo"]`)).join(""));
    const counts = [];
    let count = 0;
    while (count < 40) {
      const polled = (await session.get()).text.match(/43\d+\[\]/g).length;
      counts.push(polled);
      count += polled;
    }
    assert.deepEqual(counts, [16, 16, 8]);
  });
});

describe("WebSocket", () => {
  test("has the type before binary, or base64 for who asks", async () => {
    for (const [query, send, expected] of [
      ["&EIO=3", Buffer.from([4, 1, 2]), Buffer.from([4, 1, 2])],
      ["&EIO=3&b64=1", "b4AQI=", "b4AQI="],
    ]) {
      const { socket, next } = await websocket(query);
      await next();
      await next();
      socket.send('451-0["echo",{"_placeholder":true,"num":0},"é"]');
      socket.send(send);
      assert.equal(await next(), '461-0[{"_placeholder":true,"num":0},"é"]');
      assert.deepEqual(await next(), expected);
      socket.send("2probe");
      assert.equal(await next(), "3");
      socket.send(Buffer.from([2]));
      assert.equal(await next(), "3");
      socket.close();
    }
  });

  test("a client that pongs, or sends what is no packet, is closed", async () => {
    for (const packet of ["3", "9", Buffer.alloc(0)]) {
      const { socket, next, closed } = await websocket("&EIO=3");
      await next();
      socket.send(packet);
      await within(10_000, closed, "close");
    }
  });

  test("an upgrade asks anew whether binary is taken, and flushes what waited", async () => {
    const session = await Session.open({ query: "&EIO=3&b64=1", first: false });
    const { socket, next } = await websocket(`&EIO=3&sid=${session.open.sid}`);
    socket.send("2probe");
    assert.equal(await next(), "3probe");
    socket.send("5");
    // As Python's client does, it has never polled.
    assert.equal(await next(), "40");
    socket.send('451-0["echo",{"_placeholder":true,"num":0}]');
    socket.send(Buffer.from([4, 9]));
    await next();
    assert.deepEqual(await next(), Buffer.from([4, 9]));
    socket.close();
  });
});

describe("Socket.IO", () => {
  const exchange = async (...packets) => {
    const { socket, next, closed } = await websocket("&EIO=3");
    await next();
    assert.equal(await next(), "40");
    for (const packet of packets) socket.send(packet);
    return { socket, next, closed };
  };

  test("another namespace is joined with a query or without, and may be left and joined again", async () => {
    const { next, socket } = await exchange("40/chat?token=x%20y&n=1,", '42/chat?zzz,0["echo",1]', "41/chat", "40/chat", '42/chat,1["echo",2]', '422["echo",3]');
    for (const expected of ["40/chat,", "43/chat,0[1]", "40/chat,", "43/chat,1[2]", "432[3]"]) assert.equal(await next(), expected);
    socket.close();
  });

  test("a namespace may have a query that is longer than any namespace", async () => {
    const { next, socket } = await exchange(`40/chat?token=${"x".repeat(1000)},`);
    assert.equal(await next(), "40/chat,");
    socket.close();
  });

  test("one that there is not is refused, and the session lives", async () => {
    const { next, socket } = await exchange("40/nowhere", '420["echo"]');
    assert.equal(await next(), '44/nowhere,{"message":"Invalid namespace"}');
    assert.equal(await next(), "430[]");
    socket.close();
  });

  test("the main one is left alone, and a second connect to it closes", async () => {
    const { next, socket } = await exchange("40/chat", "41", '42/chat,0["echo"]');
    assert.equal(await next(), "40/chat,");
    assert.equal(await next(), "43/chat,0[]");
    socket.close();
    for (const again of ["40", "40/"]) {
      const { closed } = await exchange(again);
      await within(10_000, closed, "close");
    }
  });

  test("a binary event may come in two posts", async () => {
    const session = await Session.open({ query: "&EIO=3&b64=1" });
    await session.post(text('452-7["echo",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'));
    await session.post("6:b4AQI=6:b4/w==");
    assert.equal((await session.get()).text, text('462-7[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]') + "6:b4AQI=6:b4/w==");
  });
});

describe("heartbeat", () => {
  let timed;
  before(async () => {
    timed = await startRelay(["--engine-allow-eio3", "true", "--engine-ping-interval", "600ms", "--engine-ping-timeout", "400ms"]);
  });
  after(() => timed?.stop());

  const connect = async (query) => {
    const socket = new WebSocket(`ws://127.0.0.1:${timed.port}/socket.io/?transport=websocket${query}`);
    const closed = new Promise((resolve) => socket.once("close", resolve));
    await within(10_000, new Promise((resolve) => socket.once("open", resolve)), "open");
    return { socket, closed };
  };

  test("a client that is silent is closed, on WebSocket and after an upgrade", async () => {
    const direct = await connect("&EIO=3");
    await within(20_000, direct.closed, "close");
    const response = await request(timed.port, "/socket.io/?EIO=3&transport=polling");
    const { sid } = JSON.parse(/0(\{.*\})/.exec(response.text)[1]);
    const upgraded = await connect(`&EIO=3&sid=${sid}`);
    upgraded.socket.send("2probe");
    await within(10_000, new Promise((resolve) => upgraded.socket.once("message", resolve)), "3probe");
    upgraded.socket.send("5");
    await within(20_000, upgraded.closed, "close");
  });

  test("a client that pings lives", async () => {
    const { socket } = await connect("&EIO=3");
    const pongs = new Inbox();
    socket.on("message", (data) => data.toString() === "3" && pongs.push("3"));
    for (let count = 0; count < 6; count += 1) {
      socket.send("2");
      await pongs.next(10_000);
      await delay(300);
    }
    assert.equal(socket.readyState, WebSocket.OPEN);
    socket.close();
  });
});

describe("in a namespace with recovery", () => {
  test("an old client gets its events without positions, beside one of today that gets them", async () => {
    const kept = await startRelay(["--engine-allow-eio3", "true", "--recovery-window", "1m"]);
    try {
      const open = async (query) => {
        const socket = new WebSocket(`ws://127.0.0.1:${kept.port}/socket.io/?transport=websocket${query}`);
        const inbox = new Inbox();
        socket.on("message", (data) => inbox.push(data.toString()));
        await within(10_000, new Promise((resolve) => socket.once("open", resolve)), "open");
        await inbox.next(10_000);
        return { socket, next: () => inbox.next(10_000) };
      };
      const [old, today] = [await open("&EIO=3"), await open("&EIO=4")];
      assert.equal(await old.next(), "40");
      today.socket.send("40");
      assert.match(await today.next(), /^40\{"sid":".*","pid":".*"\}$/);
      for (const { socket, next } of [old, today]) {
        socket.send('421["join","room"]');
        assert.equal(await next(), '431[{"ok":true}]');
      }
      old.socket.send('422["publish","room","event",1,"é"]');
      assert.match(await today.next(), /^42\["event",1,"é","[\w.-]+"\]$/);
      assert.equal(await old.next(), '432[{"ok":true}]');
      today.socket.send('423["publish","room","event",[2]]');
      assert.equal(await old.next(), '42["event",[2]]');
      assert.equal(await today.next(), '433[{"ok":true}]');
      today.socket.send('424["publish","room","nothing"]');
      assert.equal(await old.next(), '42["nothing"]');
      for (const { socket } of [old, today]) socket.close();
    } finally {
      await kept.stop();
    }
  });
});

describe("without the setting", () => {
  test("revision 3 and no revision are refused before the upgrade", async () => {
    const strict = await startRelay();
    try {
      for (const query of ["&EIO=3", ""]) {
        const polling = await request(strict.port, `/socket.io/?transport=polling${query}`);
        assert.deepEqual([polling.status, polling.text], [400, '{"code":5,"message":"Unsupported protocol version"}']);
        assert.equal((await requestUpgrade(strict.port, `/socket.io/?transport=websocket${query}`)).status, 400);
      }
    } finally {
      await strict.stop();
    }
  });
});

function text(packet) {
  return `${packet.length}:${packet}`;
}

/** A packet of a binary payload. */
function frame(kind, packet) {
  const digits = [...String(packet.length)].map(Number);
  return Buffer.concat([Buffer.from([kind, ...digits, 255]), Buffer.from(packet, "latin1")]);
}
