// An application with handlers of its own: what the tests of the JavaScript client expect of their server, asked with real clients.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { call, CLIENTS, Clients, connected, disconnected, heard, next, refusal, TRANSPORTS } from "./lib/clients.mjs";
import { SOCKET_IO } from "./lib/engine.mjs";
import { request } from "./lib/http.mjs";
import { startClientSuite } from "./lib/target.mjs";

const BYTES = Buffer.from("asdfasdf");
const UTF8 = ["てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"];
const ISO_DATE = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/;

let server;
let clients;
before(async () => {
  server = await startClientSuite();
  clients = new Clients(server.url);
});
afterEach(() => clients.close());
after(() => server?.stop());

for (const [version, io] of Object.entries(CLIENTS)) {
  for (const [name, transport] of Object.entries(TRANSPORTS)) {
    const connect = (options) => clients.connect({ io, ...transport, ...options });

    describe(`client ${version}, ${name}`, () => {
      test("its id is the server's, in each namespace another, and not the session's", async () => {
        const main = await connect();
        const foo = main.io.socket("/foo");
        await connected(foo);
        assert.deepEqual(await call(main, "getId"), [main.id]);
        assert.deepEqual(await call(foo, "getId"), [foo.id]);
        assert.equal(new Set([main.id, foo.id, main.io.engine.id]).size, 3);
      });

      test("events are answered by events", async () => {
        const socket = await connect();
        for (const [ask, answer, ...args] of [
          ["hi", "hi"],
          ["false", "false", false],
          ["doge", "doge", BYTES],
          ["getbin", "takebin", BYTES],
        ]) {
          const answered = next(socket, answer);
          socket.emit(ask);
          assert.deepEqual(await answered, args, ask);
        }
        const inbox = heard(socket);
        socket.emit("getUtf8");
        assert.deepEqual(await inbox.take(5), UTF8.map((text) => ["takeUtf8", text]));
      });

      test("acks carry what was asked for", async () => {
        const socket = await connect();
        for (const value of [0, -1.5, "", "text", null, true, [], {}, [1, [2, { a: null }]], { "": { b: ["漢字 😀"] } }, BYTES, { bytes: [BYTES, { more: BYTES }] }]) {
          assert.deepEqual(await call(socket, "echo", value), [value]);
        }
        assert.match((await call(socket, "getAckDate", { ask: "now" }))[0], ISO_DATE);
      });

      test("dates arrive as text", async () => {
        const socket = await connect();
        const date = next(socket, "takeDate");
        socket.emit("getDate");
        assert.match((await date)[0], ISO_DATE);
        const object = next(socket, "takeDateObj");
        socket.emit("getDateObj");
        assert.match((await object)[0].date, ISO_DATE);
      });

      test("the server asks for an ack and judges the answer", async () => {
        const socket = await connect();
        const inbox = heard(socket);
        let answer = [4, { test: true }];
        socket.on("ack", (reply) => {
          reply(...answer);
          // A second answer counts for nothing.
          reply(5, { test: true });
        });
        socket.emit("ack");
        assert.equal((await inbox.next())[0], "ack");
        await call(socket, "echo", 1);
        answer = [5, { test: true }];
        socket.emit("ack");
        assert.equal((await inbox.next())[0], "ack");
        assert.deepEqual(await inbox.next(), ["got it"]);
        assert.equal(inbox.size, 0);
      });

      test("binary is recognised alone, within JSON and in order", async () => {
        const socket = await connect();
        const inbox = heard(socket);
        socket.emit("buffa", "not binary");
        socket.emit("buffa", BYTES);
        assert.deepEqual(await inbox.next(), ["buffack"]);
        socket.emit("jsonbuff", { hello: "lol", message: BYTES, goodbye: "gotcha" });
        assert.deepEqual(await inbox.next(), ["jsonbuff-ack"]);
        socket.emit("abuff1", BYTES);
        socket.emit("abuff2", "please arrive second");
        assert.deepEqual(await inbox.next(), ["abuff2-ack"]);
        await call(socket, "echo", 1);
        assert.equal(inbox.size, 0);
      });

      test("a refused connection carries the middleware's message, and no retry happens by itself", async () => {
        const refused = clients.socket({ io, ...transport, query: { fail: true } });
        const error = await refusal(refused);
        assert.ok(error instanceof Error);
        assert.equal(error.message, "Auth failed (main namespace)");
        assert.equal(error.data, undefined);
        assert.equal(refused.connected, false);
        const no = clients.socket({ io, ...transport, namespace: "/no" });
        assert.equal((await refusal(no)).message, "Auth failed (custom namespace)");
        // The middleware is the main namespace's, and the connection is still good for others.
        const foo = refused.io.socket("/foo");
        await connected(foo);
        assert.deepEqual(await call(foo, "getId"), [foo.id]);
      });

      test("the handshake shows query, auth and where it came from", async () => {
        const auth = { token: "a", deep: { b: [1] } };
        const socket = clients.socket({ io, ...transport, namespace: "/abc", query: { a: "b", "&c": "&=?d", e: "漢字" }, auth });
        const [handshake] = await next(socket, "handshake");
        assert.deepEqual(handshake.auth, auth);
        const { a, "&c": c, e, EIO, transport: name } = handshake.query;
        assert.deepEqual({ a, c, e, EIO }, { a: "b", c: "&=?d", e: "漢字", EIO: "4" });
        assert.ok(["polling", "websocket"].includes(name), name);
        assert.match(handshake.url, /^\/socket\.io\/\?/);
        assert.match(handshake.address, /^(::ffff:)?127\.0\.0\.1$/);
        assert.match(handshake.headers.host, new RegExp(`^127\\.0\\.0\\.1:${server.port}$`));
        assert.equal(handshake.secure, false);
        assert.ok(Math.abs(handshake.issued - Date.now()) < 60_000);
        assert.equal(typeof handshake.time, "string");
      });

      test("events before the connection are sent in order when it stands", async () => {
        const socket = clients.socket({ io, ...transport });
        const answers = [];
        const sent = Array.from({ length: 20 }, (_, i) => i);
        for (const i of sent) socket.emit("echo", i, (value) => answers.push(value));
        await call(socket, "echo", "last");
        assert.deepEqual(answers, sent);
      });
    });
  }
}

