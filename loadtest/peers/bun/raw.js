// The raw Bun peer: `Bun.serve` (uWebSockets) with its own subscribe and publish, and just enough of Socket.IO's wire
// for the load generator. It has no heartbeat, no polling, no bounds and no checks, and one thread: what a gateway
// would cost if it did nothing else.
//
//   bun raw.js PORT
"use strict";

const open = (sid) => `0{"sid":"${sid}","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`;
let last = 0;

function handle(socket, packet) {
  const start = packet.indexOf("[");
  const id = packet.slice(2, start);
  const [event, ...args] = JSON.parse(packet.slice(start));
  const acknowledge = (...values) => id && socket.send(`43${id}${JSON.stringify(values)}`);
  const emit = (room, values) => socket.publish(room, `42${JSON.stringify(values)}`);
  const rooms = () => [].concat(args[0]);
  if (event === "join") for (const room of rooms()) socket.subscribe(room);
  if (event === "leave") for (const room of rooms()) socket.unsubscribe(room);
  if (event === "publish") for (const room of rooms()) emit(room, args.slice(1));
  if (event === "broadcast") emit("all rooms", args);
  if (event === "echo") acknowledge(...args);
  else acknowledge({ ok: true });
}

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request, server) {
    return server.upgrade(request, { data: String(++last) }) ? undefined : new Response("WebSocket only", { status: 400 });
  },
  websocket: {
    idleTimeout: 0,
    perMessageDeflate: false,
    open: (socket) => void socket.send(open(socket.data)),
    message(socket, packet) {
      if (packet.startsWith("42")) return handle(socket, packet);
      if (!packet.startsWith("40")) return;
      socket.subscribe("all rooms");
      socket.send(`40{"sid":"${socket.data}"}`);
    },
  },
});
console.log(`listening ${server.port}`);
