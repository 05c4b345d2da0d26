// Joins with history: the past of a room comes before what is new, without a hole and without anything twice.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Clients, OK, TRANSPORTS } from "./lib/clients.mjs";
import { SOCKET_IO, Ws } from "./lib/engine.mjs";
import { request } from "./lib/http.mjs";
import { metrics } from "./lib/metrics.mjs";
import { until } from "../../../testkit/js/wait.mjs";
import { REFERENCE, startRelay } from "./lib/target.mjs";

const skip = REFERENCE && "Node keeps no history";
const KEY = "a key for the tests of history";
const SECRET = "a secret for the tests of history";
const OFFSET = /^[\w-]{8}\.\d{16}$/;

const SETTINGS = [
  "--recovery-window",
  "30s",
  "--recovery-namespaces",
  "/",
  "--namespaces",
  "/,/plain",
  "--recovery-max-messages",
  "50",
  "--recovery-replay-bytes",
  "20kB",
  "--api-key",
  KEY,
];

let server;
let clients;
before(async () => {
  if (skip) return;
  server = await startRelay(SETTINGS);
  clients = new Clients(server.url);
});
after(async () => {
  clients?.close();
  await server?.stop();
});

/** A client that remembers everything that it got, without the offsets. */
async function client(options = {}) {
  const socket = clients.socket({ ...TRANSPORTS["websocket only"], ...options });
  socket.got = [];
  socket.offsets = [];
  socket.onAny((...args) => {
    socket.offsets.push(args.pop());
    socket.got.push(args);
  });
  await new Promise((resolve) => socket.once("connect", resolve));
  return socket;
}

/** Joins, and returns what came before the acknowledgement as well. */
async function join(socket, rooms, past) {
  const answer = await socket.emitWithAck("join", rooms, past);
  return { ...answer, before: socket.got.length };
}

function whole(answer, is = true) {
  assert.deepEqual([answer.ok, answer.complete], [true, is], JSON.stringify(answer));
  assert.match(answer.offset, OFFSET);
}

async function api(method, path, body) {
  const headers = { authorization: `Bearer ${KEY}`, "content-type": "application/json" };
  const answer = await request(server.internalPort, `/api/v1/${path}`, { method, headers, body: body && JSON.stringify(body) });
  assert.equal(answer.status, 200, answer.text);
  return JSON.parse(answer.text);
}

const emit = (room, event, ...args) => api("POST", "emit", { rooms: [room].flat(), event, args });

/** Publishes numbers to a room until it is stopped. */
class Stream {
  sent = 0;
  acknowledged = 0;
  #over = false;

  static async start(room, pause = 1) {
    const stream = new Stream();
    const socket = await clients.connect(TRANSPORTS["websocket only"]);
    const publish = async () => {
      while (!stream.#over) {
        const number = stream.sent;
        stream.sent += 1;
        // Several are under way; one sender's events stay in order.
        const done = socket.emitWithAck("publish", room, "n", number).then((answer) => {
          assert.deepEqual(answer, OK);
          stream.acknowledged += 1;
        });
        if (number % 5 === 0) await done;
        if (number % 3 === 0) await delay(pause);
      }
    };
    stream.running = publish();
    return stream;
  }

  async stop() {
    this.#over = true;
    await this.running;
    await until("all acknowledged", () => this.acknowledged === this.sent);
  }
}

const numbers = (socket, event = "n") => socket.got.filter(([name]) => name === event).map(([, number]) => number);

function gapless(numbers, what) {
  const first = numbers[0];
  const expected = numbers.map((_, index) => first + index);
  assert.deepEqual(numbers, expected, what);
}

