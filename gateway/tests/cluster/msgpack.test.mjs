// Clients with socket.io-msgpack-parser, in JavaScript and in Python, at a node with the relay, one with handlers and one with a webhook, beside
// Node servers of both parsers: all of them share a room by way of Redis.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { join, resolve } from "node:path";
import { after, before, describe, it } from "node:test";
import { call, Clients, heard, msgpack } from "../clients/lib/clients.mjs";
import { Redis } from "../../../testkit/js/redis.mjs";
import { Inbox, until } from "../../../testkit/js/wait.mjs";
import { joined, library, metric, relay } from "./lib/gateways.mjs";
import { NodeServer } from "./lib/node_server.mjs";

const PYTHON = process.env.CLIENTS_PYTHON ?? resolve(import.meta.dirname, "../../../target/clients-venv/bin/python");
const PATIENCE_MS = 60_000;
const EVENTS = 300;
const SECRET = "a secret of these nodes";
const ARGS = ["漢字 😀\0", { deep: [Buffer.from([0, 4, 255, 30]), null, true], f: 1.5 }, -33, 2 ** 40, Buffer.alloc(0)];

/** A backend behind webhooks: its clients are in the room, and have it emit there. */
class Backend {
  static async start() {
    const server = createServer(async (request, response) => {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      response.end(JSON.stringify(answer(JSON.parse(Buffer.concat(chunks)))));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return Object.assign(new Backend(), { server, url: `http://127.0.0.1:${server.address().port}/` });
  }

  stop() {
    this.server.closeAllConnections();
    return new Promise((done) => this.server.close(done));
  }
}

function answer({ type, event, args }) {
  if (type === "connect") return { actions: [{ join: ["room"] }] };
  if (type !== "event") return {};
  if (event !== "publish") return { ack: args };
  const [name, ...rest] = args;
  return { ack: [true], actions: [{ emit: { rooms: ["room"], event: name, args: rest } }] };
}

/** The Python client, whose sockets have what this suite needs of those of JavaScript. */
class Guest {
  static async at(url, transports) {
    const guest = new Guest(spawn(PYTHON, [join(import.meta.dirname, "../clients/python/guest.py"), url, transports, "msgpack"], { stdio: ["pipe", "pipe", "inherit"] }));
    assert.deepEqual(await guest.acks.next(PATIENCE_MS), ["connected"]);
    return guest;
  }

  acks = new Inbox();
  heard = new Inbox();

  constructor(child) {
    this.child = child;
    let rest = "";
    child.stdout.on("data", (chunk) => {
      const lines = `${rest}${chunk}`.split("\n");
      rest = lines.pop();
      for (const line of lines) {
        const [kind, ...values] = JSON.parse(line, revived);
        if (kind === "heard") this.heard.push(values);
        else this.acks.push(kind === "ack" ? values : [kind]);
      }
    });
  }

  call(...event) {
    this.child.stdin.write(`${JSON.stringify(event, replaced)}\n`);
    return this.acks.next(PATIENCE_MS, `ack of ${event[0]}`);
  }

  close() {
    this.child.stdin.end();
    this.child.kill();
  }
}

for (const mode of ["classic", "sharded"]) {
  describe(`clients with msgpack in a ${mode} cluster`, () => {
    let redis;
    let backend;
    let nodes = [];
    let servers = [];
    /** Where clients come to, by name: how they get into the room, and how one has all others hear something. */
    let places;
    const open = [];

    before(async () => {
      redis = await Redis.start();
      backend = await Backend.start();
      const settings = { "redis.url": redis.url, "cluster.secret": SECRET, "log.level": "warn", ...(mode === "sharded" ? { "redis.mode": "sharded" } : {}) };
      nodes = await Promise.all([relay("relay", settings), library("handlers", settings), relay("webhook", { ...settings, "backend.url": backend.url, "backend.secret": SECRET })]);
      servers = [await NodeServer.start(redis.url, { mode }), await NodeServer.start(redis.url, { mode, server: { parser: msgpack } })];
      for (const one of nodes) await joined(one, nodes.length);
      for (const server of servers) {
        server.io.on("connection", (socket) => socket.on("publish", (name, ...args) => socket.to("room").emit(name, ...args)));
        await until("Node counts the others", async () => (await server.serverCount()) === nodes.length + servers.length);
      }
      const [relaying, handling, hooked] = nodes;
      places = {
        relay: { node: relaying, enter: ["join", "room"], emit: (...event) => ["publish", "room", ...event] },
        handlers: { node: handling, enter: ["enter", ["room"]], emit: (...event) => ["emit", { rooms: ["room"] }, ...event] },
        webhook: { node: hooked, emit: (...event) => ["publish", ...event] },
      };
    });
    after(async () => {
      for (const clients of open) clients.close();
      for (const server of servers) await server.stop();
      for (const one of nodes) await one.stop();
      await backend?.stop();
      await redis?.stop();
    });

    /** Everybody: of each place a client with msgpack on WebSocket, one that polls, one with JSON, and one in Python. */
    async function everybody() {
      const all = [];
      for (const [name, { node, enter, emit }] of Object.entries(places)) {
        const clients = new Clients(node.url);
        open.push(clients);
        for (const options of [{ parser: msgpack, transports: ["websocket"] }, { parser: msgpack, transports: ["polling"] }, {}]) {
          const socket = await clients.connect(options);
          const kind = `${name}, ${options.parser ? "msgpack" : "JSON"} by ${options.transports ?? "both"}`;
          all.push({ kind, inbox: heard(socket), say: (...event) => call(socket, ...emit(...event)), enter: () => enter && call(socket, ...enter), echoes: () => socket.on("question", (...args) => args.pop()(...args)) });
        }
        const guest = await Guest.at(node.url, name === "relay" ? "polling,websocket" : "polling");
        open.push(guest);
        all.push({ kind: `${name}, Python`, inbox: guest.heard, say: (...event) => guest.call(...emit(...event)), enter: () => enter && guest.call(...enter), echoes: () => {} });
      }
      for (const [index, server] of servers.entries()) {
        const clients = new Clients(server.url);
        open.push(clients);
        const socket = await clients.connect(index === 1 ? { parser: msgpack } : {});
        all.push({ kind: `Node ${index}`, inbox: heard(socket), say: async (...event) => socket.emit("publish", ...event), enter: () => call(socket, "enter", "room"), echoes: () => socket.on("question", (...args) => args.pop()(...args)) });
      }
      for (const { enter } of all) await enter();
      return all;
    }

    it("say something to all others, with binary and all, and are asked by handlers", async () => {
      const all = await everybody();
      await until("the webhook's clients are in the room", async () => (await metric(places.webhook.node, 'gateway_rooms{namespace="/"}')) > 0);
      for (const { kind, say, inbox: own } of all) {
        await say("said", kind, ...ARGS);
        for (const { kind: listener, inbox } of all) {
          const event = await (inbox === own ? optional(inbox, kind) : inbox.next(PATIENCE_MS, `${listener} hears ${kind}`));
          if (event) assert.deepEqual(plain(event), ["said", kind, ...ARGS], `${listener} hears ${kind}`);
        }
      }
      // All are asked by a client of the node with handlers, and each answers with what it was given.
      for (const { echoes } of all) echoes();
      const asking = new Clients(places.handlers.node.url);
      open.push(asking);
      const asker = await asking.connect({ parser: msgpack });
      const [{ answers, complete }] = await call(asker, "emit_with_ack", { rooms: ["room"], timeout: 30_000 }, "question", { "漢字": [1, null] });
      assert.ok(complete);
      assert.deepEqual(answers, all.map(() => ({ "漢字": [1, null] })));
    });

    it(`hear ${EVENTS} events of a Node server in their order, on each node`, async () => {
      const sockets = [];
      for (const [name, { node, enter }] of Object.entries(places)) {
        const clients = new Clients(node.url);
        open.push(clients);
        const socket = await clients.connect({ parser: msgpack, transports: [name === "relay" ? "polling" : "websocket"] });
        if (enter) await call(socket, ...enter);
        sockets.push(heard(socket));
      }
      for (let number = 0; number < EVENTS; number += 1) servers[0].io.to("room").emit("number", number, Buffer.from([number % 256]));
      for (const inbox of sockets) {
        for (let number = 0; number < EVENTS; number += 1) assert.deepEqual(plain(await inbox.next(PATIENCE_MS)), ["number", number, Buffer.from([number % 256])]);
      }
    });
  });
}

/** What the speaker itself hears: the server of some places sends it to the speaker as well, before the speaker's acknowledgement. */
async function optional(inbox, kind) {
  return /handlers|webhook/.test(kind) ? inbox.next(PATIENCE_MS, `${kind} hears itself`) : undefined;
}

/** JSON's and the browser's forms of binary as Buffer. */
function plain(value) {
  if (Buffer.isBuffer(value) || value instanceof Uint8Array) return Buffer.from(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
  return value;
}

function replaced(_, value) {
  return value?.type === "Buffer" ? { $binary: Buffer.from(value.data).toString("base64") } : value;
}

function revived(_, value) {
  return typeof value?.$binary === "string" ? Buffer.from(value.$binary, "base64") : value;
}
