// Clients that read get everything, however much comes at once; those that do not read go, and memory stays in its bound.
import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { call, Clients, OK } from "./lib/clients.mjs";
import { SOCKET_IO } from "./lib/engine.mjs";
import { metrics } from "./lib/metrics.mjs";
import { until } from "../../../testkit/js/wait.mjs";
import { RawWebSocket } from "./lib/raw.mjs";
import { FOLDER, REFERENCE, startRelay } from "./lib/target.mjs";
import { Proxy } from "../../../testkit/js/proxy.mjs";
import { within } from "../../../testkit/js/wait.mjs";

const KB = 1000;
const PHONE_BYTES_PER_SECOND = 1_250_000;

let server;
let clients;
let speaker;
before(async () => {
  server = await startRelay();
  clients = new Clients(server.url);
  speaker = await clients.connect({ transports: ["websocket"] });
});
after(async () => {
  clients?.close();
  await server?.stop();
});

/** A member of `room` in a process of its own. */
class Receiver {
  heard = [];
  #child;

  static async start(options) {
    const receiver = new Receiver();
    receiver.#child = fork(join(FOLDER, "lib/receiver.mjs"), [JSON.stringify(options)]);
    receiver.#child.on("message", ({ heard, disconnected }) => {
      if (heard !== undefined) receiver.heard.push(heard);
      if (disconnected) receiver.disconnected = disconnected;
    });
    await receiver.#said("ready");
    return receiver;
  }

  #said(what) {
    const said = new Promise((resolve) => {
      const listen = (message) => {
        if (message[what] === undefined) return;
        this.#child.off("message", listen);
        resolve();
      };
      this.#child.on("message", listen);
    });
    return within(20_000, said, what);
  }

  /** Has it do nothing else for so long. */
  async block(milliseconds) {
    const blocked = this.#said("blocked");
    this.#child.send({ block: milliseconds });
    await blocked;
  }

  async expect(count, milliseconds) {
    await until(`${count} messages`, () => this.heard.length >= count || this.disconnected, milliseconds).catch(() => {});
    assert.equal(this.disconnected, undefined, `disconnected after ${this.heard.length} of ${count}`);
    assert.deepEqual(
      this.heard,
      Array.from({ length: count }, (_, i) => i),
    );
  }

  stop() {
    this.#child.disconnect();
  }
}

/** What one sends in one go, and how its member lives. */
const BURSTS = [
  { name: "5 publishes of 900 kB", count: 5, size: 900 * KB },
  { name: "10 publishes of 900 kB", count: 10, size: 900 * KB },
  { name: "300 publishes of 20 kB", count: 300, size: 20 * KB },
  { name: "5 MB in 5,000 messages", count: 5_000, size: KB },
  { name: "9 MB to a phone with 10 Mbit/s", count: 450, size: 20 * KB, bytesPerSecond: PHONE_BYTES_PER_SECOND },
  { name: "9 MB to a tab that is busy for 5 s", count: 450, size: 20 * KB, busy: 5_000 },
];

for (const transport of ["websocket", "polling"]) {
  for (const { name, count, size, bytesPerSecond, busy } of BURSTS) {
    test(`${name}, by ${transport}: nothing is lost`, async (context) => {
      const room = `${transport} ${name}`;
      const proxy = bytesPerSecond && (await Proxy.start(server.port, { bytesPerSecond }));
      const receiver = await Receiver.start({ url: proxy?.url ?? server.url, transport, room });
      try {
        if (busy) await receiver.block(busy);
        const text = "x".repeat(size);
        const acks = Array.from({ length: count }, (_, i) => call(speaker, "publish", room, "data", i, text));
        for (const ack of await Promise.all(acks)) assert.deepEqual(ack, [OK]);
        await receiver.expect(count, 60_000);
        context.diagnostic(`${receiver.heard.length} of ${count}`);
      } finally {
        receiver.stop();
        proxy?.stop();
      }
    });
  }
}

