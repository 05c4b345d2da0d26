// What has to work between servers of every kind, in both directions.
import assert from "node:assert/strict";
import { it } from "node:test";
import { Client } from "./clients.mjs";
import { until } from "../../../../testkit/js/wait.mjs";

/** Names that mean something in globs, in channels, or to a parser of numbers. */
export const AWKWARD = ["a#b", "#", "##x#", "*", "x[ab]?\\", "h[^e]llo*", "{slot}", "42", "-0", "ü 日本", "a,b", "__proto__", 'q"\'\n'];

const NESTED = { list: [1, -2.5, "x", null, { deep: [true, { deeper: "ü" }] }], empty: {}, none: [] };
const BYTES = Buffer.from([0, 1, 2, 127, 128, 255]);

/** The world's first gateway's first client, and others, in rooms. */
async function fill(world) {
  const rooms = { r1: [], r2: [] };
  const [first, second, ...rest] = world.servers.map(({ id }) => id);
  const members = { r1: [`${first}/polling`, `${second}/websocket`], r2: [`${first}/polling`, `${second}/polling`] };
  for (const id of rest) {
    members.r1.push(`${id}/polling`);
    members.r2.push(`${id}/websocket`);
  }
  for (const room of Object.keys(rooms)) for (const name of members[room]) await world.client(name).join(room);
  return members;
}

/** Declares the tests of broadcasts in `world()`, by every sender that there is. */
export function broadcasts(world, senderNames) {
  let members;
  const both = (one, other) => [...new Set([...one, ...other])];
  it("rooms are joined on every server", async () => {
    members = await fill(world());
  });
  for (const name of senderNames) {
    const emit = (...args) => world().senders().get(name)(...args);
    const expect = (names, events) => world().expect(emit, names, events);
    it(`${name} reaches everybody`, async () => {
      emit({}, "all", 1, "two");
      await expect(world().names, [["all", 1, "two"]]);
    });
    it(`${name} reaches one room, several, and leaves some out, each once`, async () => {
      emit({ rooms: ["r1"] }, "one", 1);
      await expect(members.r1, [["one", 1]]);
      emit({ rooms: ["r1", "r2"] }, "two");
      await expect(both(members.r1, members.r2), [["two"]]);
      emit({ rooms: ["r1"], except: ["r2"] }, "except");
      await expect(members.r1.filter((it) => !members.r2.includes(it)), [["except"]]);
      emit({ except: ["r1"] }, "others");
      await expect(world().names.filter((it) => !members.r1.includes(it)), [["others"]]);
      emit({ rooms: ["nobody is here"] }, "nobody");
      await expect([], []);
    });
    it(`${name} reaches single sockets by their id`, async () => {
      for (const [client, { id }] of world().clients) {
        emit({ rooms: [id] }, "you", client);
        await expect([client], [["you", client]]);
      }
      const [[one, { id }]] = world().clients;
      emit({ except: [id] }, "not you");
      await expect(world().names.filter((it) => it !== one), [["not you"]]);
    });
    it(`${name} sends binary and nested values`, async () => {
      const args = ["things", BYTES, NESTED, { in: [BYTES, { deep: Buffer.alloc(0) }] }, null, "", 2 ** 53 - 1, -1.5e-300];
      emit({}, ...args);
      await expect(world().names, [args]);
      emit({ rooms: ["r1"] }, ...args);
      await expect(members.r1, [args]);
    });
    it(`${name} keeps its order`, async () => {
      const numbers = [...Array(99).keys()];
      for (const number of numbers) emit([{}, { rooms: ["r1"] }, { rooms: ["r1", "r2"] }][number % 3], "n", number);
      const heard = await world().heard(emit);
      for (const client of members.r1) assert.deepEqual(heard.get(client), numbers.map((number) => ["n", number]));
    });
    it(`${name} sends volatile events to who is ready`, async () => {
      emit({ volatile: true }, "now or never");
      const heard = await world().heard(emit);
      for (const events of heard.values()) assert.deepEqual(events, [["now or never"]]);
      // A polling client is ready only while a poll of it waits.
      for (const client of world().names) if (client.endsWith("/websocket")) assert.ok(heard.has(client), client);
    });
  }
  it("clients of the relay reach members on every server", async () => {
    for (const { id } of world().gateways.filter((gateway) => gateway.relay)) {
      for (const transport of ["polling", "websocket"]) {
        const client = world().client(`${id}/${transport}`);
        const emit = (_whom, ...args) => client.socket.emit("broadcast", ...args);
        const others = world().names.filter((it) => it !== client.name);
        client.socket.emit("publish", "r1", "published", BYTES, NESTED);
        client.socket.emit("publish", ["r1", "r2"], "twice");
        client.socket.emit("broadcast", "to all");
        const heard = await world().heard(emit, others);
        for (const name of others) {
          const wanted = [["to all"]];
          if (both(members.r1, members.r2).includes(name)) wanted.unshift(["twice"]);
          if (members.r1.includes(name)) wanted.unshift(["published", BYTES, NESTED]);
          assert.deepEqual(heard.get(name), wanted, name);
        }
        assert.equal(client.inbox.size, 0);
      }
    }
  });
  it("rooms may have any name", async () => {
    const name = world().servers.at(-1).id;
    const inRoom = [world().names[0], `${name}/polling`];
    for (const client of inRoom) await world().client(client).join(...AWKWARD);
    for (const sender of senderNames) {
      const emit = world().senders().get(sender);
      for (const room of AWKWARD) {
        emit({ rooms: [room] }, "in", room);
        await world().expect(emit, inRoom, [["in", room]]);
      }
      emit({ rooms: AWKWARD }, "in all");
      await world().expect(emit, inRoom, [["in all"]]);
      for (const near of ["a", "a#", "b", "x", "xa", "hallo", "hello", "4", "42.0", "042", "0"]) emit({ rooms: [near] }, "near", near);
      await world().expect(emit, [], []);
    }
  });
}

