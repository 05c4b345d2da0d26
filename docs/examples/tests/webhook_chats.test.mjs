// The same chat with backends in three languages: each is started as its page says, and used in a real browser.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { EXAMPLES, picture, startBrowser, startExample } from "./lib/programs.mjs";

const BACKENDS = ["python-chat", "node-webhook", "php-webhook"];
let browser;
before(async () => (browser = await startBrowser()));
after(() => browser?.close());

for (const backend of BACKENDS) {
  test(`${backend}: two pages talk and whisper, and who has no name is refused`, async (t) => {
    const chat = await startExample(backend);
    t.after(() => chat.stop());
    const open = async (parameters, state) => {
      const page = await browser.newPage({ viewport: { width: 480, height: 400 } });
      await page.goto(chat.page(parameters));
      await page.getByText(state, { exact: true }).waitFor();
      return page;
    };
    const say = async (page, text, answer) => {
      await page.getByPlaceholder("message").fill(text);
      await page.getByRole("button", { name: "Say" }).click();
      await page.getByText(answer, { exact: true }).waitFor();
    };
    await open({}, "refused: a name is needed (no_name)");
    const ann = await open({ name: "ann" }, "connected");
    const bob = await open({ name: "bøb" }, "connected");
    await ann.getByText("bøb is here", { exact: true }).waitFor();
    await say(ann, "Hello, who speaks for you?", "said 1");
    await bob.getByText("ann: Hello, who speaks for you?", { exact: true }).waitFor();
    await say(bob, `A backend: ${backend}`, "said 1");
    await ann.getByText(`bøb: A backend: ${backend}`, { exact: true }).waitFor();
    await say(ann, "/w bøb between us two", "whispered to bøb");
    await bob.getByText("ann whispers: between us two", { exact: true }).waitFor();
    await say(bob, "I heard you", "said 2");
    await ann.getByText("bøb: I heard you", { exact: true }).waitFor();
    await picture(ann, backend);
    await say(bob, "<b>plain</b> 漢字", "said 3");
    await ann.getByText("bøb: <b>plain</b> 漢字", { exact: true }).waitFor();
  });

  test(`${backend}: calls that the gateway did not sign are refused`, async (t) => {
    const chat = await startExample(backend);
    t.after(() => chat.stop());
    const body = JSON.stringify({ type: "connect", auth: { name: "mallory" }, socket: { id: "x", rooms: [], data: null } });
    const now = Math.floor(Date.now() / 1000);
    const sign = (secret) => createHmac("sha256", secret).update(`${now}.${body}`).digest("hex");
    for (const signature of [undefined, "", "t=,v1=", "t", `t=${now},v1=`, `t=${now},v1=ä`, `t=${now},v1=00`, `t=${now},v1=${sign("a guess at the secret")}`, `t=${now},v1=${sign("")}`]) {
      // Node's fetch takes headers of latin1 alone, which is what such a header is.
      const headers = { "content-type": "application/json", ...(signature === undefined ? {} : { "gateway-signature": signature }) };
      const { status } = await fetch(chat.webhook, { method: "POST", headers, body });
      assert.equal(status, 401, `signature ${signature}`);
    }
  });
}

test("the three have the same page", () => {
  const [page, ...others] = BACKENDS.map((backend) => readFileSync(`${EXAMPLES}/${backend}/page.html`, "utf8"));
  for (const other of others) assert.equal(other, page);
});
