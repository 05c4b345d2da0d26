// Independent witnesses: official clients that join a room of a fan-out run and write down what they get.
//
//   node witness.js URL ROOM
//
// One client per way to connect. Prints "ready" once all are in the room. Then takes a number from stdin, waits until
// every client has got so many events, five seconds at most, and prints for each client how many came, whether their
// numbers were 0, 1, 2, .. without a gap, and the lengths of the payloads seen.
"use strict";

const { createRequire } = require("node:module");
const path = require("node:path");
const { io } = createRequire(path.join(__dirname, "../peers/node/"))("socket.io-client");

const [url, room] = process.argv.slice(2);

const ways = {
  websocket: { transports: ["websocket"] },
  polling: { transports: ["polling"] },
  upgraded: {},
};

function witness(name, options) {
  const socket = io(url, { ...options, forceNew: true, reconnection: false });
  const seen = { name, count: 0, gapless: true, sizes: [] };
  socket.on("m", (payload) => {
    const sequence = parseInt(payload.slice(16, 24), 16);
    if (sequence !== seen.count) seen.gapless = false;
    if (!seen.sizes.includes(payload.length)) seen.sizes.push(payload.length);
    seen.count += 1;
  });
  socket.on("disconnect", (reason) => {
    seen.disconnected = reason;
  });
  return new Promise((resolve, reject) => {
    socket.on("connect_error", reject);
    socket.on("connect", async () => {
      // Some servers lose what comes at once after CONNECT.
      for (;;) {
        try {
          await socket.timeout(1000).emitWithAck("join", room);
          return resolve(seen);
        } catch {
          continue;
        }
      }
    });
  });
}

async function main() {
  const all = await Promise.all(Object.entries(ways).map(([name, options]) => witness(name, options)));
  process.stdout.write("ready\n");
  process.stdin.once("data", (data) => {
    const end = Date.now() + 5000;
    const look = setInterval(() => {
      if (Date.now() < end && all.some(({ count }) => count < Number(data))) return;
      clearInterval(look);
      process.stdout.write(JSON.stringify(all) + "\n", () => process.exit(0));
    }, 20);
  });
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