test("whoever joins a running stream with its past gets it without a hole, and nothing twice", { skip }, async () => {
  const stream = await Stream.start("stream");
  await until("some events", () => stream.acknowledged > 60);
  for (let round = 0; round < 40; round += 1) {
    const want = [0, 1, 5, 20][round % 4];
    const sockets = await Promise.all([client(), client(), client()]);
    const known = stream.acknowledged;
    const answers = await Promise.all(sockets.map((socket) => join(socket, "stream", { rewind: want })));
    const { sent } = stream;
    await until("live events", () => sockets.every((socket, index) => socket.got.length > answers[index].before + 3));
    for (const [index, socket] of sockets.entries()) {
      whole(answers[index]);
      const got = numbers(socket);
      gapless(got, `round ${round}`);
      assert.ok(answers[index].before >= want, "the past comes before the acknowledgement");
      assert.ok(got[0] >= known - want && got[0] <= sent - want, `${got[0]} for ${want} of ${known} to ${sent}`);
      socket.disconnect();
    }
  }
  await stream.stop();
});

test("a member of a running stream that joins other rooms with their past loses nothing", { skip }, async () => {
  for (let i = 0; i < 20; i += 1) await emit(`other ${i % 2}`, "old", i);
  // Slow enough that a client that is away for a moment is recovered, with a log of 50 events.
  const stream = await Stream.start("base", 30);
  const socket = await client({ reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 30 });
  assert.deepEqual(await socket.emitWithAck("join", "base"), OK);
  for (let round = 0; round < 30; round += 1) {
    const room = `other ${round % 2}`;
    if (round % 3 === 0) {
      // Everything that has arrived is handled before the connection ends, as the client has it.
      const back = new Promise((resolve) => socket.once("connect", resolve));
      socket.once("old", () => setImmediate(() => socket.io.engine.close()));
      socket.emit("join", room, { rewind: 8 });
      await back;
      assert.equal(socket.recovered, true);
    } else {
      whole(await join(socket, room, { rewind: 8 }));
    }
    const { sent } = stream;
    await until("what is new", () => numbers(socket).at(-1) > sent);
    gapless(numbers(socket), `round ${round}`);
    assert.deepEqual(await socket.emitWithAck("leave", room), OK);
  }
  await stream.stop();
});

/** A client by hand, that comes back with the offset of the last event that it took, wherever that is. */
class Hand {
  numbers = [];
  #auth = {};

  async connect() {
    this.ws = await Ws.session(server.port, { path: SOCKET_IO });
    this.ws.send(`40${JSON.stringify(this.#auth)}`);
    const { sid, pid } = JSON.parse((await this.ws.next()).slice(2));
    if (this.sid) assert.equal(sid, this.sid, "recovered");
    this.sid = sid;
    this.#auth = { ...this.#auth, pid };
  }

  /** The next event that is none of the stream; those of the stream are noted. */
  async event() {
    for (;;) {
      const text = await this.ws.next();
      const acknowledgement = /^43\d+/.exec(text);
      if (acknowledgement) return ["acknowledged", ...JSON.parse(text.slice(acknowledgement[0].length))];
      const [event, number, offset] = JSON.parse(text.slice(2));
      this.#auth.offset = offset;
      if (event !== "n") return [event, number];
      this.numbers.push(number);
    }
  }
}

test("a client that is cut off in the middle of the past comes back with everything, once", { skip }, async () => {
  for (let i = 0; i < 10; i += 1) await emit("cut", "old", i);
  const stream = await Stream.start("cut base", 30);
  const hand = new Hand();
  await hand.connect();
  hand.ws.send('420["join","cut base"]');
  assert.equal((await hand.event())[0], "acknowledged");
  for (let round = 0; round < 30; round += 1) {
    hand.ws.send('421["join","cut",{"rewind":8}]');
    for (let count = 0; count <= round % 8; count += 1) assert.deepEqual(await hand.event(), ["old", 2 + count]);
    hand.ws.socket.terminate();
    await hand.connect();
    hand.ws.send('422["leave","cut"]');
    assert.equal((await hand.event())[0], "acknowledged");
    gapless(hand.numbers, `round ${round}`);
  }
  await stream.stop();
  hand.ws.close();
});

