// The Node peer: `socket.io` in its tuned form, speaking the relay events that every server under test speaks.
//
//   node server.js PORT [REDIS_URL]
//
// Port 0 takes any; the one taken is printed. RECOVERY_WINDOW, in milliseconds, turns connection state recovery on.
//
// Tuned: WebSocket compression off (the default), the native masking of `bufferutil`, HTTP compression off, and each
// connection's handshake request dropped once it is no longer needed, as Socket.IO's own page on memory usage advises.
"use strict";

const { createServer } = require("node:http");
const { Server } = require("socket.io");

const { relay } = require("../relay.js");

const [port, redisUrl] = process.argv.slice(2);

async function redisAdapter(url) {
  const { createAdapter } = require("@socket.io/redis-adapter");
  const { createClient } = require("redis");
  const publisher = createClient({ url });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  return createAdapter(publisher, subscriber);
}

async function main() {
  const server = createServer();
  const adapter = redisUrl ? await redisAdapter(redisUrl) : undefined;
  const window = Number(process.env.RECOVERY_WINDOW ?? 0);
  const io = new Server(server, {
    adapter,
    perMessageDeflate: false,
    httpCompression: false,
    serveClient: false,
    connectionStateRecovery: window > 0 ? { maxDisconnectionDuration: window } : undefined,
  });
  io.engine.on("connection", (connection) => {
    connection.request = null;
  });
  io.on("connection", relay);
  server.listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 }, () => {
    process.stdout.write(`listening ${server.address().port}\n`);
  });
}

main();
