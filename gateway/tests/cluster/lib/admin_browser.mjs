// The official admin page in Chromium.
import assert from "node:assert/strict";
import { LOGIN } from "./admin.mjs";

const WITHIN_MS = 20_000;

export const at = (page, label) => page.getByLabel(label, { exact: true });

/** The page as a node serves it. A failed script or a request to anywhere else stands in its `failures`. */
export async function visit(browser, world, server) {
  const { url } = world.server(server);
  const context = await browser.newContext({ viewport: { width: 1400, height: 1000 } });
  context.setDefaultTimeout(WITHIN_MS);
  const page = await context.newPage();
  page.failures = [];
  page.on("pageerror", (error) => page.failures.push(error));
  page.on("requestfailed", (request) => page.failures.push(new Error(`${request.url()} failed`)));
  page.on("request", (request) => {
    const allowed = world.gateways.some((it) => request.url().startsWith(it.url));
    if (!allowed && !request.url().startsWith("data:")) page.failures.push(new Error(`asked for ${request.url()}`));
  });
  const response = await page.goto(`${url}/admin/`);
  assert.equal(response.status(), 200);
  return page;
}

export async function logIn(page, server, password = LOGIN.password) {
  await at(page, "Server URL").fill(server.url);
  await at(page, "Username").fill(LOGIN.username);
  await at(page, "Password").fill(password);
  await page.getByRole("button", { name: "Connect" }).click();
}

/** The number in the row of a table on the dashboard. */
export async function shown(page, title, row) {
  const card = page.locator(".v-card").filter({ has: page.locator(".v-card__title", { hasText: title }) }).first();
  const text = await card.locator("tr").filter({ hasText: row }).first().innerText();
  return Number(text.replace(row, "").match(/\d+/)?.[0]);
}
