// The contract of the relay events: rooms, recipients, and every refusal.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { call, Clients, heard, OK } from "./lib/clients.mjs";
import { startRelay } from "./lib/target.mjs";

const ROOMS_PER_SOCKET = 5;
const RESERVED = ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

let server;
let clients;
before(async () => {
  server = await startRelay(["--limits-rooms-per-socket", `${ROOMS_PER_SOCKET}`]);
  clients = new Clients(server.url);
});
afterEach(() => clients.close());
after(() => server?.stop());

const connect = () => clients.connect({ transports: ["websocket"] });

async function refused(socket, code, ...request) {
  const answer = await call(socket, ...request);
  assert.equal(answer.length, 1);
  const { message, ...error } = answer[0].error ?? {};
  assert.deepEqual([answer[0].ok, error], [false, { code }], JSON.stringify(answer));
  assert.equal(typeof message, "string");
  assert.notEqual(message, "");
  assert.deepEqual(Object.keys(answer[0]).sort(), ["error", "ok"]);
}

/** Everything that was under way to `sockets` has arrived once they have heard this. */
async function settled(sockets, inboxes) {
  const herald = await connect();
  await call(herald, "broadcast", "settled");
  const messages = [];
  for (const inbox of inboxes) {
    const mine = [];
    for (let message = await inbox.next(); message[0] !== "settled"; message = await inbox.next()) mine.push(message);
    messages.push(mine);
  }
  herald.disconnect();
  return messages;
}

describe("rooms", () => {
  test("are given as a string or as an array", async () => {
    const [ann, bob] = [await connect(), await connect()];
    const inbox = heard(bob);
    assert.deepEqual(await call(bob, "join", ["one", "two"]), [OK]);
    assert.deepEqual(await call(bob, "join", "three"), [OK]);
    for (const room of ["one", ["two"], "three", ["three", "nobody"]]) assert.deepEqual(await call(ann, "publish", room, "x", room), [OK]);
    assert.deepEqual(await call(bob, "leave", ["one", "three"]), [OK]);
    for (const room of ["one", "two", "three"]) await call(ann, "publish", room, "y", room);
    assert.deepEqual(await settled([bob], [inbox]), [
      [
        ["x", "one"],
        ["x", ["two"]],
        ["x", "three"],
        ["x", ["three", "nobody"]],
        ["y", "two"],
      ],
    ]);
  });

  test("are joined and left any number of times", async () => {
    const [ann, bob] = [await connect(), await connect()];
    const inbox = heard(bob);
    for (let i = 0; i < 3; i += 1) assert.deepEqual(await call(bob, "join", ["room", "room"]), [OK]);
    await call(ann, "publish", "room", "once");
    for (let i = 0; i < 3; i += 1) assert.deepEqual(await call(bob, "leave", "room"), [OK]);
    await call(ann, "publish", "room", "never");
    assert.deepEqual(await settled([bob], [inbox]), [[["once"]]]);
  });

  for (const room of ["__proto__", "toString", "a,b", "/", "#", "*", "a*", "room#", " ", "漢字 😀", "\u0000", '"', "x".repeat(200)]) {
    test(`may be called ${JSON.stringify(room.slice(0, 20))}, and no other is meant`, async () => {
      const [ann, bob, eve] = [await connect(), await connect(), await connect()];
      const inboxes = [heard(bob), heard(eve)];
      assert.deepEqual(await call(bob, "join", room), [OK]);
      assert.deepEqual(await call(eve, "join", `${room}x`), [OK]);
      assert.deepEqual(await call(ann, "publish", room, "hello"), [OK]);
      assert.deepEqual(await settled([bob, eve], inboxes), [[["hello"]], []]);
    });
  }

  test("are forgotten when their member disconnects", async () => {
    const [ann, bob] = [await connect(), await connect()];
    await call(bob, "join", "room");
    bob.disconnect().connect();
    const inbox = heard(bob);
    await call(bob, "echo");
    await call(ann, "publish", "room", "never");
    assert.deepEqual(await settled([bob], [inbox]), [[]]);
  });
});

describe("recipients", () => {
  test("get one copy when they are in several of the rooms, and the sender gets none", async () => {
    const sockets = [await connect(), await connect(), await connect(), await connect()];
    const [ann, bob, eve] = sockets;
    const inboxes = sockets.map(heard);
    await call(ann, "join", ["one", "two"]);
    await call(bob, "join", ["one", "two", "three"]);
    await call(eve, "join", "two");
    assert.deepEqual(await call(ann, "publish", ["one", "two", "three", "one"], "x", 1), [OK]);
    assert.deepEqual(await settled(sockets, inboxes), [[], [["x", 1]], [["x", 1]], []]);
  });

  test("of a broadcast are all but the sender", async () => {
    const sockets = [await connect(), await connect(), await connect()];
    const inboxes = sockets.map(heard);
    assert.deepEqual(await call(sockets[0], "broadcast", "x", 1), [OK]);
    assert.deepEqual(await settled(sockets, inboxes), [[], [["x", 1]], [["x", 1]]]);
  });

  test("need not include the sender's rooms: one may publish where one is not", async () => {
    const [ann, bob] = [await connect(), await connect()];
    const inbox = heard(bob);
    await call(bob, "join", "room");
    await call(ann, "publish", "room", "from outside");
    assert.deepEqual(await settled([bob], [inbox]), [[["from outside"]]]);
  });

  test("hear messages without an ack as well, and in order", async () => {
    const [ann, bob] = [await connect(), await connect()];
    const inbox = heard(bob);
    await call(bob, "join", "room");
    ann.emit("publish", "room", "first");
    ann.emit("broadcast", "second");
    ann.emit("publish", "room", "third");
    await call(ann, "echo");
    assert.deepEqual(await settled([bob], [inbox]), [[["first"], ["second"], ["third"]]]);
  });
});

