// An independent count from the other end: a Socket.IO server that writes down what reaches it.
//
//   node counting-server.js
//
// Prints "listening PORT". When stdin ends, prints the counts.
"use strict";

const { createRequire } = require("node:module");
const path = require("node:path");
const { Server } = createRequire(path.join(__dirname, "../peers/node/"))("socket.io");

const counts = { connected: 0, polling: 0, websocket: 0, join: 0, publish: 0, echo: 0, heartbeats: 0, emitted: 0 };
const io = new Server({ pingInterval: 1000, pingTimeout: 2000 });

io.on("connection", (socket) => {
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
    counts.emitted += io.of("/").adapter.rooms.get(room)?.size ?? 0;
    socket.to(room).emit(event, payload);
    done?.({ ok: true });
  });
  socket.on("echo", (payload, done) => {
    counts.echo += 1;
    done(payload);
  });
});

io.listen(0);
process.stdout.write(`listening ${io.httpServer.address().port}\n`);
process.stdin.resume();
process.stdin.on("end", () => {
  process.stdout.write(JSON.stringify(counts) + "\n");
  process.exit(0);
});
