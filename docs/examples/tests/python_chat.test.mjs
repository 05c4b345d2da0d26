// The chat with a Python backend: two clients on two nodes, and the HTTP API.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { until } from "../../../testkit/js/wait.mjs";
import { next } from "../testing/gateway.mjs";
import { startBrowser, startCluster, startPythonChat } from "./lib/programs.mjs";

const KEY = "a key of the examples";
const SECRET = "a secret of the examples";
let chat, cluster, one, two;

before(async () => {
  chat = await startPythonChat(SECRET);
  cluster = await startCluster({
    GATEWAY_API_KEY: KEY,
    GATEWAY_BACKEND_URL: chat.url,
    GATEWAY_BACKEND_SECRET: SECRET,
    GATEWAY_BACKEND_RETRIES: "0",
    GATEWAY_BACKEND_BREAKER_PAUSE: "100ms",
    GATEWAY_CORS_ORIGINS: `http://127.0.0.1:${chat.port}`,
  });
  [one, two] = cluster.nodes;
});

after(async () => {
  await cluster?.stop();
  await chat?.stop();
});

async function connected(node, name, options) {
  const socket = node.connect({ name }, options);
  await next(socket, "connect");
  return socket;
}

test("the backend refuses at connect, with its own data", async () => {
  const [refused] = await next(one.connect(), "connect_error");
  assert.equal(refused.message, "a name is needed");
  assert.deepEqual(refused.data, { code: "no_name" });
});

test("messages go through the backend to the other node, and replies are acknowledgements", async () => {
  const ann = await connected(one, "ann");
  const joined = next(ann, "joined");
  const bob = await connected(two, "bob", { transports: ["polling", "websocket"] });
  assert.deepEqual(await joined, ["bob"]);
  for (const [count, text] of ["hello", "again"].entries()) {
    const heard = next(bob, "said");
    assert.deepEqual(await ann.emitWithAck("say", text), { ok: true, said: count + 1 });
    assert.deepEqual(await heard, ["ann", text]);
  }
  const whispered = next(ann, "whispered");
  assert.deepEqual(await bob.emitWithAck("whisper", "ann", "psst"), { ok: true });
  assert.deepEqual(await whispered, ["bob", "psst"]);
  assert.deepEqual(await ann.emitWithAck("nonsense"), { ok: false, error: { code: "unknown_event" } });
  ann.close();
  bob.close();
});

test("the API sees both nodes and kicks on the other one", async () => {
  const ann = await connected(one, "ann");
  const bob = await connected(two, "bob");
  await until("both are seen", async () => (await one.api("presence?room=lobby")).socket_count === 2);
  const { users, missing_nodes } = await one.api("presence?room=lobby");
  assert.deepEqual(users, [{ user: "ann", sockets: 1 }, { user: "bob", sockets: 1 }]);
  assert.deepEqual(missing_nodes, []);
  const { sockets } = await one.api("sockets?user=bob");
  assert.equal(sockets[0].node, "two");
  const gone = next(bob, "disconnect");
  assert.deepEqual(await one.api("disconnect", { select: { user: "bob" } }), { ok: true });
  assert.deepEqual((await gone)[0], "io server disconnect");
  assert.equal(ann.connected, true);
  ann.close();
});

test("two browsers on two nodes talk, one is kicked by the API of the other node", async (t) => {
  const browser = await startBrowser();
  t.after(() => browser.close());
  const open = async (node, name, state) => {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${chat.port}/?gateway=${encodeURIComponent(node.url)}${name ? `&name=${name}` : ""}`);
    await page.getByText(state, { exact: true }).waitFor();
    return page;
  };
  await open(one, undefined, "refused: a name is needed (no_name)");
  const ann = await open(one, "ann", "connected");
  const bob = await open(two, "bob", "connected");
  await ann.getByText("bob is here", { exact: true }).waitFor();
  for (const [page, other, name, text] of [[ann, bob, "ann", "hello"], [bob, ann, "bob", "<b>hello</b> yourself"]]) {
    await page.getByPlaceholder("message").fill(text);
    await page.getByRole("button", { name: "Say" }).click();
    await page.getByText("said 1", { exact: true }).waitFor();
    await other.getByText(`${name}: ${text}`, { exact: true }).waitFor();
  }
  assert.deepEqual(await one.api("disconnect", { select: { user: "bob" } }), { ok: true });
  await bob.getByText("gone: io server disconnect", { exact: true }).waitFor();
  assert.equal(await ann.getByText("connected", { exact: true }).count(), 1);
});

test("a backend that is away is told, and comes back by itself", async () => {
  const ann = await connected(one, "ann");
  const { port } = chat;
  await chat.stop();
  const answer = await ann.emitWithAck("say", "anybody there?");
  assert.equal(answer.error.code, "backend_unavailable");
  // Who connects meanwhile is sent away, not refused: a connect_error would be final.
  const late = two.connect({ name: "late" }, { reconnection: true, reconnectionDelay: 100, reconnectionDelayMax: 500 });
  let refused;
  late.on("connect_error", (error) => (refused = error));
  chat = await startPythonChat(SECRET, port);
  await until("the backend is back", async () => (await ann.emitWithAck("say", "again")).ok);
  assert.equal(ann.connected, true);
  await until("the late one comes by itself", () => late.connected);
  assert.equal(refused, undefined);
});
