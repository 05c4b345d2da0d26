// Chromium with the real client over WebTransport: directly and from polling, and what it does when that ends or does not work.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { chromium } from "playwright-core";
import { freePort } from "../../../testkit/js/ports.mjs";
import { until } from "../../../testkit/js/wait.mjs";
import { request } from "./lib/http.mjs";
import { metrics } from "./lib/metrics.mjs";
import { REFERENCE, startRelay } from "./lib/target.mjs";

const skip = REFERENCE && "Node's servers need a library for QUIC";
const KEY = "a key that only tests know";
const WITHIN_MS = 15_000;
const DIRECT = ["webtransport"];
/** A client that may take WebSocket too does so when WebTransport takes longer than 200 ms, as on a busy machine. */
const UPGRADED = ["polling", "webtransport"];
const ALL = ["polling", "websocket", "webtransport"];
/** How often a page tries, to be in time once. */
const TRIES = 20;
const MAX_PAYLOAD = 1_000_000;
const OPEN = 'gateway_connections{transport="webtransport"}';

let folder;
let hash;
let browser;
const servers = [];
before(async () => {
  if (skip) return;
  folder = mkdtempSync(join(tmpdir(), "gateway-webtransport-"));
  // Chromium takes it without an authority only if it is as short as this.
  const asked = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -sha256 -days 13 -nodes -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1";
  execFileSync("openssl", [...asked.split(" "), "-keyout", join(folder, "key"), "-out", join(folder, "cert")], { stdio: "ignore" });
  hash = [...createHash("sha256").update(new X509Certificate(readFileSync(join(folder, "cert"))).raw).digest()];
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
});
afterEach(async () => {
  await Promise.all(browser?.contexts().map((context) => context.close()) ?? []);
  await Promise.all(servers.splice(0).map((server) => server.stop()));
});
after(async () => {
  await browser?.close();
  if (folder) rmSync(folder, { recursive: true });
});

/** A gateway whose WebTransport has the number of its own port, or that of `udp`. */
async function start(flags = [], { port, udp } = {}) {
  port ??= await freePort();
  const own = ["--webtransport-listen", `127.0.0.1:${udp ?? port}`, "--webtransport-cert", join(folder, "cert"), "--webtransport-key", join(folder, "key")];
  const server = await startRelay([...own, "--api-key", KEY, "--shards", "2", ...flags], { port });
  servers.push(server);
  return server;
}

/** A page with the client of the gateway, from `server` or another origin, and a socket to `server`. */
async function open(server, transports, { origin = server, elsewhere = {}, ...options } = {}) {
  // The demo page allows no other gateway than its own.
  const page = await (await browser.newContext({ bypassCSP: true })).newPage();
  page.setDefaultTimeout(WITHIN_MS);
  await page.goto(`${origin.url}/`);
  await page.addScriptTag({ url: `${origin.url}/socket.io/socket.io.js` });
  await page.evaluate(
    ({ url, hash, transports, elsewhere, options }) => {
      const webtransport = { ...elsewhere, serverCertificateHashes: [{ algorithm: "sha-256", value: new Uint8Array(hash) }] };
      const socket = window.io(url, { forceNew: true, transports, transportOptions: { webtransport }, reconnectionDelay: 100, reconnectionDelayMax: 500, ...options });
      const seen = { connects: [], disconnects: [], errors: [], upgrades: [], events: [] };
      socket.on("connect", () => seen.connects.push(socket.io.engine.transport.name));
      socket.on("disconnect", (reason) => seen.disconnects.push(reason));
      socket.on("connect_error", (error) => seen.errors.push(error.message));
      socket.onAny((...event) => seen.events.push(event));
      socket.io.on("open", () => {
        socket.io.engine.on("upgrade", (transport) => seen.upgrades.push(transport.name));
        socket.io.engine.on("heartbeat", () => (seen.heartbeats = (seen.heartbeats ?? 0) + 1));
      });
      Object.assign(window, { socket, seen, call: (...event) => socket.timeout(10_000).emitWithAck(...event) });
    },
    { url: server.url, hash, transports, elsewhere, options },
  );
  return page;
}