test("a client that takes nothing goes after its patience, one that takes a little stays", { skip: REFERENCE && "Node's server has no such limit" }, async () => {
  const patient = await startRelay(["--limits-outbox-patience", "5s"]);
  const own = new Clients(patient.url);
  const slowly = await Proxy.start(patient.port, { bytesPerSecond: 100 * KB });
  try {
    const publisher = await own.connect({ transports: ["websocket"] });
    const [stalled, slow] = await Promise.all([joined(patient.port, "room"), joined(slowly.port, "room")]);
    stalled.socket.pause();
    for (let i = 0; i < 40; i += 1) assert.deepEqual(await call(publisher, "publish", "room", "data", i, "x".repeat(25 * KB)), [OK]);
    await until("the stalled client goes", async () => (await metrics(patient)).get('gateway_slow_consumer_causes_total{cause="stalled"}') === 1);
    // The slow one needs ten seconds for its megabyte, twice what it may take nothing. The kernel says that it takes more only when a
    // third of its buffer is free, so with less patience it might be taken for stalled.
    for (let i = 0; i < 40; i += 1) assert.ok((await slow.next(30_000)).payload.toString().startsWith(`42["data",${i},`), `message ${i}`);
    assert.deepEqual(await call(publisher, "echo", 1), [1]);
  } finally {
    own.close();
    slowly.stop();
    await patient.stop();
  }
});

test("1,000 stalled readers stay inside the bound, and others are not delayed", { skip: REFERENCE && "Node's server has no such limit", timeout: 120_000 }, async (context) => {
  const LIMIT = 64 * 1024 * 1024;
  const READERS = 1_000;
  const bounded = await startRelay(["--limits-outbox-total", "64MiB", "--limits-outbox-patience", "1h"]);
  const own = new Clients(bounded.url);
  try {
    const publisher = await own.connect({ transports: ["websocket"] });
    const other = await own.connect({ transports: ["websocket"] });
    const readers = [];
    for (let i = 0; i < READERS; i += 50) readers.push(...(await Promise.all(Array.from({ length: 50 }, (_, k) => joined(bounded.port, `room ${i + k}`)))));
    for (const reader of readers) reader.socket.pause();
    const before = bounded.residentBytes();
    let [most, held] = [0, 0];
    const delays = [];
    const text = "x".repeat(100 * KB);
    // A message of its own for each of them, eight times: 800 MB, of which the kernel takes a part.
    for (let round = 0; round < 8; round += 1) {
      for (let i = 0; i < READERS; i += 20) {
        const sent = Array.from({ length: 20 }, (_, k) => call(publisher, "publish", `room ${i + k}`, "data", text));
        const asked = performance.now();
        await call(other, "echo", 1);
        delays.push(performance.now() - asked);
        await Promise.all(sent);
        most = Math.max(most, bounded.residentBytes());
      }
      held = Math.max(held, (await metrics(bounded)).get("gateway_outbox_memory_bytes"));
    }
    const series = await metrics(bounded);
    const gone = series.get('gateway_slow_consumer_causes_total{cause="memory"}');
    delays.sort((a, b) => a - b);
    context.diagnostic(`${gone} of ${READERS} went; resident memory grew from ${mib(before)} to at most ${mib(most)}; outboxes held at most ${mib(held)} of ${mib(LIMIT)}`);
    context.diagnostic(`echo of another client meanwhile: median ${delays[delays.length >> 1].toFixed(1)} ms, p99 ${delays[Math.floor(delays.length * 0.99)].toFixed(1)} ms`);
    assert.ok(gone > 0 && gone < READERS, `${gone} went`);
    assert.ok(held <= LIMIT * 1.1, `${held} bytes held`);
    // What is being sent, and what the allocator keeps, come on top.
    assert.ok(most - before < 2 * LIMIT, `${mib(before)} to ${mib(most)}`);
    await delay(0);
  } finally {
    own.close();
    await bounded.stop();
  }
});

function mib(bytes) {
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

/** A member of a room that takes in little while it does not read. */
async function joined(port, room) {
  const raw = await RawWebSocket.session(port, SOCKET_IO);
  raw.send(RawWebSocket.text("40"));
  await raw.next();
  raw.send(RawWebSocket.text(`421${JSON.stringify(["join", room])}`));
  assert.equal((await raw.next()).payload.toString(), '431[{"ok":true}]');
  return raw;
}
