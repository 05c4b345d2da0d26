// A member of a room in a process of its own, so that neither the test nor its publisher share its time:
//   node receiver.mjs '{"url":..,"transport":"polling","room":..}'
// It says `ready`, then each number that it hears as `data` and why it was disconnected. `{"block":ms}` keeps it busy.
import { io } from "socket.io-client";

const { url, transport, room } = JSON.parse(process.argv[2]);
const socket = io(url, { transports: [transport], reconnection: false });

socket.on("data", (number) => process.send({ heard: number }));
socket.on("disconnect", (reason) => process.send({ disconnected: reason }));
socket.on("connect_error", (error) => process.send({ disconnected: error.message }));
socket.on("connect", () => socket.emit("join", room, () => process.send({ ready: true })));

process.on("message", ({ block }) => {
  process.send({ blocked: block });
  const until = performance.now() + block;
  while (performance.now() < until);
});
process.on("disconnect", () => process.exit(0));