/** Something of what a page has seen, once it is so. */
function shows(page, condition) {
  return page.waitForFunction(condition, undefined, { polling: 20 });
}

const connected = (page) => shows(page, () => window.seen.connects.length > 0);
const upgraded = (page) => shows(page, () => window.seen.upgrades.length > 0);
const seen = (page) => page.evaluate(() => window.seen);
const transport = (page) => page.evaluate(() => window.socket.io.engine.transport.name);

function api(server, call, body) {
  const headers = { Authorization: `Bearer ${KEY}`, "Content-Type": "application/json" };
  return request(server.internalPort, `/api/v1/${call}`, { method: "POST", headers, body: JSON.stringify(body) });
}

for (const [name, transports] of [["directly", DIRECT], ["from polling", UPGRADED]]) {
  test(`${name}: text, binary and 900 kB both ways, and heartbeats`, { skip }, async () => {
    const server = await start(["--engine-ping-interval", "300ms"]);
    const page = await open(server, transports);
    await connected(page);
    if (transports === UPGRADED) await upgraded(page);
    assert.equal(await transport(page), "webtransport");
    assert.equal((await metrics(server)).get(OPEN), 1);
    assert.equal(await page.evaluate(() => window.call("echo", "é漢😀")), "é漢😀");
    const sizes = await page.evaluate(async () => {
      const sizes = [];
      for (const size of [0, 1, 125, 126, 65_535, 65_536, 900_000]) {
        const sent = new Uint8Array(size).map((_, i) => i % 251);
        const back = new Uint8Array(await window.call("echo", sent));
        if (back.length === size && back.every((byte, i) => byte === i % 251)) sizes.push(size);
        const text = "x".repeat(size);
        if ((await window.call("echo", text)) !== text) throw new Error(`${size} of text`);
      }
      return sizes;
    });
    assert.deepEqual(sizes, [0, 1, 125, 126, 65_535, 65_536, 900_000]);
    await shows(page, () => window.seen.heartbeats > 3);
    assert.deepEqual((await seen(page)).disconnects, []);
  });
}

