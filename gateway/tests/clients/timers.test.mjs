// Deadlines: when a silent client is given up, and how late that is. The figures are printed; the assertions leave room for a busy machine.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { ENGINE, Polling, Ws } from "./lib/engine.mjs";
import { refused } from "./lib/errors.mjs";
import { REFERENCE, startConformance } from "./lib/target.mjs";

const PING_INTERVAL_MS = 300;
const PING_TIMEOUT_MS = 200;
const DEADLINE_MS = PING_INTERVAL_MS + PING_TIMEOUT_MS;
const LATE_MS = 100;
/** What a machine with other things to do may add to a single one of them. */
const STALLED_MS = 500;
const SESSIONS = 20;

let server;
before(async () => {
  server = await startConformance();
});
after(() => server?.stop());

/** `SESSIONS` measurements that begin 25 ms apart, so that they do not disturb each other. */
function staggered(measure) {
  return Promise.all(Array.from({ length: SESSIONS }, (_, i) => delay(i * 25).then(measure)));
}

/** A client's clock starts when it asks (nothing may come earlier than that plus the deadline) and when it is answered. */
function judge(context, name, measurements, deadline) {
  const late = measurements.map(({ answeredAt, at }) => at - answeredAt - deadline).sort((a, b) => a - b);
  const [median, max] = [late[late.length >> 1], late.at(-1)];
  context.diagnostic(`${name}: late by ${median.toFixed(1)} ms in the median, ${max.toFixed(1)} ms at most (${late.length} sessions)`);
  for (const { askedAt, at } of measurements) assert.ok(at - askedAt >= deadline, `early: ${(at - askedAt).toFixed(1)} ms after the request`);
  assert.ok(median <= LATE_MS, `${median.toFixed(1)} ms late in the median`);
  assert.ok(max <= STALLED_MS, `${max.toFixed(1)} ms late`);
}

test("an unanswered ping closes a polling session at pingInterval + pingTimeout", async (context) => {
  const pings = [];
  const closes = await staggered(async () => {
    const session = await Polling.open(server.port);
    const times = { askedAt: session.requestedAt, answeredAt: session.openedAt };
    const ping = await session.get();
    assert.equal(ping.text, "2");
    pings.push({ ...times, at: ping.arrivedAt });
    const close = await session.get();
    // Node sends a close packet, which clients for Python and Rust take for the end.
    if (REFERENCE) assert.equal(close.text, "1");
    else refused(close, 1);
    refused(await session.get(), 1);
    return { ...times, at: close.arrivedAt };
  });
  judge(context, "ping by polling", pings, PING_INTERVAL_MS);
  judge(context, "close by polling", closes, DEADLINE_MS);
});

test("an unanswered ping closes a WebSocket session at pingInterval + pingTimeout", async (context) => {
  const pings = [];
  const closes = await staggered(async () => {
    const askedAt = performance.now();
    const websocket = await Ws.session(server.port, { path: ENGINE, pong: false });
    const times = { askedAt, answeredAt: websocket.openedAt };
    assert.equal(await websocket.next(), "2");
    pings.push({ ...times, at: performance.now() });
    return { ...times, at: (await websocket.closing()).at };
  });
  judge(context, "ping by WebSocket", pings, PING_INTERVAL_MS);
  judge(context, "close by WebSocket", closes, DEADLINE_MS);
});

test("a polling session without any GET is gone after its deadline", async () => {
  await staggered(async () => {
    const session = await Polling.open(server.port);
    await delay(DEADLINE_MS + STALLED_MS);
    refused(await session.get(), 1);
  });
});

test("the next ping is counted from the pong", async (context) => {
  const measurements = await staggered(async () => {
    const session = await Polling.open(server.port);
    assert.equal((await session.get()).text, "2");
    await delay(100);
    const askedAt = performance.now();
    const answeredAt = (await session.post("3")).arrivedAt;
    const ping = await session.get();
    assert.equal(ping.text, "2");
    return { askedAt, answeredAt, at: ping.arrivedAt };
  });
  judge(context, "ping after a pong", measurements, PING_INTERVAL_MS);
});

test("messages without pongs do not keep a session alive", async (context) => {
  const measurements = await staggered(async () => {
    const askedAt = performance.now();
    const websocket = await Ws.session(server.port, { path: ENGINE, pong: false });
    const answeredAt = websocket.openedAt;
    const chatter = setInterval(() => websocket.send("4still talking"), 20);
    const { at } = await websocket.closing();
    clearInterval(chatter);
    return { askedAt, answeredAt, at };
  });
  const lasted = measurements.map(({ answeredAt, at }) => at - answeredAt);
  context.diagnostic(`a talking client without pongs lasted ${Math.max(...lasted).toFixed(0)} ms at most`);
  // A server may extend the deadline once, by the ping timeout, when it hears something else than the pong.
  for (const { askedAt, at } of measurements) assert.ok(at - askedAt >= DEADLINE_MS);
  assert.ok(Math.max(...lasted) <= DEADLINE_MS + PING_TIMEOUT_MS + STALLED_MS);
});
