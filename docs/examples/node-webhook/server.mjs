// A chat behind the gateway: who may connect, and what an event does. README.md says how to start it.
import { createHmac, timingSafeEqual } from "node:crypto";
import express from "express";

const SECRET = process.env.BACKEND_SECRET;
const PORT = Number(process.env.PORT ?? 8000);
const MAX_AGE_SECONDS = 300;

if (!SECRET) throw new Error("BACKEND_SECRET is not set; it is the gateway's backend.secret");

/** Only the gateway knows the secret. The signature is of the bytes that came, not of the JSON in them. */
function isSigned(header = "", body) {
  const { t, v1 = "" } = Object.fromEntries(header.split(",").map((part) => part.split("=", 2)));
  const expected = createHmac("sha256", SECRET).update(`${t}.`).update(body).digest();
  const given = Buffer.from(v1, "hex");
  // timingSafeEqual takes equal lengths alone.
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return false;
  return Math.abs(Date.now() / 1000 - Number(t)) <= MAX_AGE_SECONDS;
}

const app = express();

// `raw` leaves the body as it came; express.json() would lose the bytes that are signed.
app.post("/socket", express.raw({ type: () => true, limit: "4mb" }), (request, response) => {
  if (!isSigned(request.get("gateway-signature"), request.body)) return response.sendStatus(401);
  const call = JSON.parse(request.body);
  response.json(CALLS[call.type]?.(call) ?? {});
});

app.get("/", (_, response) => response.sendFile("page.html", { root: import.meta.dirname }));

const CALLS = {
  connect(call) {
    const name = call.auth?.name;
    if (typeof name !== "string" || !name.trim()) return { refuse: { message: "a name is needed", data: { code: "no_name" } } };
    return { user: name, data: { said: 0 }, actions: [{ join: ["lobby"] }, toLobby(call, "joined", name)] };
  },

  event(call) {
    const handler = Object.hasOwn(EVENTS, call.event) ? EVENTS[call.event] : () => fault("unknown_event");
    return handler(call, ...call.args);
  },
};

const EVENTS = {
  say(call, text) {
    if (typeof text !== "string" || !text) return fault("bad_text");
    const said = call.socket.data.said + 1;
    return { ack: [{ ok: true, said }], data: { said }, actions: [toLobby(call, "said", call.socket.user, text)] };
  },

  whisper(call, user, text) {
    if (typeof user !== "string" || typeof text !== "string") return fault("bad_text");
    const emit = { rooms: [`$user:${user}`], event: "whispered", args: [call.socket.user, text] };
    return { ack: [{ ok: true }], actions: [{ emit }] };
  },
};

const fault = (code) => ({ ack: [{ ok: false, error: { code } }] });

/** An event for everybody else in the lobby. */
const toLobby = (call, event, ...args) => ({ emit: { rooms: ["lobby"], except: [call.socket.id], event, args } });

app.listen(PORT, "127.0.0.1", () => console.log(`the page is at http://localhost:${PORT}/?name=ann`));