/** Declares the tests of questions and changes, asked by Node and by the node `asking`. */
export function questions(world, asking, { allRooms = true } = {}) {
  const ask = (...args) => world().client(`${asking}/websocket`).call(...args);
  const relays = () => world().gateways.filter((gateway) => gateway.relay).map(({ id }) => id);
  const ids = () => [...world().clients.values()].map(({ id }) => id).sort();
  const found = (sockets) => sockets.map(({ id }) => id).sort();

  it("acknowledgements of clients on every server reach Node", async () => {
    const { io } = world().node;
    assert.deepEqual((await io.timeout(20_000).emitWithAck("who?", 1)).sort(), world().names.sort());
    const binary = await io.timeout(20_000).emitWithAck("binary?");
    assert.deepEqual(binary.map(String).sort(), world().names.sort());
    const all = world().names;
    const some = [world().client(all[0]), world().client(all.at(-1))];
    const answers = await io.to(some.map(({ id }) => id)).timeout(20_000).emitWithAck("who?", BYTES);
    assert.deepEqual(answers.sort(), some.map(({ name }) => name).sort());
    await assert.rejects(io.timeout(500).emitWithAck("silent"), (error) => Array.isArray(error.responses));
    await drain(world());
  });
  it("acknowledgements of clients on every server reach a gateway node", async () => {
    const { answers, complete } = await ask("emit_with_ack", { timeout: 20_000 }, "who?", 1);
    assert.deepEqual(answers.sort(), world().names.sort());
    assert.ok(complete);
    const silent = await ask("emit_with_ack", { timeout: 500 }, "silent");
    assert.equal(silent.complete, false);
    assert.equal(silent.expected, world().clients.size);
    await drain(world());
  });
  it("both find the sockets of every server", async () => {
    const { io } = world().node;
    const theirs = await io.fetchSockets();
    assert.deepEqual(found(theirs), ids());
    for (const { id, rooms, data, handshake } of theirs) {
      assert.ok(rooms.has(id));
      assert.ok(handshake.query && handshake.address && handshake.headers, id);
      const client = [...world().clients.values()].find((client) => client.id === id);
      if (!client.server.relay) assert.deepEqual(data, { from: client.server.id === "node" ? "node" : "cluster_node" });
    }
    const ours = await ask("fetch_sockets", {});
    assert.deepEqual(found(ours.found), ids());
    assert.deepEqual([ours.missing_nodes, ours.missing_others], [[], 0]);
    for (const { id, node } of ours.found) {
      const client = [...world().clients.values()].find((client) => client.id === id);
      assert.equal(node, client.server.id === "node" ? null : client.server.id);
    }
    const inRoom = found(await io.in("r1").fetchSockets());
    assert.deepEqual(found((await ask("fetch_sockets", { rooms: ["r1"] })).found), inRoom);
    const outside = await io.except("r1").fetchSockets();
    assert.deepEqual([...inRoom, ...found(outside)].sort(), ids());
    assert.deepEqual(found((await ask("fetch_sockets", { except: ["r1"] })).found), found(outside));
  });
  if (allRooms) it("both find the rooms of every server", async () => {
    const theirs = await world().node.io.of("/").adapter.allRooms();
    const ours = await ask("all_rooms");
    assert.deepEqual([...theirs].sort(), ours.found.sort());
    for (const room of ["r1", "r2", ...ids()]) assert.ok(theirs.has(room), room);
    assert.deepEqual([ours.missing_nodes, ours.missing_others], [[], 0]);
  });
  it("both make sockets of every server join and leave rooms", async () => {
    const { io } = world().node;
    const members = async (room) => found(await io.in(room).fetchSockets());
    const changes = {
      node: {
        join: (rooms, to) => io.to(rooms).socketsJoin(to),
        leave: (rooms, from) => io.to(rooms).socketsLeave(from),
      },
      [asking]: {
        join: (rooms, to) => ask("sockets_join", { rooms }, to),
        leave: (rooms, from) => ask("sockets_leave", { rooms }, from),
      },
    };
    for (const [name, { join, leave }] of Object.entries(changes)) {
      const before = await members("r1");
      await join(["r1"], [`${name} 1`, `${name} 2`]);
      // Node's nodes hear every room. Ours hear one that a Node server made them join when they have subscribed to it.
      if (name === "node") for (const room of [`${name} 1`, `${name} 2`]) await until(`members of r1 are in ${room}`, async () => `${await members(room)}` === `${before}`);
      const emit = world().senders().get(name);
      emit({ rooms: [`${name} 1`] }, "moved");
      await world().expect(emit, world().names.filter((it) => before.includes(world().client(it).id)), [["moved"]]);
      await leave([], [`${name} 1`]);
      await until(`members of r1 are in ${name} 2`, async () => `${await members(`${name} 2`)}` === `${before}`);
      await until(`nobody is in ${name} 1`, async () => (await members(`${name} 1`)).length === 0);
      assert.deepEqual(await members(`${name} 2`), before);
    }
  });
  it("both disconnect sockets of every server", async () => {
    const { io } = world().node;
    const disconnect = {
      node: (rooms, close) => io.to(rooms).disconnectSockets(close),
      [asking]: (rooms, close) => ask("disconnect_sockets", { rooms }, close),
    };
    for (const [name, act] of Object.entries(disconnect)) {
      for (const close of [false, true]) {
        const clients = await Promise.all(world().servers.map((server, number) => Client.open(server, ["polling", "websocket"][number % 2])));
        for (const client of clients) await client.join(`${name} ${close}`);
        const gone = clients.map(({ socket }) => new Promise((resolve) => socket.once("disconnect", resolve)));
        await act([`${name} ${close}`], close);
        for (const reason of await Promise.all(gone)) assert.match(reason, /^(io server disconnect|transport close)$/);
      }
    }
    assert.deepEqual(found((await ask("fetch_sockets", {})).found), ids());
  });
  it("events between servers reach those that handle them", async () => {
    const { io } = world().node;
    const listener = new Promise((resolve) => io.once("from the gateway", (...args) => resolve(args)));
    await ask("server_side_emit", "from the gateway", 1, NESTED);
    assert.deepEqual(await listener, [1, NESTED]);
    const handling = world().gateways.filter((gateway) => !gateway.relay);
    io.serverSideEmit("hello", 1, "two", NESTED);
    for (const { id } of handling) {
      for (const transport of ["polling", "websocket"]) assert.deepEqual(await world().client(`${id}/${transport}`).next(), ["server_side", 1, "two", NESTED]);
    }
  });
  it("answers of servers come together, with the names of those that do not answer", async () => {
    const { io } = world().node;
    const handling = world().gateways.filter((gateway) => !gateway.relay);
    io.on("hello", (x, y, answer) => answer?.(x + y));
    const { found, missing_nodes, missing_others } = await ask("server_side_emit_with_ack", "hello", 3, 4);
    // A relay, which handles no such event, says so at once: without a value.
    const said = found.filter((value) => value !== null);
    assert.deepEqual(said.sort(), [2, ...handling.slice(1).map(() => 2), 7].slice(-handling.length).sort());
    assert.equal(found.length - said.length, relays().length);
    assert.deepEqual(missing_nodes, []);
    assert.equal(missing_others, 0);
    io.removeAllListeners("hello");
    const asked = io.serverSideEmitWithAck("hello", 3, 4);
    const responses = await asked;
    assert.deepEqual(responses.filter((value) => value === 2), handling.map(() => 2));
    assert.equal(responses.length, handling.length + relays().length);
    await drain(world());
  });
}

/** Takes what is there, up to a fence of every sender. */
async function drain(world) {
  for (const emit of world.senders().values()) await world.heard(emit);
}