test("of several rooms each event comes once, and in order", { skip }, async () => {
  for (let i = 0; i < 6; i += 1) await emit([["two a"], ["two b"], ["two a", "two b"]][i % 3], "n", i);
  const socket = await client();
  const answer = await join(socket, ["two a", "two b"], { rewind: 3 });
  whole(answer);
  assert.deepEqual(numbers(socket), [2, 3, 4, 5]);
  assert.equal(answer.before, 4);
  assert.ok(socket.offsets.every((offset) => OFFSET.test(offset.split("~")[0])));
  await emit(["two a", "two b"], "n", 6);
  await until("live", () => socket.got.length > 4);
  assert.deepEqual(numbers(socket), [2, 3, 4, 5, 6]);
});

test("a client goes on behind an offset, and is told when something is gone", { skip }, async () => {
  const first = await client();
  const nothing = await join(first, "after", { rewind: 5 });
  whole(nothing);
  for (let i = 0; i < 5; i += 1) await emit("after", "n", i);
  await until("them", () => first.got.length === 5);
  // Behind where a join was, an event that came live, and an event of the past.
  const later = await client();
  whole(await join(later, "after", { after: nothing.offset }));
  assert.deepEqual(numbers(later), [0, 1, 2, 3, 4]);
  for (const offset of [first.offsets[2], later.offsets[2]]) {
    const socket = await client();
    const answer = await join(socket, "after", { after: offset });
    whole(answer);
    assert.deepEqual(numbers(socket), [3, 4]);
    const again = await client();
    whole(await join(again, "after", { after: answer.offset }));
    assert.deepEqual(again.got, []);
  }
  const elsewhere = await client();
  whole(await join(elsewhere, "after", { after: `AAAAAAAA.${nothing.offset.slice(9)}` }), false);
  assert.deepEqual(numbers(elsewhere), [0, 1, 2, 3, 4]);
  for (let i = 5; i < 60; i += 1) await emit("after", "n", i);
  const late = await client();
  whole(await join(late, "after", { after: nothing.offset }), false);
  // An eighth more than the setting says may be there, since many are dropped at once.
  const kept = numbers(late);
  assert.ok(kept.length >= 50 && kept.length <= 56, `${kept.length} are kept`);
  assert.deepEqual(kept, Array.from({ length: kept.length }, (_, i) => i + 60 - kept.length));
  const most = await client();
  whole(await join(most, "after", { rewind: 1000 }));
  assert.equal(most.got.length, 50);
});

test("of too much the newest come, and that is told", { skip }, async () => {
  for (let i = 0; i < 40; i += 1) await emit("large", "n", i, "x".repeat(1_000));
  const socket = await client();
  whole(await join(socket, "large", { rewind: 40 }), false);
  const got = numbers(socket);
  gapless(got);
  assert.ok(got.length > 10 && got.length < 25, `${got.length}`);
  assert.equal(got.at(-1), 39);
});

test("what was not for a socket is not in its past, and bytes are", { skip }, async () => {
  const socket = await client();
  assert.deepEqual(await socket.emitWithAck("join", "left out"), OK);
  assert.deepEqual(await socket.emitWithAck("publish", "mixed", "mine"), OK);
  await api("POST", "emit", { rooms: ["mixed"], except: ["left out"], event: "excepted" });
  await api("POST", "emit", { rooms: ["mixed"], except: [socket.id], event: "excepted" });
  await api("POST", "emit", { rooms: ["mixed"], event: "volatile", volatile: true });
  await api("POST", "emit", { rooms: ["mixed"], event: "bytes", args: [{ x: { $binary: "AAEC" } }] });
  whole(await join(socket, "mixed", { rewind: 10 }));
  assert.deepEqual(socket.got, [["bytes", { x: Buffer.from([0, 1, 2]) }]]);
  const other = await client();
  whole(await join(other, "mixed", { rewind: 10 }));
  assert.deepEqual(
    other.got.map(([event]) => event),
    ["mine", "excepted", "excepted", "bytes"],
  );
});