describe("namespaces", () => {
  for (const namespace of ["/foo", "/timeout_socket", "/valid", "/asd", "/abc"]) {
    test(`${namespace} exists`, async () => {
      assert.equal((await clients.connect({ namespace })).connected, true);
    });
  }

  test("an unknown one is refused", async () => {
    assert.equal((await refusal(clients.socket({ namespace: "/unknown" }))).message, "Invalid namespace");
  });

  test("have an auth each, while the query is the connection's", async () => {
    const main = await clients.connect({ query: { a: "b" }, auth: { who: "main" } });
    const abc = main.io.socket("/abc", { auth: { who: "abc" }, query: { x: "y" } });
    const [handshake] = await next(abc, "handshake");
    assert.deepEqual(handshake.auth, { who: "abc" });
    assert.equal(handshake.query.a, "b");
    assert.equal(handshake.query.x, undefined);
    const [own] = await call(main, "getHandshake");
    assert.deepEqual(own.auth, { who: "main" });
    assert.equal(own.query.a, "b");
  });

  test("show an absent auth as an empty object", async () => {
    const [handshake] = await call(await clients.connect(), "getHandshake");
    assert.deepEqual(handshake.auth, {});
  });

  test("show the request's headers, and whether it crosses origins", async () => {
    for (const [extraHeaders, xdomain] of [
      [{ "X-Custom": "value" }, false],
      [{ "X-Custom": "value", Origin: "https://elsewhere.example" }, true],
    ]) {
      for (const transport of Object.values(TRANSPORTS)) {
        const [handshake] = await call(await clients.connect({ ...transport, extraHeaders }), "getHandshake");
        assert.equal(handshake.headers["x-custom"], "value");
        assert.equal(handshake.xdomain, xdomain);
      }
    }
  });
});

