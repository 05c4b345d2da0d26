// The page of a node's internal port, in Chromium: three nodes on one Redis, one of which is killed. PICTURES=folder keeps pictures of it.
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, afterEach, before, test } from "node:test";
import { freePort } from "../../../testkit/js/ports.mjs";
import { Redis } from "../../../testkit/js/redis.mjs";
import { until } from "../../../testkit/js/wait.mjs";
import { startGateway } from "../testing/gateway.mjs";
import { picture, startBrowser } from "./lib/programs.mjs";

const WITHIN_MS = 20_000;
const HOSTILE = "</script><script>hurt=1</script><img src=x onerror=hurt=1>";
const PHONE = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2 };

let redis;
let browser;
const nodes = [];
const clients = [];

before(async () => {
  redis = await Redis.start();
  for (const id of ["gw-1", "gw-2", "gw-3"]) nodes.push(await start(id));
  for (const node of nodes) await until("the nodes know each other", async () => (await node.api("nodes")).nodes?.length === nodes.length);
  browser = await startBrowser();
});
afterEach(() => Promise.all(browser.contexts().map((context) => context.close())));
after(async () => {
  await browser?.close();
  await Promise.all(nodes.map((node) => node.stop()));
  await redis?.stop();
});

async function start(id) {
  const internal = await freePort();
  return startGateway({
    GATEWAY_CLUSTER_NODE_ID: id,
    GATEWAY_INTERNAL_LISTEN: `127.0.0.1:${internal}`,
    GATEWAY_REDIS_URL: redis.url,
    GATEWAY_API_KEY: "a key of these tests",
    GATEWAY_RECOVERY_WINDOW: "2m",
    GATEWAY_ENGINE_PING_INTERVAL: "1s",
  });
}

/** Clients of a node in these rooms. */
async function join(node, count, ...rooms) {
  const joined = Array.from({ length: count }, async (_, number) => {
    const client = node.connect({}, number % 4 === 3 ? { transports: ["polling"] } : {});
    clients.push(client);
    assert.deepEqual(await client.timeout(WITHIN_MS).emitWithAck("join", rooms), { ok: true });
    return client;
  });
  return Promise.all(joined);
}

/** A page that fails the test when something in it fails, or is asked for elsewhere. */
async function open(node, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, ...options });
  context.setDefaultTimeout(WITHIN_MS);
  const page = await context.newPage();
  page.failures = [];
  page.asked = 0;
  page.on("pageerror", (error) => page.failures.push(error));
  page.on("console", (message) => message.text().includes("Content Security Policy") && page.failures.push(new Error(message.text())));
  page.on("request", (request) => {
    if (request.url().endsWith("/status.json")) page.asked += 1;
    else if (!request.url().startsWith("data:") && request.url() !== `${node.internal}/`) page.failures.push(new Error(`asked for ${request.url()}`));
  });
  assert.equal((await page.goto(`${node.internal}/`)).status(), 200);
  await page.locator("main").waitFor({ state: "visible" });
  return page;
}

const said = (page, selector) => page.locator(selector).textContent();
const shows = (page, what, selector, pattern) => until(`${what}: ${pattern}`, async () => pattern.test(await said(page, selector)), WITHIN_MS);
const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

test("the page shows all nodes, and its numbers change", async () => {
  const [one, two] = nodes;
  const page = await open(one);
  for (const id of ["gw-1", "gw-2", "gw-3"]) await page.locator(`#nodes tr[data-node="${id}"]`).waitFor();
  // A busy machine is late with heartbeats, and says so.
  assert.doesNotMatch(await said(page, "#problems"), /answer|gone|hears|alone|Redis|versions/);
  await shows(page, "nobody is there", "#connections", /^0$/);
  await join(one, 5, "lobby");
  await join(two, 4, "lobby", "news");
  await shows(page, "the clients", "#connections", /^9$/);
  await shows(page, "by transport", "#transports-legend", /WebSocket 7.*polling 2/);
  await shows(page, "the largest room", "#largest li:first-child", /^lobby9$/);
  await shows(page, "another room", "#largest", /news4/);
  const publishing = setInterval(() => clients[0].emit("publish", "lobby", "said", "hello"), 20);
  await shows(page, "events", "#events-out", /^[1-9]/);
  await shows(page, "the busiest room", "#busiest li:first-child", /^lobby/);
  clearInterval(publishing);
  await shows(page, "answers to heartbeats", "#heartbeat", /ms/);
  assert.equal(await said(page, "#redis .tag"), "connected");
  for (const off of ["backends", "stream", "drain"]) assert.equal(await said(page, `#${off} .tag`), "off");
  assert.deepEqual(page.failures, []);
});

