// The demo page in Chromium: two people in one room chat and draw. SCREENSHOT=path keeps a picture of it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { chromium } from "playwright-core";
import { Door } from "./lib/door.mjs";
import { FOLDER, REFERENCE, startRelay } from "./lib/target.mjs";

const WITHIN_MS = 15_000;

let server;
let browser;
before(async () => {
  server = await startRelay();
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
});
afterEach(() => Promise.all(browser.contexts().map((context) => context.close())));
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** A page of its own browser profile that fails the test when a script of it fails. */
async function open({ query = "", url = server.url, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 820 }, ...options });
  context.setDefaultTimeout(WITHIN_MS);
  const page = await context.newPage();
  page.failures = [];
  page.on("pageerror", (error) => page.failures.push(error));
  // Only the gateway is asked for anything.
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) page.failures.push(new Error(`asked for ${request.url()}`));
  });
  const response = await page.goto(`${url}/${query}`);
  assert.equal(response.status(), 200);
  assert.match(response.headers()["content-type"], /^text\/html/);
  return page;
}

const at = (page, id) => page.getByTestId(id);

async function enter(page, name, room) {
  await at(page, "name-input").fill(name);
  await at(page, "room-input").fill(room);
  await at(page, "join-button").click();
  await at(page, "board").waitFor({ state: "visible" });
}

async function say(page, text) {
  await at(page, "message-input").fill(text);
  await at(page, "send-button").click();
}

async function shows(page, id, text) {
  await at(page, id).getByText(text).first().waitFor({ state: "visible" });
}

/** Draws lines on the board; points are shares of its width and height. */
async function draw(page, lines) {
  const box = await at(page, "board").boundingBox();
  for (const line of lines) {
    const [first, ...rest] = line.map(([x, y]) => [box.x + x * box.width, box.y + y * box.height]);
    await page.mouse.move(...first);
    await page.mouse.down();
    for (const point of rest) await page.mouse.move(...point, { steps: 6 });
    await page.mouse.up();
  }
}

/** How many pixels of the board are painted with anything but its own ground. */
function inked(page) {
  return at(page, "board").evaluate((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const ground = data.slice(0, 4).join();
    let pixels = 0;
    for (let i = 0; i < data.length; i += 4) if (data.slice(i, i + 4).join() !== ground) pixels += 1;
    return pixels;
  });
}

async function untilInked(page, pixels) {
  const deadline = Date.now() + WITHIN_MS;
  while ((await inked(page)) < pixels) {
    assert.ok(Date.now() < deadline, `only ${await inked(page)} of ${pixels} pixels are painted`);
    await page.waitForTimeout(50);
  }
}

function circle(x, y, radius) {
  return Array.from({ length: 25 }, (_, i) => [x + radius * Math.cos((i * Math.PI) / 12), y + (radius * 4) / 3 * Math.sin((i * Math.PI) / 12)]);
}

const PICTURE = [
  [[0.3, 0.85], [0.3, 0.5], [0.6, 0.5], [0.6, 0.85], [0.3, 0.85]],
  [[0.26, 0.52], [0.45, 0.25], [0.64, 0.52]],
  [[0.41, 0.85], [0.41, 0.66], [0.49, 0.66], [0.49, 0.85]],
  circle(0.82, 0.22, 0.06),
  [[0.06, 0.87], [0.3, 0.85]],
  [[0.6, 0.85], [0.95, 0.88]],
];

for (const query of ["", "?transport=polling"]) {
  test(`two pages see each other, chat and draw (${query || "upgrade"})`, async () => {
    const [ann, bob] = await Promise.all([open({ query }), open({ query })]);
    await enter(ann, "Ann", "parlour");
    await enter(bob, "Bob", "parlour");
    await shows(ann, "users", "Bob");
    await shows(bob, "users", "Ann");

    await say(ann, "Hello Bob, look at this!");
    await shows(bob, "messages", "Hello Bob, look at this!");
    await say(bob, "What is it going to be?");
    await shows(ann, "messages", "What is it going to be?");

    assert.equal(await inked(bob), 0);
    await draw(ann, PICTURE);
    const drawn = await inked(ann);
    assert.ok(drawn > 500, `${drawn} pixels`);
    // Both boards have the same size; a hair of difference is left to anti-aliasing.
    await untilInked(bob, drawn * 0.9);
    await say(bob, "A house in the sun!");
    await shows(ann, "messages", "A house in the sun!");
    assert.match(await at(ann, "status").innerText(), query ? /polling/ : /websocket/);
    // Who comes late is told the drawing by those who are there; nothing is kept here.
    const cleo = await open({ query });
    await enter(cleo, "Cleo", "parlour");
    await untilInked(cleo, drawn * 0.9);
    if (process.env.SCREENSHOT && !query) await bob.screenshot({ path: process.env.SCREENSHOT });
    assert.deepEqual([...ann.failures, ...bob.failures, ...cleo.failures], []);
  });
}

