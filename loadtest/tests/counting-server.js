// An independent count from the other end: a Socket.IO server that writes down what reaches it.
//
//   node counting-server.js
//
// Prints "listening PORT". When stdin ends, prints the counts: of the namespace `/`, and below `chat` of `/chat`, whose
// clients have to show the token of the variable TOKEN. With KEY and CERT, two files, it speaks TLS, and would rather
// speak HTTP/2 than HTTP/1.1.
"use strict";

const { readFileSync } = require("node:fs");
const http = require("node:http");
const http2 = require("node:http2");
const { createRequire } = require("node:module");
const path = require("node:path");
const { Server } = createRequire(path.join(__dirname, "../peers/node/"))("socket.io");

const { KEY, CERT, TOKEN } = process.env;

const none = () => ({
  connected: 0,
  polling: 0,
  websocket: 0,
  join: 0,
  publish: 0,
  echo: 0,
  binary: 0,
  heartbeats: 0,
  emitted: 0,
});
const counts = { ...none(), chat: none(), connections: 0, protocols: {} };

function secured() {
  const server = http2.createSecureServer({ allowHTTP1: true, key: readFileSync(KEY), cert: readFileSync(CERT) });
  server.on("secureConnection", ({ alpnProtocol }) => {
    counts.protocols[alpnProtocol] = (counts.protocols[alpnProtocol] ?? 0) + 1;
  });
  return server;
}

const server = KEY ? secured() : http.createServer();
const io = new Server(server, { pingInterval: 1000, pingTimeout: 2000 });

function count(namespace, counts) {
  namespace.on("connection", (socket) => {
    counts.connected += 1;
    counts[socket.conn.transport.name] += 1;
    socket.conn.on("heartbeat", () => (counts.heartbeats += 1));
    socket.on("join", (room, done) => {
      counts.join += 1;
      socket.join(room);
      done({ ok: true });
    });
    socket.on("publish", (room, event, payload, done) => {
      counts.publish += 1;
      if (Buffer.isBuffer(payload)) counts.binary += 1;
      counts.emitted += namespace.adapter.rooms.get(room)?.size ?? 0;
      socket.to(room).emit(event, payload);
      done?.({ ok: true });
    });
    socket.on("echo", (payload, done) => {
      counts.echo += 1;
      if (Buffer.isBuffer(payload)) counts.binary += 1;
      done(payload);
    });
  });
}

count(io.of("/"), counts);
const chat = io.of("/chat");
chat.use((socket, next) => next(socket.handshake.auth.token === TOKEN ? undefined : new Error("no such token")));
count(chat, counts.chat);
io.engine.on("connection", () => (counts.connections += 1));

server.listen({ port: 0, host: "127.0.0.1" }, () => {
  process.stdout.write(`listening ${server.address().port}\n`);
});
process.stdin.resume();
process.stdin.on("end", () => {
  process.stdout.write(JSON.stringify(counts) + "\n");
  process.exit(0);
});