test("refusals and closes come with what to do about them", async () => {
  const page = await open(nodes[0]);
  await fetch(`${nodes[1].url}/socket.io/?EIO=9&transport=polling`);
  await shows(page, "a refusal of another node", '[data-reason="unsupported_version"]', /Update the client/);
  const [client] = await join(nodes[2], 1, "short");
  client.disconnect();
  await shows(page, "a close", '[data-reason="transport_close"]', /Nothing if clients leave/);
  assert.deepEqual(page.failures, []);
});

test("a hostile room is shown as text, and fits a phone", async () => {
  await join(nodes[1], 12, HOSTILE, "x".repeat(300));
  const page = await open(nodes[0], PHONE);
  await shows(page, "its name", "#largest", /<\/script><script>hurt=1/);
  assert.equal(await page.evaluate(() => typeof globalThis.hurt), "undefined");
  assert.equal(await page.locator("main img, main script").count(), 0);
  assert.equal(await overflow(page), 0);
  await page.setViewportSize({ width: 320, height: 600 });
  assert.equal(await overflow(page), 0);
  assert.deepEqual(page.failures, []);
});

test("a page that nobody sees asks for nothing", async () => {
  const page = await open(nodes[0]);
  const hide = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, value: hidden });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await until("it asks again and again", () => page.asked > 2);
  await hide(true);
  const before = page.asked;
  // Longer than it waits between two questions.
  await page.waitForTimeout(5000);
  assert.equal(page.asked, before);
  await hide(false);
  await until("it goes on", () => page.asked > before);
  assert.deepEqual(page.failures, []);
});

if (process.env.PICTURES) {
  test("pictures of the page", async () => {
    const [one, two, three] = nodes;
    for (const [number, node] of nodes.entries()) {
      for (const [room, count] of [["match 17", 9 + number], ["match 21", 6], ["news", 14], ["team red", 4]]) await join(node, count, room, "lobby");
    }
    const speaking = setInterval(() => {
      for (const [index, room] of [[0, "lobby"], [20, "match 17"], [40, "news"], [60, "lobby"]]) clients[index]?.emit("publish", room, "said", "hello");
    }, 30);
    for (let round = 0; round < 3; round += 1) await fetch(`${three.url}/socket.io/?EIO=4&transport=polling&sid=abcdefghijklmnopqrst`);
    await fetch(`${two.url}/socket.io/?EIO=4&transport=nothing`);
    for (const [name, options] of [["status", {}], ["status-dark", { colorScheme: "dark" }], ["status-phone", { ...PHONE, viewport: { width: 360, height: 1100 } }]]) {
      const page = await open(one, options);
      await page.waitForTimeout(name === "status" ? 40_000 : 12_000);
      await page.screenshot({ path: `${process.env.PICTURES}/${name}.png`, fullPage: name !== "status-phone" });
      assert.deepEqual(page.failures, []);
    }
    clearInterval(speaking);
  });
}

test("a node that is killed is told of, and the node itself", async () => {
  const [one, , three] = nodes;
  const page = await open(one);
  await page.locator('#nodes tr[data-node="gw-3"]').waitFor();
  three.process.kill("SIGKILL");
  await once(three.process, "exit");
  await shows(page, "it does not answer, or is gone", "#problems", /gw-3 (does not answer|is gone)/);
  await shows(page, "it is gone", '#nodes tr[data-node="gw-3"]', /gone for/);
  await picture(page, "status-gone");
  one.process.kill("SIGKILL");
  await once(one.process, "exit");
  await shows(page, "the page's own node", "#notice", /does not answer any more\. The figures are \d+ s old/);
  assert.equal(await page.locator("#notice").isVisible(), true);
  assert.equal(await said(page, "#live"), "No answer");
  await picture(page, "status-lost");
  assert.deepEqual(page.failures, []);
});