test("a member that joins again with history misses nothing live", { skip }, async () => {
  const stream = await Stream.start("again");
  const socket = await client();
  assert.deepEqual(await socket.emitWithAck("join", "again"), OK);
  for (let round = 0; round < 10; round += 1) {
    const before = socket.got.length;
    whole(await join(socket, "again", { rewind: 0 }));
    await until("live events", () => socket.got.length > before + 5);
  }
  gapless(numbers(socket));
  await stream.stop();
});

test("where there is no history, and for what is none, that is told", { skip }, async () => {
  const code = async (socket, ...args) => (await socket.emitWithAck("join", ...args)).error?.code;
  const plain = await clients.connect({ namespace: "/plain", ...TRANSPORTS["websocket only"] });
  assert.equal(await code(plain, "r", { rewind: 5 }), "no_history");
  assert.equal(await code(plain, "r"), undefined);
  const socket = await client();
  for (const bad of [{}, { rewind: -1 }, { rewind: "1" }, { after: "x" }, { rewind: 1, after: "x" }, { more: 1 }]) {
    assert.equal(await code(socket, "r", bad), "bad_history", JSON.stringify(bad));
  }
  assert.equal(await code(socket, Array.from({ length: 101 }, (_, i) => `r${i}`), { rewind: 1 }), "too_many_rooms");
  assert.equal(await code(socket, "$user:ann", { rewind: 1 }), "forbidden_room");
  assert.equal(await code(socket, (await client()).id, { rewind: 1 }), "forbidden_room");
  // Nothing was joined, and nothing is held back.
  await emit("r", "no member");
  await emit(socket.id, "direct");
  await until("it", () => socket.got.length > 0);
  assert.deepEqual(socket.got, [["direct"]]);
  for (const ignored of [null, 5, "x", ["y"]]) assert.deepEqual(await socket.emitWithAck("join", "r", ignored), OK);
});

function token(claims) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: "HS256", typ: "JWT" })}.${part({ exp: 4_000_000_000, ...claims })}`;
  return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
}

test("whose token allows a room may read its past, and nobody else", { skip }, async () => {
  const guarded = await startRelay([...SETTINGS, "--auth-jwt-secret", SECRET]);
  const own = new Clients(guarded.url);
  try {
    const connect = async (claims) => {
      const socket = await own.connect({ auth: { token: token(claims) }, ...TRANSPORTS["websocket only"] });
      socket.got = [];
      socket.onAny((...args) => socket.got.push(args));
      return socket;
    };
    const ann = await connect({ sub: "ann", rooms: { "*": ["publish"] } });
    for (const room of ["open", "secret"]) assert.deepEqual(await ann.emitWithAck("publish", room, room), OK);
    const bob = await connect({ sub: "bob", rooms: { open: ["join"] } });
    for (const rooms of ["secret", ["open", "secret"]]) {
      const refused = await bob.emitWithAck("join", rooms, { rewind: 5 });
      assert.equal(refused.error.code, "forbidden");
    }
    assert.deepEqual(bob.got, []);
    whole(await bob.emitWithAck("join", "open", { rewind: 5 }));
    assert.deepEqual(
      bob.got.map(([event]) => event),
      ["open"],
    );
  } finally {
    own.close();
    await guarded.stop();
  }
});

test("a client that nobody waits for, or that is gone meanwhile, leaves nothing behind", { skip }, async () => {
  await emit("gone", "old");
  for (let round = 0; round < 20; round += 1) {
    const socket = await client();
    socket.emit("join", "gone", { rewind: 5 });
    if (round % 2 === 0) await delay(round % 5);
    socket.disconnect();
  }
  const socket = await client();
  socket.emit("join", "gone", { rewind: 5 });
  await until("the past", () => socket.got.length === 1);
  const found = await metrics(server);
  assert.ok(found.get("gateway_recovery_history_events_total") > 0);
});
