// Servers of every kind on one Redis, with clients on both transports, and what all of them must hear.
import assert from "node:assert/strict";
import { Client } from "./clients.mjs";
import { EmitterProcess } from "./emitter.mjs";
import { joined, library, relay } from "./gateways.mjs";
import { NodeServer } from "./node_server.mjs";
import { Redis } from "../../../../testkit/js/redis.mjs";
import { until } from "../../../../testkit/js/wait.mjs";

export class World {
  /**
   * `relays` and `libraries` name the gateway nodes; `settings` are theirs. `node` is what a Node server is started with, if there is
   * one; `emitter` the client library of an emitter, if there is one.
   */
  static async start({ relays = [], libraries = [], settings = {}, node, emitter, redis }) {
    const world = new World();
    try {
      world.redis = redis ?? (await Redis.start());
      const all = { "redis.url": world.redis.url, ...settings };
      const starting = [...relays.map((id) => relay(id, all)), ...libraries.map((id) => library(id, all))];
      const started = await Promise.allSettled(starting);
      world.gateways = started.filter(({ status }) => status === "fulfilled").map(({ value }) => value);
      for (const { status, reason } of started) if (status === "rejected") throw reason;
      if (node) world.node = await NodeServer.start(world.redis.url, node);
      if (emitter) world.emitter = await EmitterProcess.start(emitter, world.redis.url);
      for (const gateway of world.gateways) await joined(gateway, world.gateways.length);
      if (node) await until("Node counts the others", async () => (await world.node.serverCount()) === world.gateways.length + 1);
      for (const server of world.servers) for (const transport of ["polling", "websocket"]) await world.open(server, transport);
    } catch (error) {
      await world.stop().catch(() => {});
      throw error;
    }
    return world;
  }

  gateways = [];
  /** By name: `a/polling`, `node/websocket` and so on. */
  clients = new Map();
  #fences = 0;

  get servers() {
    return this.node ? [...this.gateways, this.node] : this.gateways;
  }

  server(id) {
    return this.servers.find((server) => server.id === id);
  }

  client(name) {
    return this.clients.get(name);
  }

  get names() {
    return [...this.clients.keys()];
  }

  async open(server, transport, options) {
    const client = await Client.open(server, transport, options);
    this.clients.set(client.name, client);
    return client;
  }

  /** Who can emit, by name; each emits to those whom `whom` names. */
  senders() {
    const senders = new Map();
    const { node, emitter } = this;
    if (node) senders.set("node", ({ rooms = [], except = [], volatile }, ...args) => {
      const to = volatile ? node.io.volatile : node.io;
      (rooms.length > 0 || except.length > 0 ? to.to(rooms).except(except) : to).emit(...args);
    });
    if (emitter) senders.set("emitter", (whom, ...args) => emitter.emit(whom, ...args));
    for (const gateway of this.gateways) {
      if (gateway.relay) continue;
      const client = this.client(`${gateway.id}/websocket`);
      senders.set(gateway.id, (whom, ...args) => client.socket.emit("emit", whom, ...args));
    }
    return senders;
  }

  /**
   * Waits until everybody has heard what `emit` emitted until now, and answers with what each heard, by name, without those that heard
   * nothing. What one sender emits arrives in order, so whatever comes behind its fence was never sent.
   */
  async heard(emit, names = this.names) {
    this.#fences += 1;
    const fence = `fence ${this.#fences}`;
    emit({}, fence);
    const heard = new Map();
    await Promise.all(names.map(async (name) => {
      const events = [];
      for (;;) {
        const event = await this.client(name).next();
        if (event[0] === fence) break;
        events.push(event);
      }
      if (events.length > 0) heard.set(name, events);
    }));
    return heard;
  }

  /** Nobody but `names` hears what `emit` emitted until now; each of them hears `events`, once, in this order. */
  async expect(emit, names, events) {
    const heard = await this.heard(emit);
    const wanted = new Map(names.map((name) => [name, events]));
    assert.deepEqual(sorted(heard), sorted(wanted));
  }

  /** Everybody has heard of everybody, and nobody is deaf. */
  async nobodyIsDeaf() {
    for (const emit of this.senders().values()) await this.expect(emit, [], []);
  }

  async stop() {
    for (const client of this.clients.values()) client.close();
    await this.emitter?.stop();
    await this.node?.stop();
    const stopped = await Promise.allSettled(this.gateways.map((gateway) => gateway.stop()));
    await this.redis?.stop();
    for (const { status, reason } of stopped) if (status === "rejected") throw reason;
  }
}

function sorted(map) {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}
