// Before: a pod of Socket.IO for Node, with the Redis adapter. node server.mjs PORT
import { writeFileSync } from "node:fs";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const port = Number(process.argv[2]);
const publisher = createClient({ url: process.env.REDIS_URL ?? "redis://127.0.0.1:6379" });
const subscriber = publisher.duplicate();
await Promise.all([publisher.connect(), subscriber.connect()]);

const io = new Server(port, { adapter: createAdapter(publisher, subscriber) });

io.use((socket, next) => {
  const { name } = socket.handshake.auth;
  if (typeof name !== "string" || !name) return next(new Error("a name is needed"));
  socket.data.name = name;
  next();
});

io.on("connection", (socket) => {
  const { name } = socket.data;

  socket.on("enter", async (room, ack) => {
    await socket.join(room);
    socket.to(room).emit("entered", name);
    ack({ ok: true });
  });

  socket.on("say", (room, text, ack) => {
    if (!socket.rooms.has(room)) return ack({ ok: false, error: "not_here" });
    socket.to(room).emit("said", name, text);
    ack({ ok: true });
  });
});

writeFileSync(`pod-${port}.pid`, `${process.pid}`);
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => io.close(() => process.exit(0)));
console.log(`a pod of Node is listening on ${port}`);