test("events keep their order through the upgrade, both ways", { skip }, async () => {
  const server = await start();
  const page = await open(server, UPGRADED);
  await connected(page);
  const answers = await page.evaluate(async () => {
    const calls = [];
    for (let i = 0; i < 1_000; i += 1) {
      calls.push(window.call("echo", i));
      if (i % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return Promise.all(calls);
  });
  assert.deepEqual(answers, Array.from({ length: 1_000 }, (_, i) => i));
  await upgraded(page);
  assert.deepEqual((await seen(page)).upgrades, ["webtransport"]);
  for (let i = 0; i < 200; i += 1) await api(server, "emit", { event: "tick", args: [i] });
  await shows(page, () => window.seen.events.length === 200);
  assert.deepEqual((await seen(page)).events, Array.from({ length: 200 }, (_, i) => ["tick", i]));
});

test("more than engine.max_payload closes the session, and the client comes back", { skip }, async () => {
  const server = await start();
  const page = await open(server, DIRECT);
  await connected(page);
  await page.evaluate((size) => window.socket.emit("echo", "x".repeat(size)), MAX_PAYLOAD + 1);
  await shows(page, () => window.seen.connects.length === 2);
  assert.deepEqual((await seen(page)).connects, ["webtransport", "webtransport"]);
  const closed = 'gateway_connections_closed_total{reason="parse_error",transport="webtransport"}';
  assert.equal((await metrics(server)).get(closed), 1);
});

test("a client that is disconnected knows by whom and stays away, and one that disconnects is gone", { skip }, async () => {
  const server = await start();
  const page = await open(server, DIRECT);
  await connected(page);
  const id = await page.evaluate(() => window.socket.id);
  await api(server, "disconnect", { select: { sockets: [id] }, close: true });
  await shows(page, () => window.seen.disconnects.length > 0);
  assert.deepEqual((await seen(page)).disconnects, ["io server disconnect"]);
  await page.evaluate(() => window.socket.connect());
  await shows(page, () => window.seen.connects.length === 2);
  await page.evaluate(() => window.socket.disconnect());
  await until("the session is gone", async () => (await metrics(server)).get(OPEN) === 0);
});

test("a client comes back by WebTransport after a drain and after a kill", { skip }, async (context) => {
  const heartbeat = ["--engine-ping-interval", "1s", "--engine-ping-timeout", "1s"];
  const flags = [...heartbeat, "--shutdown-drain", "300ms"];
  let server = await start(flags);
  const page = await open(server, UPGRADED);
  await upgraded(page);
  servers.pop();
  const drained = Date.now();
  await server.stop();
  server = await start(flags, { port: server.port });
  await shows(page, () => window.seen.upgrades.length === 2);
  context.diagnostic(`after the drain on WebTransport again within ${Date.now() - drained} ms`);
  servers.pop();
  const killed = Date.now();
  await server.kill();
  server = await start(flags, { port: server.port });
  await shows(page, () => window.seen.upgrades.length === 3);
  context.diagnostic(`after the kill on WebTransport again within ${Date.now() - killed} ms, with a heartbeat of 2 s`);
  const { disconnects, upgrades } = await seen(page);
  assert.deepEqual(upgrades, ["webtransport", "webtransport", "webtransport"]);
  assert.equal(disconnects.length, 2);
  context.diagnostic(`reasons: ${disconnects.join(", ")}`);
  assert.equal(await page.evaluate(() => window.call("echo", "here")), "here");
});

test("it goes before WebSocket", { skip }, async () => {
  const server = await start();
  const taken = [];
  while (!taken.includes("webtransport") && taken.length < TRIES) {
    const page = await open(server, ALL);
    await upgraded(page);
    taken.push(...(await seen(page)).upgrades);
  }
  assert.ok(taken.includes("webtransport"), `${taken}`);
});

test("what UDP does not reach falls back to WebSocket", { skip }, async (context) => {
  const server = await start([], { udp: await freePort() });
  const page = await open(server, ALL);
  const began = Date.now();
  await upgraded(page);
  context.diagnostic(`on WebSocket ${Date.now() - began} ms after the page looked`);
  assert.deepEqual((await seen(page)).upgrades, ["websocket"]);
  const alone = await open(server, DIRECT);
  await shows(alone, () => window.seen.errors.length > 0);
  assert.equal((await seen(alone)).errors[0], "webtransport error");
});

test("a session of another node stays there and takes WebSocket", { skip }, async () => {
  const server = await start();
  const other = await start(["--cors-origins", server.url]);
  const page = await open(server, ALL, { elsewhere: { port: other.port } });
  await upgraded(page);
  assert.deepEqual((await seen(page)).upgrades, ["websocket"]);
  assert.equal((await metrics(other)).get('gateway_upgrades_total{result="refused"}'), 1);
  assert.equal(await page.evaluate(() => window.call("echo", "here")), "here");
});

test("pages of other origins come in only if cors.origins lists them", { skip }, async () => {
  const [origin, closed] = [await start(), await start()];
  const listed = await start(["--cors-origins", origin.url]);
  const refused = await open(closed, DIRECT, { origin });
  await shows(refused, () => window.seen.errors.length > 0);
  assert.ok((await metrics(closed)).get('gateway_handshakes_rejected_total{reason="forbidden"}') >= 1);
  const welcome = await open(listed, DIRECT, { origin });
  await connected(welcome);
  assert.equal(await transport(welcome), "webtransport");
});

test("with recovery a client that lost its connection gets what it missed", { skip }, async () => {
  const server = await start(["--recovery-window", "1m", "--engine-ping-interval", "1s", "--engine-ping-timeout", "1s"]);
  const page = await open(server, ALL);
  await upgraded(page);
  await api(server, "emit", { event: "tick", args: [0] });
  await shows(page, () => window.seen.events.length === 1);
  await page.evaluate(() => window.socket.io.engine.close());
  for (let i = 1; i < 5; i += 1) await api(server, "emit", { event: "tick", args: [i] });
  await shows(page, () => window.seen.connects.length === 2);
  await shows(page, () => window.seen.events.length === 5);
  assert.equal(await page.evaluate(() => window.socket.recovered), true);
  assert.deepEqual((await seen(page)).events.map(([, number]) => number), [0, 1, 2, 3, 4]);
});
