// The game with its rules on a server, in a real browser.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { io } from "socket.io-client";
import { until } from "../../../testkit/js/wait.mjs";
import { next } from "../testing/gateway.mjs";
import { picture, startBrowser, startExample } from "./lib/programs.mjs";

let browser, game;

before(async () => {
  game = await startExample("draw-and-guess");
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await game?.stop();
});

async function open(name, room) {
  const page = await browser.newPage({ viewport: { width: 900, height: 640 } });
  await page.goto(game.page({ name, room }));
  await page.getByText(/^(Free drawing|.* draws: [_ ]+)$/).waitFor();
  return page;
}

async function draw(page, points) {
  const box = await page.locator("#board").boundingBox();
  const [first, ...rest] = points.map(([x, y]) => [box.x + x * box.width, box.y + y * box.height]);
  await page.mouse.move(...first);
  await page.mouse.down();
  for (const point of rest) await page.mouse.move(...point, { steps: 5 });
  await page.mouse.up();
}

const inked = (page) =>
  page.locator("#board").evaluate((canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.filter((value, index) => index % 4 === 3 && value > 0).length);

const circle = (x, y, radius) => Array.from({ length: 25 }, (_, i) => [x + radius * Math.cos((i * Math.PI) / 12), y + (radius * 4) / 3 * Math.sin((i * Math.PI) / 12)]);

async function say(page, text) {
  await page.getByPlaceholder("Your guess").fill(text);
  await page.getByRole("button", { name: "Say" }).click();
}

test("a round: one draws, who comes late sees the board, the word wins, and nobody else is told it", async () => {
  const [ann, bob] = [await open("ann", "studio"), await open("bob", "studio")];
  await ann.getByRole("button", { name: "Draw a word" }).click();
  await ann.getByText(/^Draw: \w+$/).waitFor();
  const word = (await ann.locator("#title").innerText()).replace("Draw: ", "");
  await bob.getByText(/^ann draws: [_ ]+$/).waitFor();

  await draw(ann, [[0.3, 0.85], [0.3, 0.5], [0.6, 0.5], [0.6, 0.85], [0.3, 0.85]]);
  await draw(ann, [[0.41, 0.85], [0.41, 0.66], [0.49, 0.66], [0.49, 0.85]]);
  await ann.getByLabel("Colour 2").click();
  await draw(ann, [[0.26, 0.52], [0.45, 0.25], [0.64, 0.52]]);
  await ann.getByLabel("Colour 3").click();
  await draw(ann, circle(0.82, 0.22, 0.06));
  await ann.getByLabel("Colour 4").click();
  await draw(ann, [[0.06, 0.87], [0.3, 0.85]]);
  await draw(ann, [[0.6, 0.85], [0.95, 0.88]]);
  const drawn = await inked(ann);
  assert.ok(drawn > 1_000, `${drawn}`);
  await until("bob sees it", async () => (await inked(bob)) > 0.9 * drawn);
  const cleo = await open("cleo", "studio");
  await until("cleo sees it", async () => (await inked(cleo)) > 0.9 * drawn);
  for (const page of [bob, cleo]) assert.ok(!(await page.content()).includes(word));

  // It is not theirs to draw.
  await draw(bob, [[0.1, 0.1], [0.9, 0.9]]);
  await say(ann, `it is a ${word}`);
  await ann.getByText("No hints!").waitFor();
  await say(cleo, "a shed?");
  await bob.getByText("cleo: a shed?").waitFor();
  await say(bob, "Is anybody at home?");
  await cleo.getByText("bob: Is anybody at home?").waitFor();
  await picture(bob, "draw-and-guess");
  await say(bob, word.toUpperCase());
  for (const page of [ann, bob, cleo]) {
    await page.getByText(`bob found “${word}”.`).waitFor();
    await page.getByText("Free drawing", { exact: true }).waitFor();
    assert.deepEqual(await page.locator("#people li").allInnerTexts(), ["ann\n0", "bob\n1", "cleo\n0"]);
  }
  assert.ok(Math.abs((await inked(cleo)) - drawn) < 0.1 * drawn, "bob's line came to nobody");
  await cleo.close();
  await until("the others see that she is gone", async () => (await ann.locator("#people li").count()) === 2);
});

test("the backend takes no stroke of others, none that is wrong, and no round while there is one", async () => {
  const [ann, bob] = ["ann", "bob"].map((name) => io(game.gateway, { auth: { name, room: "rules" }, forceNew: true }));
  await Promise.all([next(ann, "board"), next(bob, "board")]);
  assert.equal((await ann.emitWithAck("start")).ok, true);
  assert.equal((await bob.emitWithAck("start")).error.code, "running");
  const stroke = { colour: 0, points: [0, 0, 10, 10] };
  assert.equal((await bob.emitWithAck("stroke", stroke)).error.code, "not_yours");
  for (const wrong of [undefined, null, {}, { colour: 9, points: [] }, { colour: 0, points: [1] }, { colour: 0, points: [-1, 0] }, { colour: 0, points: Array(402).fill(1) }]) {
    assert.equal((await ann.emitWithAck("stroke", wrong)).error.code, "bad_stroke");
  }
  const seen = next(bob, "stroke");
  ann.emit("stroke", stroke);
  assert.deepEqual(await seen, [stroke]);
  assert.equal((await ann.emitWithAck("constructor")).error.code, "unknown_event");
  const over = next(bob, "over");
  ann.close();
  assert.deepEqual(await over, [null]);
  bob.close();
});
