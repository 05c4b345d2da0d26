// Clients that come back to one node: the official client, and the bytes of one that shows what it should not.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { CLIENTS, Clients, OK, TRANSPORTS } from "./lib/clients.mjs";
import { SOCKET_IO, Ws } from "./lib/engine.mjs";
import { request } from "./lib/http.mjs";
import { metrics } from "./lib/metrics.mjs";
import { until } from "../../../testkit/js/wait.mjs";
import { REFERENCE, startRelay } from "./lib/target.mjs";

const skip = REFERENCE && "Node recovers in another way";
const KEY = "a key for the tests of recovery";
const OFFSET = /^[\w-]{8}\.\d{16}$/;

const SETTINGS = [
  "--recovery-window",
  "30s",
  "--recovery-namespaces",
  "/,/kept-*",
  "--namespaces",
  "/,/kept-*,/plain",
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

/** A member of `room` that comes back by itself and remembers everything that it got, without the offsets. */
async function member(room, options = {}) {
  const socket = clients.socket({ reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 100, ...TRANSPORTS["websocket only"], ...options });
  socket.got = [];
  socket.offsets = [];
  socket.onAny((...args) => {
    socket.offsets.push(args.pop());
    socket.got.push(args);
  });
  await new Promise((resolve) => socket.once("connect", resolve));
  if (room) assert.deepEqual(await socket.emitWithAck("join", room), OK);
  return socket;
}

/** Ends a client's connection; what `meanwhile` does it misses, however long that takes. Without that it comes back by itself. */
async function away(socket, meanwhile) {
  socket.io.reconnectionDelay(400);
  socket.io.reconnectionDelayMax(500);
  const back = new Promise((resolve) => socket.once("connect", resolve));
  socket.io.reconnection(!meanwhile);
  socket.io.engine.close();
  if (meanwhile) {
    await meanwhile();
    socket.io.reconnection(true);
    socket.connect();
  }
  await back;
}

async function publisher() {
  const socket = await clients.connect(TRANSPORTS["websocket only"]);
  return async (room, ...event) => assert.deepEqual(await socket.emitWithAck("publish", room, ...event), OK);
}

async function api(path, body) {
  const headers = { authorization: `Bearer ${KEY}`, "content-type": "application/json" };
  const answer = await request(server.internalPort, `/api/v1/${path}`, { method: "POST", headers, body: JSON.stringify({ namespace: "/", ...body }) });
  assert.equal(answer.status, 200, answer.text);
}

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  test(`by ${name}: whoever comes back has its id, its rooms and what it missed, again and again`, { skip }, async () => {
    const room = `again ${name}`;
    const [socket, publish] = [await member(room, transport), await publisher()];
    const id = socket.id;
    const expected = [];
    for (let round = 0; round < 4; round += 1) {
      await publish(room, "live", round);
      expected.push(["live", round]);
      await away(socket, async () => {
        for (let i = 0; i < 3; i += 1) {
          await publish(room, "missed", round, i);
          expected.push(["missed", round, i]);
        }
      });
      assert.equal(socket.recovered, true);
      assert.equal(socket.id, id);
      await publish(room, "after", round, Buffer.from("bytes"));
      expected.push(["after", round, Buffer.from("bytes")]);
      await until("everything", () => socket.got.length >= expected.length);
      assert.deepEqual(socket.got, expected);
    }
    assert.ok(socket.offsets.every((offset) => OFFSET.test(offset)));
    assert.deepEqual(socket.offsets, socket.offsets.toSorted());
    assert.deepEqual(await socket.emitWithAck("leave", room), OK);
    await away(socket, () => publish(room, "left"));
    assert.equal(socket.recovered, true);
    assert.deepEqual(socket.got, expected);
  });
}

test("quiet clients and clients without any event are recovered", { skip }, async () => {
  const [socket, publish] = [await member("quiet"), await publisher()];
  for (let round = 0; round < 3; round += 1) {
    await away(socket);
    assert.equal(socket.recovered, true);
  }
  await away(socket, () => publish("quiet", "first"));
  assert.equal(socket.recovered, true);
  await until("it", () => socket.got.length === 1);
});