describe("private rooms", () => {
  test("cannot be joined by others, and nothing leaks", async () => {
    const [ann, bob, eve] = [await connect(), await connect(), await connect()];
    const inbox = heard(eve);
    await refused(eve, "forbidden_room", "join", ann.id);
    await refused(eve, "forbidden_room", "join", ["harmless", ann.id]);
    eve.emit("join", ann.id);
    await call(eve, "echo");
    // Whether Bob may publish there is not the question; Eve must not hear it.
    await call(bob, "publish", ann.id, "secret");
    // The refused call joined none of its rooms.
    await call(bob, "publish", "harmless", "not joined");
    assert.deepEqual(await settled([eve], [inbox]), [[]]);
  });

  test("are not those that are as long as an id, as Firestore, Firebase and xid name things", async () => {
    const [ann, bob] = [await connect(), await connect()];
    const inbox = heard(bob);
    for (const room of ["Xq3vB0yT7mKd9RfLw2Zs", "-OaBcD3fGh1jKlMnOpQr", "9m4e2mr0ui3e8a215n4g"]) {
      await call(bob, "join", room);
      await call(ann, "publish", room, room);
      await call(bob, "leave", room);
      await call(ann, "publish", room, "left");
    }
    assert.deepEqual(await settled([bob], [inbox]), [[["Xq3vB0yT7mKd9RfLw2Zs"], ["-OaBcD3fGh1jKlMnOpQr"], ["9m4e2mr0ui3e8a215n4g"]]]);
  });

  test("stay private after their socket has left", async () => {
    const [ann, eve] = [await connect(), await connect()];
    const { id } = ann;
    ann.disconnect();
    await refused(eve, "forbidden_room", "join", id);
  });
});

describe("refusals", () => {
  const badRooms = [[], [1], [null], [true], [{}], [""], [[]], [["room", 1]], [["room", null]], [["room", ["nested"]]], [[""]], [Buffer.from("room")], [[Buffer.from("room")]]];
  const badEvents = [[], [1], [null], [false], [{}], [["event"]], [Buffer.from("event")], ...RESERVED.map((name) => [name])];

  for (const args of badRooms) {
    test(`bad_room for the room ${JSON.stringify(args)}`, async () => {
      const socket = await connect();
      await refused(socket, "bad_room", "join", ...args);
      await refused(socket, "bad_room", "leave", ...args);
      if (args.length > 0) await refused(socket, "bad_room", "publish", args[0], "event");
    });
  }

  for (const args of badEvents) {
    test(`bad_event for the event ${JSON.stringify(args)}`, async () => {
      const socket = await connect();
      const inbox = heard(await connect());
      await refused(socket, "bad_event", "publish", "room", ...args);
      await refused(socket, "bad_event", "broadcast", ...args);
      assert.deepEqual(await settled([], [inbox]), [[]]);
    });
  }

  for (const event of ["unknown", "", "JOIN", "join ", "toString", "__proto__", "constructor", "error", "message", 1]) {
    test(`unknown_event for ${JSON.stringify(event)}`, async () => {
      const socket = await connect();
      await refused(socket, "unknown_event", event, "room");
    });
  }

  test("too_many_rooms beyond the limit, and none of the call's rooms is joined", async () => {
    const [ann, bob] = [await connect(), await connect()];
    const inbox = heard(ann);
    for (let i = 1; i <= ROOMS_PER_SOCKET - 1; i += 1) assert.deepEqual(await call(ann, "join", `room ${i}`), [OK]);
    await refused(ann, "too_many_rooms", "join", ["room 5", "room 6"]);
    await call(bob, "publish", ["room 5", "room 6"], "not joined");
    assert.deepEqual(await call(ann, "join", "room 5"), [OK]);
    await refused(ann, "too_many_rooms", "join", "room 6");
    // A room that one is in already is not one more.
    assert.deepEqual(await call(ann, "join", ["room 1", "room 5"]), [OK]);
    assert.deepEqual(await call(ann, "leave", "room 1"), [OK]);
    assert.deepEqual(await call(ann, "join", "room 6"), [OK]);
    await call(bob, "publish", ["room 1", "room 6"], "joined");
    assert.deepEqual(await settled([ann], [inbox]), [[["joined"]]]);
  });

  test("without an ack are silent, and the connection goes on", async () => {
    const socket = await connect();
    for (const request of [["unknown"], ["join"], ["join", 1], ["publish"], ["publish", "room", "connect"], ["broadcast", null], ["leave", {}], ["echo", 1]]) socket.emit(...request);
    const inbox = heard(socket);
    assert.deepEqual(await call(socket, "echo", "still here"), ["still here"]);
    assert.equal(inbox.size, 0);
  });
});