describe("events that nobody listens to", () => {
  test("are never acknowledged", async () => {
    const socket = await clients.connect();
    let acknowledged = false;
    for (const event of ["unknown", "message", "connection", "error", "toString", "__proto__"]) {
      socket.emit(event, 1, () => {
        acknowledged = true;
      });
    }
    assert.deepEqual(await call(socket, "echo", 1), [1]);
    assert.equal(acknowledged, false);
  });

  test("run into the client's timeout, while others do not", async () => {
    const socket = await clients.connect();
    await assert.rejects(socket.timeout(100).emitWithAck("unknown"), /operation has timed out/);
    assert.equal(await socket.timeout(5_000).emitWithAck("echo", 42), 42);
  });

  test("are sent again by a client with retries, and acknowledged ones are not", async () => {
    const socket = await clients.connect({ retries: 2, ackTimeout: 100 });
    const packets = [];
    socket.io.engine.on("packetCreate", ({ type, data }) => type === "message" && packets.push(data));
    const failed = new Promise((resolve) => socket.emit("unknown", resolve));
    const echoed = new Promise((resolve) => socket.emit("echo", 1, (error, value) => resolve([error, value])));
    assert.ok((await failed) instanceof Error);
    assert.deepEqual(await echoed, [null, 1]);
    assert.equal(packets.filter((packet) => /unknown/.test(packet)).length, 3);
    assert.equal(packets.filter((packet) => /echo/.test(packet)).length, 1);
  });
});

describe("connections", () => {
  test("take about 10 ms to open, so that an impatient client gives up", async () => {
    const asked = performance.now();
    const { arrivedAt } = await request(server.port, `${SOCKET_IO}?EIO=4&transport=polling`);
    assert.ok(arrivedAt - asked >= 9, `${(arrivedAt - asked).toFixed(1)} ms`);
    for (const transports of [["polling"], ["websocket"]]) {
      assert.equal((await refusal(clients.socket({ transports, timeout: 0 }))).message, "timeout");
    }
    assert.deepEqual(await call(await clients.connect(), "echo", 1), [1]);
  });

  test("that break are made anew under another id", async () => {
    const socket = await clients.connect({ reconnection: true, reconnectionDelay: 10 });
    const former = socket.id;
    const again = next(socket, "connect");
    socket.io.engine.close();
    await again;
    assert.notEqual(socket.id, former);
    assert.deepEqual(await call(socket, "getId"), [socket.id]);
  });

  test("that the client ends and begins again at once are two", async () => {
    const socket = await clients.connect({ transports: ["websocket"] });
    const former = socket.id;
    const reason = disconnected(socket);
    socket.disconnect();
    assert.equal(await reason, "io client disconnect");
    socket.connect();
    await connected(socket);
    assert.notEqual(socket.id, former);
  });

  test("outlive several heartbeats", async () => {
    const sockets = await Promise.all(Object.values(TRANSPORTS).map((transport) => clients.connect(transport)));
    await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.io.on("ping", resolve))));
    for (const socket of sockets) assert.deepEqual(await call(socket, "getId"), [socket.id]);
  });

  for (const [name, spoil] of [
    ["a second CONNECT", (engine) => engine.write("0")],
    ["an undecodable packet", (engine) => engine.write("abc")],
    ["unannounced binary", (engine) => engine.write(BYTES)],
  ]) {
    for (const [transport, options] of Object.entries(TRANSPORTS)) {
      test(`are closed after ${name} (${transport})`, async () => {
        const socket = await clients.connect(options);
        const reason = disconnected(socket);
        spoil(socket.io.engine);
        assert.match(await reason, /^transport (close|error)$/);
      });
    }
  }
});
