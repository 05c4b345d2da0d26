// A backend that emits by Redis: it speaks to no gateway, only to the Redis that the nodes share.
//
//   REDIS_URL=redis://127.0.0.1:6379 node chat.mjs lobby "hello from the backend"
import { Emitter } from "@socket.io/redis-emitter";
import { createClient } from "redis";

const [room = "lobby", text = "hello"] = process.argv.slice(2);

const client = createClient({ url: process.env.REDIS_URL ?? "redis://127.0.0.1:6379" });
await client.connect();
const io = new Emitter(client);

io.to(room).emit("said", "backend", text); // to a room, on every node
io.to("$user:ann").emit("notice", "for all windows of ann"); // to a user, where tokens name users
io.in(room).socketsJoin(`${room}:seen`); // sockets can be moved, too

await client.close();