test("a member of several rooms gets each event once, and what is not for it not at all", { skip }, async () => {
  const [socket, other, publish] = [await member(["several a", "several b"]), await member("several a"), await publisher()];
  const { id } = socket;
  await away(socket, async () => {
    await publish(["several a", "several b"], "both");
    await publish("several b", "b");
    await publish("elsewhere", "not");
    await api("emit", { rooms: ["several a"], except: [id], event: "excepted" });
    await api("emit", { rooms: [id], event: "direct", args: [1] });
    await api("emit", { rooms: ["several a"], event: "volatile", volatile: true });
    await api("emit", { event: "all" });
  });
  const expected = [["both"], ["b"], ["direct", 1], ["all"]];
  await until("what it missed", () => socket.got.length >= expected.length);
  assert.deepEqual(socket.got, expected);
  assert.deepEqual(
    other.got.map(([event]) => event),
    ["both", "excepted", "volatile", "all"],
  );
});

test("what others do to it while it is away and what comes live stay in order", { skip }, async () => {
  const [socket, publish] = [await member("order"), await publisher()];
  let sent = 0;
  let over = false;
  const sending = (async () => {
    for (; !over; sent += 1) {
      await publish("order", "n", sent);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  for (let round = 0; round < 5; round += 1) {
    await away(socket);
    assert.equal(socket.recovered, true);
    await until("what it missed", () => socket.got.length >= sent);
  }
  over = true;
  await sending;
  await until("all", () => socket.got.length >= sent);
  assert.deepEqual(
    socket.got.map(([, n]) => n),
    Array.from({ length: sent }, (_, n) => n),
  );
});

test("who was away for too much is told so, and is new", { skip }, async () => {
  const before = await metrics(server);
  const [socket, publish] = [await member("much"), await publisher()];
  const id = socket.id;
  await away(socket, async () => {
    for (let i = 0; i < 60; i += 1) await publish("much", "n", i);
  });
  assert.equal(socket.recovered, false);
  assert.notEqual(socket.id, id);
  assert.deepEqual(socket.got, []);
  assert.deepEqual(await socket.emitWithAck("join", "large"), OK);
  await away(socket, async () => {
    for (let i = 0; i < 5; i += 1) await publish("large", "n", "x".repeat(5_000));
  });
  assert.equal(socket.recovered, false);
  const after = await metrics(server);
  for (const result of ["trimmed", "too_large"]) {
    const name = `gateway_recovery_total{result="${result}"}`;
    assert.equal(after.get(name) - before.get(name), 1, result);
  }
  // The new session is as good as any.
  assert.deepEqual(await socket.emitWithAck("join", "large"), OK);
  await away(socket, () => publish("large", "after"));
  assert.equal(socket.recovered, true);
  await until("it", () => socket.got.length === 1);
});

test("who disconnects, or is disconnected, does not come back to its session", { skip }, async () => {
  const socket = await member("gone");
  socket.disconnect();
  socket.connect();
  await new Promise((resolve) => socket.once("connect", resolve));
  assert.equal(socket.recovered, false);
  await api("disconnect", { select: { sockets: [socket.id] } });
  await until("disconnected", () => !socket.connected);
  socket.connect();
  await new Promise((resolve) => socket.once("connect", resolve));
  assert.equal(socket.recovered, false);
});

/** A CONNECT by hand: the answer. */
async function connectWith(auth) {
  const ws = await Ws.session(server.port, { path: SOCKET_IO });
  ws.send(`40${JSON.stringify(auth)}`);
  const answer = await ws.next();
  assert.match(answer, /^40/);
  return [JSON.parse(answer.slice(2)), ws];
}

test("what is no pid, or nobody's, begins a new session", { skip }, async () => {
  const [{ pid }, first] = await connectWith({});
  const unknown = `${pid.startsWith("A") ? "B" : "A"}${pid.slice(1)}`;
  const before = await metrics(server);
  for (const auth of [{ pid: unknown }, { pid: "x" }, { pid: 7 }, { pid: "" }, { pid, offset: "x" }, { pid: unknown, offset: 5 }, { pid: null }, { offset: "x" }]) {
    const [answer, ws] = await connectWith(auth);
    assert.ok(answer.sid && answer.pid && answer.pid !== pid, JSON.stringify(auth));
    ws.close();
  }
  const after = await metrics(server);
  const counted = (result) => after.get(`gateway_recovery_total{result="${result}"}`) - before.get(`gateway_recovery_total{result="${result}"}`);
  assert.deepEqual([counted("unknown"), counted("malformed")], [2, 3]);
  first.close();
});

test("whoever comes back while the old connection still stands takes its place", { skip }, async () => {
  const [first, old] = await connectWith({});
  old.send('420["join","half-open"]');
  assert.equal(await old.next(), '430[{"ok":true}]');
  const publish = await publisher();
  const [again, fresh] = await connectWith({ pid: first.pid });
  assert.deepEqual([again.sid, again.pid], [first.sid, first.pid]);
  await old.closed;
  await publish("half-open", "x");
  assert.match(await fresh.next(), /^42\["x","[\w.-]+"\]$/);
  const [third, last] = await connectWith({ pid: first.pid });
  assert.equal(third.sid, first.sid);
  // It shows no offset, so it gets the event again.
  assert.match(await last.next(), /^42\["x","[\w.-]+"\]$/);
  last.close();
});

test("namespaces are recovered each for itself, and others are as before", { skip }, async () => {
  const ws = await Ws.session(server.port, { path: SOCKET_IO });
  ws.send("40/plain,");
  const plain = await ws.next();
  assert.match(plain, /^40\/plain,\{"sid":"[\w-]{20}"\}$/);
  ws.send('40/plain,{"pid":"x"}');
  await ws.closed;
  const other = clients.socket({ namespace: "/plain", ...TRANSPORTS["websocket only"] });
  const got = new Promise((resolve) => other.once("x", (...args) => resolve(args)));
  await new Promise((resolve) => other.once("connect", resolve));
  await api("emit", { namespace: "/plain", event: "x", args: [1] });
  assert.deepEqual(await got, [1]);
  const kept = await member("r", { namespace: "/kept-1" });
  await away(kept, () => api("emit", { namespace: "/kept-1", rooms: ["r"], event: "y" }));
  assert.equal(kept.recovered, true);
  await until("it", () => kept.got.length === 1);
});

test("clients that know nothing of recovery see one argument more", { skip }, async () => {
  const old = clients.socket({ io: CLIENTS["4.4.1"], ...TRANSPORTS["websocket only"] });
  await new Promise((resolve) => old.once("connect", resolve));
  await new Promise((resolve) => old.emit("join", "old", resolve));
  const got = new Promise((resolve) => old.once("x", (...args) => resolve(args)));
  const publish = await publisher();
  await publish("old", "x", 1);
  const [one, offset, ...rest] = await got;
  assert.deepEqual([one, rest], [1, []]);
  assert.match(offset, OFFSET);
});

test("a client that is away for longer than the window is new", { skip }, async () => {
  const short = await startRelay(["--recovery-window", "1s"]);
  try {
    const ws = await Ws.session(short.port, { path: SOCKET_IO });
    ws.send("40");
    const { pid } = JSON.parse((await ws.next()).slice(2));
    ws.close();
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    const late = await Ws.session(short.port, { path: SOCKET_IO });
    late.send(`40${JSON.stringify({ pid })}`);
    assert.notEqual(JSON.parse((await late.next()).slice(2)).pid, pid);
    const series = await metrics(short);
    const gone = series.get('gateway_recovery_total{result="expired"}') + series.get('gateway_recovery_total{result="unknown"}');
    assert.equal(gone, 1);
    late.close();
  } finally {
    await short.stop();
  }
});
