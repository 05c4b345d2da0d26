// A member of a room who stops reading: disconnected when its outbox is full, and nobody else is held up.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { call, Clients, OK } from "./lib/clients.mjs";
import { Polling, SOCKET_IO } from "./lib/engine.mjs";
import { RawWebSocket } from "./lib/raw.mjs";
import { startRelay } from "./lib/target.mjs";
import { within } from "../../../testkit/js/wait.mjs";

const OUTBOX_BYTES = 256 * 1024;
const MESSAGE = "x".repeat(64 * 1024);
const MEMBERS = 3;
const DELAYED_MS = 500;

let server;
let clients;
before(async () => {
  server = await startRelay(["--limits-outbox-bytes", "256KiB"]);
  clients = new Clients(server.url);
});
after(async () => {
  clients?.close();
  await server?.stop();
});

/** What the kernel may buffer between a server that writes and a client that does not read. */
function kernelBytes() {
  const largest = (name) => Number(readFileSync(`/proc/sys/net/ipv4/${name}`, "utf8").trim().split(/\s+/)[2]);
  return largest("tcp_wmem") + largest("tcp_rmem");
}

/** Publishes `count` messages one after the other; for each the time until the last of `members` had it. */
async function publishing(speaker, members, room, count) {
  const delays = [];
  for (let i = 0; i < count; i += 1) {
    const published = performance.now();
    const heard = members.map((member) => new Promise((resolve) => member.once("data", (number) => resolve(number))));
    assert.deepEqual(await call(speaker, "publish", room, "data", i, MESSAGE), [OK]);
    assert.deepEqual(await within(5_000, Promise.all(heard), `message ${i} at every member`), members.map(() => i));
    delays.push(performance.now() - published);
  }
  return delays.sort((a, b) => a - b);
}

test("a stalled WebSocket reader is disconnected and does not delay the others", async (context) => {
  const members = await Promise.all(Array.from({ length: MEMBERS }, () => clients.connect({ transports: ["websocket"] })));
  for (const member of members) await call(member, "join", "room");
  const speaker = await clients.connect({ transports: ["websocket"] });
  const alone = await publishing(speaker, members, "room", 100);

  const stalled = await RawWebSocket.session(server.port, SOCKET_IO);
  let received = 0;
  stalled.socket.on("data", (chunk) => {
    received += chunk.length;
  });
  stalled.send(RawWebSocket.text("40"));
  assert.match((await stalled.next()).payload.toString(), /^40\{"sid"/);
  stalled.send(RawWebSocket.text('421["join","room"]'));
  assert.equal((await stalled.next()).payload.toString(), '431[{"ok":true}]');
  stalled.socket.pause();

  const count = Math.ceil((kernelBytes() + OUTBOX_BYTES) / MESSAGE.length) + 50;
  const beside = await publishing(speaker, members, "room", count);

  received = 0;
  stalled.socket.resume();
  // A kernel that still holds bytes for a reader does not always say that the server is gone; asking makes it say so.
  const asking = setInterval(() => stalled.send(RawWebSocket.text("3")), 50);
  await stalled.ended(10_000).finally(() => clearInterval(asking));
  const published = count * MESSAGE.length;
  assert.ok(received < published, `${received} of ${published} bytes reached the stalled reader`);
  assert.deepEqual(await call(speaker, "echo", "still served"), ["still served"]);

  const [median, p99, max] = [0.5, 0.99, 1].map((quantile) => (delays) => delays[Math.min(delays.length - 1, Math.floor(delays.length * quantile))]);
  const figures = (delays) => `median ${median(delays).toFixed(1)}, p99 ${p99(delays).toFixed(1)}, max ${max(delays).toFixed(1)} ms`;
  context.diagnostic(`deliveries without a stalled reader: ${figures(alone)} (${alone.length} messages of 64 KiB to ${MEMBERS} members)`);
  context.diagnostic(`deliveries beside a stalled reader: ${figures(beside)} (${beside.length} messages)`);
  context.diagnostic(`the stalled reader got ${(received / 1e6).toFixed(1)} of ${(published / 1e6).toFixed(1)} MB`);
  assert.ok(max(beside) < DELAYED_MS, figures(beside));
  assert.ok(median(beside) < 5 * median(alone) + 20, figures(beside));
});

test("a polling client that does not come back for its messages is disconnected", async () => {
  const member = await clients.connect({ transports: ["websocket"] });
  await call(member, "join", "polling room");
  const speaker = await clients.connect({ transports: ["websocket"] });
  const session = await Polling.open(server.port, { path: SOCKET_IO });
  await session.post("40");
  assert.match(await session.packet(), /^40/);
  await session.post('421["join","polling room"]');
  assert.equal(await session.packet(), '431[{"ok":true}]');

  await publishing(speaker, [member], "polling room", 2 * (OUTBOX_BYTES / MESSAGE.length));
  const { status, text } = await session.get();
  const lastWords = status === 200 && text.split("\x1e").at(-1) === "1";
  assert.ok(status === 400 || lastWords, `${status} ${text.slice(0, 100)}`);
  assert.ok(text.length <= OUTBOX_BYTES + MESSAGE.length);
  assert.equal((await session.get()).status, 400);
});
