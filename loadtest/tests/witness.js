// Independent witnesses: official clients that join a room of a fan-out run and write down what they get.
//
//   node witness.js URL ROOM [EVERY]
//
// One client per way to connect. Prints "ready" once all are in the room. Then takes a number from stdin, waits until
// every client has got so many events, five seconds at most, and prints for each client how many came, whether their
// numbers were 0, 1, 2, .. without a gap, how many payloads were binary, and their lengths.
//
// URL ends with the namespace, if it is not `/`. The variable TOKEN is shown as `auth.token`.
//
// With EVERY, in milliseconds, each client's connection breaks about that often, and the client comes back by itself. It
// also prints how often it was recovered and how often not.
"use strict";

const { createRequire } = require("node:module");
const path = require("node:path");
const { io } = createRequire(path.join(__dirname, "../peers/node/"))("socket.io-client");

const [url, room, every] = process.argv.slice(2);

const ways = {
  websocket: { transports: ["websocket"] },
  polling: { transports: ["polling"] },
  upgraded: {},
};

function witness(name, options) {
  const back = { reconnection: Boolean(every), reconnectionDelay: 200 };
  const auth = { token: process.env.TOKEN };
  const socket = io(url, { ...options, ...back, auth, forceNew: true });
  const seen = { name, count: 0, binary: 0, gapless: true, sizes: [], recovered: 0, anew: 0 };
  if (every) breakNowAndThen(socket, seen);
  socket.on("m", (payload) => {
    if (Buffer.isBuffer(payload)) seen.binary += 1;
    const sequence = parseInt(payload.toString().slice(16, 24), 16);
    if (sequence !== seen.count) seen.gapless = false;
    if (!seen.sizes.includes(payload.length)) seen.sizes.push(payload.length);
    seen.count += 1;
  });
  socket.on("disconnect", (reason) => {
    seen.disconnected = reason;
  });
  return new Promise((resolve, reject) => {
    socket.on("connect_error", (error) => every || reject(error));
    socket.once("connect", async () => {
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

// The TCP connection ends; on polling the request in flight does, and the server does not see an end of the session.
function breakNowAndThen(socket, seen) {
  const cut = () => {
    const transport = socket.io.engine?.transport;
    if (socket.connected && transport.ws) transport.ws.terminate();
    else if (socket.connected) transport.onError("cut");
  };
  const plan = () => {
    seen.cut = setTimeout(cut, every * (0.5 + Math.random()));
  };
  // Node recovers only clients that have got an event.
  socket.once("m", plan);
  socket.on("connect", () => {
    if (seen.before) seen[socket.recovered ? "recovered" : "anew"] += 1;
    seen.before = true;
    if (seen.count > 0) plan();
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
      for (const seen of all) {
        clearTimeout(seen.cut);
        delete seen.cut;
        delete seen.before;
      }
      process.stdout.write(JSON.stringify(all) + "\n", () => process.exit(0));
    }, 20);
  });
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
