// The Vue page, in a real browser.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { next, startGateway } from "../testing/gateway.mjs";
import { serve } from "../vue-chat/serve.mjs";

const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
let browser, gateway, pages;

before(async () => {
  pages = await serve();
  gateway = await startGateway({ GATEWAY_CORS_ORIGINS: `http://127.0.0.1:${pages.address().port}` });
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ARGUMENTS });
});

after(async () => {
  await browser?.close();
  await gateway?.stop();
  pages?.close();
});

test("two pages and a program talk", async () => {
  const open = async (name) => {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${pages.address().port}/?name=${name}&gateway=${encodeURIComponent(gateway.url)}`);
    await page.getByText("connected", { exact: true }).waitFor();
    return page;
  };
  const [ann, bob] = [await open("ann"), await open("bob")];
  const program = gateway.connect();
  assert.deepEqual(await program.emitWithAck("join", "lobby"), { ok: true });
  const heard = next(program, "said");
  await ann.getByPlaceholder("message").fill("hello from ann");
  await ann.getByRole("button", { name: "Say" }).click();
  assert.deepEqual(await heard, ["ann", "hello from ann"]);
  await bob.getByText("hello from ann").waitFor();
  await program.emitWithAck("publish", "lobby", "said", "program", "<b>not bold</b>");
  await bob.getByText("<b>not bold</b>").waitFor();
});
