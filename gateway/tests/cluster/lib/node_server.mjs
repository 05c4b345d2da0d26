// A Socket.IO server for Node with its Redis adapter, in the process of the test.
import { once } from "node:events";
import { createServer } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { createAdapter, createShardedAdapter } from "@socket.io/redis-adapter";
import { instrument } from "@socket.io/admin-ui";
import IoRedis from "ioredis";
import { createClient } from "redis";
import { Server } from "socket.io";

/** A connection to Redis with one of the two client libraries for Node. */
export async function connectRedis(library, url) {
  const ignore = () => {};
  if (library === "ioredis") {
    const client = new IoRedis(url, { retryStrategy: () => 200, maxRetriesPerRequest: null });
    client.on("error", ignore);
    return client;
  }
  const client = createClient({ url, socket: { reconnectStrategy: 200 } });
  client.on("error", ignore);
  await client.connect();
  return client;
}

export class NodeServer {
  /** `mode` is "classic" or "sharded"; `options` are the adapter's, `server` those of the server itself, and `admin` those of its admin page. */
  static async start(url, { library = "redis", mode = "classic", options = {}, server = {}, admin } = {}) {
    const clients = [await connectRedis(library, url), await connectRedis(library, url)];
    const http = createServer();
    const create = mode === "sharded" ? createShardedAdapter : createAdapter;
    const io = new Server(http, { adapter: create(...clients, options), ...server });
    io.on("connection", (socket) => {
      // What an admin page keeps there stays.
      socket.data.from = "node";
      socket.on("enter", (rooms, done) => {
        socket.join(rooms);
        done(true);
      });
    });
    if (admin) instrument(io, admin);
    http.listen(0, "127.0.0.1");
    await once(http, "listening");
    // One connection carries out commands in order, so the adapter's subscriptions are in force by then.
    await clients[1].subscribe("socket.io-in-force", () => {});
    return new NodeServer(io, http, clients);
  }

  #clients;

  constructor(io, http, clients) {
    this.id = "node";
    this.io = io;
    this.url = `http://127.0.0.1:${http.address().port}`;
    this.#clients = clients;
  }

  /** How many servers it counts, itself among them. */
  serverCount() {
    return this.io.of("/").adapter.serverCount();
  }

  async stop() {
    this.io.disconnectSockets(true);
    // Its admin page goes on telling numbers by a timer that nothing stops.
    this.io.of("/admin").emit = () => true;
    await this.io.close().catch(() => {});
    for (const client of this.#clients) {
      const closed = client instanceof IoRedis ? client.quit() : client.close();
      await Promise.race([closed, delay(1_000)]).catch(() => {});
      client.disconnect();
    }
  }
}
