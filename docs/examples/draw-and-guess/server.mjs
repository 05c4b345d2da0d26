// The webhook of the game: checks signatures, hands calls to the rules, serves the page. README.md says how to start it.
import { createHmac, timingSafeEqual } from "node:crypto";
import express from "express";
import { connect, disconnect, event } from "./game.mjs";

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

const CALLS = {
  connect,
  disconnect,
  event,
  batch: (call) => ({ replies: call.events.map((it) => event({ ...call, ...it })) }),
};

const app = express();
app.post("/socket", express.raw({ type: () => true, limit: "4mb" }), (request, response) => {
  if (!isSigned(request.get("gateway-signature"), request.body)) return response.sendStatus(401);
  const call = JSON.parse(request.body);
  response.json(CALLS[call.type]?.(call) ?? {});
});
for (const file of ["index.html", "page.js"]) {
  app.get(`/${file.replace("index.html", "")}`, (_, response) => response.sendFile(file, { root: import.meta.dirname }));
}
app.listen(PORT, "127.0.0.1", () => console.log(`the page is at http://localhost:${PORT}/?name=ann`));
