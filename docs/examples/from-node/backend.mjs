// After: the same as a backend behind the gateway's webhooks. node backend.mjs
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const SECRET = process.env.BACKEND_SECRET;
const PORT = Number(process.env.PORT ?? 8000);
const MAX_AGE_SECONDS = 300;

if (!SECRET) throw new Error("BACKEND_SECRET is not set; it is the gateway's backend.secret");

const CALLS = {
  // io.use(..)
  connect({ auth }) {
    const name = auth?.name;
    if (typeof name !== "string" || !name) return { refuse: { message: "a name is needed" } };
    return { data: { name } };
  },

  // socket.on(..)
  event: (call) => (Object.hasOwn(EVENTS, call.event) ? EVENTS[call.event](call.socket, ...call.args) : {}),
};

const EVENTS = {
  enter(socket, room) {
    return { ack: [{ ok: true }], actions: [{ join: [room] }, toOthers(socket, room, "entered", socket.data.name)] };
  },

  say(socket, room, text) {
    if (!socket.rooms.includes(room)) return { ack: [{ ok: false, error: "not_here" }] };
    return { ack: [{ ok: true }], actions: [toOthers(socket, room, "said", socket.data.name, text)] };
  },
};

// socket.to(room).emit(..)
const toOthers = (socket, room, event, ...args) => ({ emit: { rooms: [room], except: [socket.id], event, args } });

/** Only the gateway knows the secret. */
function isSigned(header = "", body) {
  const { t, v1 = "" } = Object.fromEntries(header.split(",").map((part) => part.split("=", 2)));
  const expected = createHmac("sha256", SECRET).update(`${t}.`).update(body).digest();
  const given = Buffer.from(v1, "hex");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return false;
  return Math.abs(Date.now() / 1000 - Number(t)) <= MAX_AGE_SECONDS;
}

createServer(async (request, response) => {
  const body = Buffer.concat(await request.toArray());
  if (!isSigned(request.headers["gateway-signature"], body)) return response.writeHead(401).end();
  const call = JSON.parse(body);
  response.setHeader("content-type", "application/json").end(JSON.stringify(CALLS[call.type]?.(call) ?? {}));
}).listen(PORT, "127.0.0.1", () => console.log(`the backend is listening on ${PORT}`));
