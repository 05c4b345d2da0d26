// The Vue page, in a real browser.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { io } from "socket.io-client";
import { next } from "../testing/gateway.mjs";
import { picture, startBrowser, startExample } from "./lib/programs.mjs";

let browser, chat;

before(async () => {
  chat = await startExample("vue-chat");
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await chat?.stop();
});

async function open(name) {
  const context = await browser.newContext({ viewport: { width: 480, height: 400 } });
  const page = await context.newPage();
  await page.goto(chat.page({ name }));
  await page.getByText("connected", { exact: true }).waitFor();
  return page;
}

async function say(page, text) {
  await page.getByPlaceholder("message").fill(text);
  await page.getByRole("button", { name: "Say" }).click();
}

test("two pages and a program talk, and who comes late sees what was said", async (t) => {
  const [ann, bob] = [await open("ann"), await open("bob")];
  const program = io(chat.gateway);
  t.after(() => program.close());
  assert.deepEqual(await program.emitWithAck("join", "lobby"), { ok: true });
  const heard = next(program, "said");
  await say(ann, "Hello! Is anybody here?");
  assert.deepEqual((await heard).slice(0, 2), ["ann", "Hello! Is anybody here?"]);
  await bob.getByText("Hello! Is anybody here?").waitFor();
  await program.emitWithAck("publish", "lobby", "said", "program", "<b>I am</b>, and I am no page");
  await bob.getByText("<b>I am</b>").waitFor();
  const cleo = await open("cleo");
  await cleo.getByText("Hello! Is anybody here?").waitFor();
  await cleo.getByText("<b>I am</b>").waitFor();
  await say(bob, "So am I, and I read along");
  await cleo.getByText("So am I").waitFor();
  await bob.getByPlaceholder("message").fill("Who");
  await ann.getByText("bob is typing").waitFor();
  await picture(ann, "vue-chat");
});

test("a page that was offline shows what it missed, once", async () => {
  const [dora, eric] = [await open("dora"), await open("eric")];
  await say(eric, "before");
  await dora.getByText("before").waitFor();
  await dora.context().setOffline(true);
  // Chromium does not cut a WebSocket that is open; leaving the page and coming back does.
  await say(eric, "meanwhile");
  await eric.getByText("meanwhile").waitFor();
  await dora.context().setOffline(false);
  await dora.reload();
  await dora.getByText("meanwhile").waitFor();
  assert.equal(await dora.getByText("before").count(), 1);
});