test("the client that the gateway brings along is the one of npm", { skip: REFERENCE && "Node serves the client that is installed" }, async () => {
  for (const name of ["socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js"]) {
    const served = await fetch(`${server.url}/socket.io/${name}`);
    assert.equal(await served.text(), readFileSync(join(FOLDER, "node_modules/socket.io-client/dist", name), "utf8"), name);
  }
});

test("the page works where only WebSocket is allowed", async () => {
  const narrow = await startRelay(["--engine-transports", "websocket"]);
  try {
    const page = await open({ url: narrow.url });
    await enter(page, "Ann", "parlour");
    assert.match(await at(page, "status").innerText(), /websocket/);
  } finally {
    await narrow.stop();
  }
});

test("rooms keep to themselves", async () => {
  const [ann, bob, eve] = await Promise.all([open(), open(), open()]);
  await enter(ann, "Ann", "first");
  await enter(bob, "Bob", "first");
  await enter(eve, "Eve", "second");
  await say(ann, "<b>among</b> us 漢字 😀");
  await shows(bob, "messages", "<b>among</b> us 漢字 😀");
  assert.equal(await at(eve, "messages").getByText("us 漢字").count(), 0);
  assert.equal(await at(eve, "users").getByText("Ann").count(), 0);
});

test("a page comes back by itself after a restart of the gateway", async () => {
  const [ann, bob] = await Promise.all([open(), open()]);
  await enter(ann, "Ann", "attic");
  await enter(bob, "Bob", "attic");
  await server.terminate();
  server = await startRelay([], { port: server.port });
  await shows(ann, "status", "Connected");
  await shows(bob, "status", "Connected");
  await say(ann, "There you are again");
  await shows(bob, "messages", "There you are again");
});

test("the page fits a phone", async () => {
  const page = await open({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
  await enter(page, "Ann", "pocket");
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(overflow, 0);
  for (const id of ["board", "message-input", "send-button"]) assert.ok(await at(page, id).isVisible(), id);
});

/** Text of the messages that are shown, from the first to the last. */
const said = (page) => at(page, "messages").locator(".text").allInnerTexts();

test("with recovery, who comes late sees the drawing and the messages, and a dropped connection loses nothing", async () => {
  const keeping = await startRelay(["--recovery-window", "1m"]);
  const door = await Door.start(keeping);
  try {
    const url = door.url;
    const ann = await open({ url });
    await enter(ann, "Ann", "studio");
    await say(ann, "Is anybody here?");
    await draw(ann, PICTURE);
    const drawn = await inked(ann);
    await say(ann, "Then I go");
    await ann.close();
    // Nobody is there who could tell him.
    const bob = await open({ url });
    await enter(bob, "Bob", "studio");
    await untilInked(bob, drawn * 0.9);
    assert.deepEqual(await said(bob), ["Is anybody here?", "Then I go"]);

    const eve = await open({ url });
    await enter(eve, "Eve", "studio");
    await say(eve, "Hello Bob");
    await shows(bob, "messages", "Hello Bob");
    await shows(bob, "users", "Eve");
    for (let round = 0; round < 3; round += 1) {
      door.cut();
      // What a page said before, it shows still.
      for (const page of [bob, eve]) {
        await at(page, "messages").getByText("Trying again").nth(round).waitFor();
        await at(page, "messages").getByText("Connected again.").nth(round).waitFor();
      }
      await say(eve, `Round ${round}`);
      await shows(bob, "messages", `Round ${round}`);
    }
    await bob.getByText("Connected again. What you missed follows.").nth(2).waitFor();
    assert.deepEqual(await said(bob), ["Is anybody here?", "Then I go", "Hello Bob", "Round 0", "Round 1", "Round 2"]);
    assert.deepEqual([...bob.failures, ...eve.failures], []);
  } finally {
    await door.stop();
    await keeping.stop();
  }
});
