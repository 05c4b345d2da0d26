"use strict";
// A Node server with the Redis adapter, one client and an emitter, driven over standard input: each
// line is {"id", "js"}, the body of an async function with `io`, `client`, `chat`, `received`,
// `emitter` and `until` in scope; each answer is {"id", "value"} or {"id", "error"}. Binary is shown
// as {"$bin": hex}.
//
// usage: node peer.js '{"client":"redis"|"ioredis","url":"redis://..","cluster":[..ports],
//                       "mode":"classic"|"sharded","options":{..}}'

const { createServer } = require("http");
const readline = require("readline");
const { Server } = require("socket.io");
const { io: connect } = require("socket.io-client");
const { createAdapter, createShardedAdapter } = require("@socket.io/redis-adapter");
const { Emitter } = require("@socket.io/redis-emitter");

const settings = JSON.parse(process.argv[2]);

const clients = [];

async function redisClient() {
  let client;
  if (settings.client === "ioredis") {
    const Redis = require("ioredis");
    client = settings.cluster
      ? new Redis.Cluster(settings.cluster.map((port) => ({ host: "127.0.0.1", port })))
      : new Redis(settings.url);
    client.on("error", () => {});
  } else {
    const redis = require("redis");
    client = settings.cluster
      ? redis.createCluster({
          rootNodes: settings.cluster.map((port) => ({ url: `redis://127.0.0.1:${port}` })),
        })
      : redis.createClient({ url: settings.url, socket: { reconnectStrategy: 200 } });
    client.on("error", () => {});
    await client.connect();
  }
  clients.push(client);
  return client;
}

const show = (value) => {
  if (Buffer.isBuffer(value) || ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
    return { $bin: Buffer.from(value).toString("hex") };
  }
  if (value instanceof Date) return value;
  if (value instanceof Set || value instanceof Map) return show([...value]);
  if (Array.isArray(value)) return value.map(show);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, show(inner)]));
  }
  return value;
};

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(condition, ms = 5000) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${condition}`);
    await sleep(5);
  }
}

async function main() {
  const [pub, sub] = [await redisClient(), await redisClient()];
  const create = settings.mode === "sharded" ? createShardedAdapter : createAdapter;
  const http = createServer();
  const io = new Server(http, { adapter: create(pub, sub, settings.options || {}) });
  const serverSide = [];
  for (const namespace of ["/", "/chat"]) {
    io.of(namespace).on("connection", (socket) => {
      socket.data = { user: "node-user" };
      socket.on("join", (room, done) => {
        socket.join(room);
        done();
      });
    });
  }
  io.on("sse", (...args) => {
    const answer = args.at(-1);
    serverSide.push(args.filter((arg) => typeof arg !== "function"));
    if (typeof answer === "function") answer({ from: "node" });
  });
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${http.address().port}`;

  const received = [];
  const open = async (namespace) => {
    const client = connect(url + namespace, { transports: ["websocket"], forceNew: true });
    client.onAny((event, ...args) => {
      const answer = args.at(-1);
      received.push([event, ...args.filter((arg) => typeof arg !== "function")]);
      if (typeof answer === "function" && event !== "silent") answer("node-ack");
    });
    client.on("disconnect", (reason) => received.push(["disconnected", reason]));
    await new Promise((resolve) => client.on("connect", resolve));
    return client;
  };
  const client = await open("/");
  const chat = await open("/chat");
  // One connection carries out commands in order, so the adapter's subscriptions are in force by then.
  if (!settings.cluster) await sub.subscribe("socket.io-in-force", () => {});
  const emitter = new Emitter(pub);

  const scope = { io, client, chat, received, serverSide, emitter, until, sleep, pub, Buffer };
  const AsyncFunction = main.constructor;
  readline.createInterface({ input: process.stdin }).on("line", async (line) => {
    const { id, js } = JSON.parse(line);
    const answer = (content) => process.stdout.write(JSON.stringify({ id, ...content }) + "\n");
    try {
      const value = await new AsyncFunction(...Object.keys(scope), js)(...Object.values(scope));
      answer({ value: show(value) });
    } catch (error) {
      answer({ error: String(error && error.stack) });
    }
  });
  process.stdin.on("close", () => process.exit(0));
  process.stdout.write(JSON.stringify({ id: 0, value: "ready" }) + "\n");
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
