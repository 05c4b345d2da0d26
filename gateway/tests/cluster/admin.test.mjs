// The admin page of Socket.IO on three gateway nodes and a Node server: a scripted page on each kind of server, and the official page in
// Chromium. SCREENSHOT=path keeps a picture of it.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { launchChromium } from "../clients/lib/chromium.mjs";
import { Client } from "./lib/clients.mjs";
import { metric } from "./lib/gateways.mjs";
import { HASH, LOGIN, OfficialPage, Page } from "./lib/admin.mjs";
import { at, logIn, shown, visit } from "./lib/admin_browser.mjs";
import { connectRedis } from "./lib/node_server.mjs";
import { until } from "../../../testkit/js/wait.mjs";
import { RedisCluster } from "../../../testkit/js/redis.mjs";
import { World } from "./lib/world.mjs";

const SETTINGS = {
  "cluster.secret": "a secret of the tests",
  "admin.user": LOGIN.username,
  "admin.password": HASH,
  "admin.mode": "development",
  "admin.events_per_second": 1000,
};

/** Clients of the world: two of each server. */
const CLIENTS = 8;

describe("three nodes and a Node server with admin pages", () => {
  let world;
  let official;
  let pages = [];
  before(async () => {
    official = new OfficialPage();
    world = await World.start({
      relays: ["a", "b", "c"],
      settings: { ...SETTINGS, "admin.ui_dir": official.dir },
      // Node's bcrypt knows no other prefix.
      node: { admin: { auth: { type: "basic", username: LOGIN.username, password: HASH }, mode: "development", serverId: "node" } },
    });
  });
  afterEach(() => {
    pages.forEach((page) => page.close());
    pages = [];
  });
  after(async () => {
    await world?.stop();
    official?.remove();
  });

  async function open(server, ...args) {
    const page = await Page.open(world.server(server), ...args);
    pages.push(page);
    return page;
  }

  const id = (name) => world.client(name).socket.id;

  for (const server of ["a", "node"]) {
    it(`a page of ${server} sees the numbers and the sockets of all servers`, async () => {
      const page = await open(server);
      await until("all servers told their numbers", () => ["a", "b", "c", "node"].every((it) => page.servers.has(it)));
      await until("all clients are counted", () => page.count("/") === CLIENTS);
      await until("the page has a list", () => page.sockets !== undefined);
      for (const [name, client] of world.clients) {
        const shown = page.sockets.get(client.socket.id);
        assert.ok(shown, `${name} is not shown`);
        assert.equal(shown.transport, name.split("/")[1]);
        assert.equal(shown.nsp, "/");
        assert.ok(shown.clientId && shown.clientId !== "undefined", JSON.stringify(shown));
        assert.ok(shown.rooms.includes(client.socket.id));
      }
      const clients = new Set([...page.sockets.values()].map(({ clientId }) => clientId));
      assert.equal(clients.size, page.sockets.size);
      if (server === "node") return;
      // Not even those of Node's clients.
      for (const { handshake } of page.sockets.values()) assert.deepEqual([handshake.headers, handshake.query], [{}, {}]);
    });
  }

  it("what happens on each server is told on each page", async () => {
    const here = await open("a");
    const there = await open("node");
    await until("the lists are there", () => here.sockets && there.sockets);
    for (const [name, event] of [["b/websocket", ["echo", { n: 1 }]], ["c/polling", ["echo", "x"]], ["node/websocket", ["enter", ["quiet"]]]]) {
      // Gateway nodes look for pages of Node's servers every few seconds.
      await until(`both pages are told of the event of ${name}`, async () => {
        await world.client(name).socket.emitWithAck(...event);
        return [here, there].every((page) => page.heard("event_received", "/", id(name), event));
      });
    }
    await world.client("b/websocket").join("garden");
    await until("both are told of the room", () => [here, there].every((page) => page.heard("room_joined", "/", "garden", id("b/websocket"))));
    const late = await Client.open(world.server("c"), "websocket");
    await until("both show who came", () => [here, there].every((page) => page.sockets.has(late.socket.id)));
    late.close();
    await until("both show who went", () => [here, there].every((page) => !page.sockets.has(late.socket.id)));
  });

  for (const [server, victim] of [["a", "node/polling"], ["node", "b/polling"], ["c", "a/polling"]]) {
    it(`a page of ${server} moves and disconnects ${victim}`, async () => {
      const page = await open(server);
      const other = await open("b");
      const client = world.client(victim);
      const gone = client.socket.id;
      await until("the pages have lists", () => page.sockets?.has(gone) && other.sockets?.has(gone));
      page.emit("join", "/", "hall", gone);
      await until("it joined", () => page.heard("room_joined", "/", "hall", gone));
      page.emit("leave", "/", "hall", gone);
      await until("it left", () => page.heard("room_left", "/", "hall", gone));
      page.emit("_disconnect", "/", false, gone);
      await until("the client is disconnected", () => client.socket.disconnected);
      await until("both pages know", () => [page, other].every((it) => it.heard("socket_disconnected", "/", gone, "server namespace disconnect")));
      world.clients.delete(client.name);
      await world.open(client.server, "polling");
    });
  }

  it("a page comes back to another node by its session, and not by another one", async () => {
    const page = await open("a");
    await until("it has a session", () => page.session);
    const again = await open("c", { sessionId: page.session });
    await until("it is told what it may do", () => again.features);
    assert.ok(again.features.includes("ALL_EVENTS"));
    await assert.rejects(open("b", { sessionId: "874ac7cc4b064911" }), { message: "invalid credentials" });
    await assert.rejects(open("b", { ...LOGIN, password: "nope" }), { message: "invalid credentials" });
  });

  it("nothing is told when nobody looks", async () => {
    const listener = await connectRedis("redis", world.redis.url);
    try {
      const told = [];
      await listener.pSubscribe("socket.io#/admin#*", (message) => told.push(message), true);
      const about = (name) => told.filter((message) => message.includes(id(name))).length;
      const watched = () => Promise.all(["a", "b", "c"].map((it) => metric(world.server(it), "gateway_admin_watched")));
      const page = await open("a");
      await until("all nodes tell", async () => (await watched()).every((it) => it === 1));
      await world.client("b/websocket").socket.emitWithAck("echo", 1);
      await until("it is told", () => about("b/websocket") > 0);
      page.close();
      await until("no node tells", async () => (await watched()).every((it) => it === 0));
      await world.client("b/websocket").socket.emitWithAck("echo", 2);
      const before = about("b/websocket");
      for (let i = 0; i < 20; i += 1) await world.client("b/websocket").socket.emitWithAck("echo", i);
      // What another server tells behind it has come.
      world.node.io.of("/admin").emit("a fence");
      await until("the fence came", () => told.some((message) => message.includes("a fence")));
      assert.equal(about("b/websocket"), before);
    } finally {
      listener.destroy();
    }
  });

  describe("the official page in Chromium", () => {
    let browser;
    before(async () => {
      browser = await launchChromium();
    });
    after(() => browser?.close());

    it("logs in, counts what is there, and disconnects a socket of another server", async () => {
      const page = await visit(browser, world, "a");
      await logIn(page, world.server("a"), "nope");
      await page.getByText("Invalid credentials").waitFor();
      await logIn(page, world.server("a"));
      await page.getByText("Invalid credentials").waitFor({ state: "hidden" });
      // Four polling clients, and four by WebSocket beside the page itself.
      await until("the dashboard counts all clients", async () => (await shown(page, "Clients", "HTTP long-polling")) === 4 && (await shown(page, "Clients", "WebSocket")) === 5);
      await until("it counts the servers", async () => (await shown(page, "Servers", "HEALTHY")) === 4);
      await until("it counts the sockets", async () => (await shown(page, "Namespaces", "/")) === CLIENTS);
      if (process.env.SCREENSHOT) {
        await page.waitForTimeout(12_000);
        await page.screenshot({ path: process.env.SCREENSHOT });
      }

      await page.goto(`${world.server("a").url}/admin/#/sockets/`);
      const victim = world.client("c/polling");
      const row = page.locator("tr").filter({ hasText: victim.socket.id });
      await row.waitFor();
      if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT.replace(/(\.\w+)$/, "-sockets$1") });
      await row.getByRole("button").click();
      await until("it is disconnected", () => victim.socket.disconnected);
      // The page takes the click for one on the row as well, and shows the socket.
      await page.getByText("Status").first().waitFor();
      await page.goto(`${world.server("a").url}/admin/#/sockets/`);
      await page.locator("tr").filter({ hasText: world.client("a/websocket").socket.id }).waitFor();
      await until("it is not shown any more", async () => (await row.count()) === 0);
      world.clients.delete(victim.name);
      const back = await world.open(world.server("c"), "polling");
      await page.locator("tr").filter({ hasText: back.socket.id }).waitFor();

      // It remembers its session, and shows it to another node.
      const session = await page.evaluate(() => localStorage.getItem("session_id"));
      assert.ok(session.length >= 64);
      await page.reload();
      await page.locator("tr").filter({ hasText: back.socket.id }).waitFor();
      assert.equal(await at(page, "Password").isVisible(), false);
      assert.deepEqual(page.failures, []);
      await page.context().close();
    });
  });
});

describe("two nodes with pages in the mode production", () => {
  let world;
  let official;
  let browser;
  before(async () => {
    official = new OfficialPage();
    world = await World.start({ relays: ["a", "b"], settings: { ...SETTINGS, "admin.mode": "production", "admin.ui_dir": official.dir } });
    browser = await launchChromium();
  });
  after(async () => {
    await browser?.close();
    await world?.stop();
    official?.remove();
  });

  it("the official page counts, and offers and is told nothing of single sockets", async () => {
    const page = await visit(browser, world, "a");
    const frames = [];
    page.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => frames.push(String(payload))));
    await logIn(page, world.server("a"));
    await until("the dashboard counts all clients", async () => (await shown(page, "Clients", "HTTP long-polling")) === 2 && (await shown(page, "Clients", "WebSocket")) === 3);
    await until("it counts the servers", async () => (await shown(page, "Servers", "HEALTHY")) === 2);
    await until("it counts the sockets", async () => (await shown(page, "Namespaces", "/")) === 4);
    const late = await world.open(world.server("b"), "polling");
    await late.socket.emitWithAck("join", "quiet");
    await until("it counts who comes", async () => (await shown(page, "Namespaces", "/")) === 5);
    const entries = await page.locator(".v-navigation-drawer .v-list-item").allInnerTexts();
    assert.ok(entries.some((it) => it.includes("Servers")), entries.join());
    for (const entry of ["Sockets", "Rooms", "Clients", "Events"]) assert.ok(!entries.some((it) => it.includes(entry)), entries.join());
    assert.ok(frames.some((it) => it.includes("server_stats")), "frames are seen");
    for (const frame of frames) assert.doesNotMatch(frame, /all_sockets|socket_connected|room_joined|event_received|quiet/);
    assert.deepEqual(page.failures, []);
    await page.context().close();
  });

  it("a page may disconnect a socket whose id it knows", async () => {
    const page = await Page.open(world.server("a"));
    await until("it is told what it may do", () => page.features);
    assert.ok(page.features.includes("DISCONNECT") && !page.features.includes("ALL_EVENTS"));
    const client = world.client("b/websocket");
    page.emit("_disconnect", "/", false, client.socket.id);
    await until("the client is disconnected", () => client.socket.disconnected);
    assert.deepEqual([page.sockets, page.events], [undefined, []]);
    for (const server of ["a", "b"]) assert.equal(await metric(world.server(server), "gateway_admin_watched"), 0);
    page.close();
  });
});

const WIRES = {
  "on a Redis Cluster": async () => ({ redis: await RedisCluster.start() }),
  "beside a Node server": () => ({ node: { mode: "sharded", admin: { auth: { type: "basic", username: LOGIN.username, password: HASH }, mode: "development", serverId: "node" } } }),
};

for (const [where, wire] of Object.entries(WIRES)) {
  it(`pages show and steer all servers with sharded channels ${where}`, async () => {
    const world = await World.start({ relays: ["a", "b"], settings: { ...SETTINGS, "redis.mode": "sharded" }, ...(await wire()) });
    const pages = [];
    try {
      const names = world.servers.map(({ id }) => id);
      for (const server of world.servers) pages.push(await Page.open(server));
      for (const page of pages) {
        await until("all servers told their numbers", () => names.every((it) => page.servers.has(it)));
        await until("all clients are counted", () => page.count("/") === 2 * names.length);
        await until("all sockets are shown", () => [...world.clients.values()].every(({ socket }) => page.sockets?.has(socket.id)));
      }
      for (const name of names) {
        const client = world.client(`${name}/websocket`);
        const { id } = client.socket;
        const event = name === "node" ? ["enter", ["hall"]] : ["join", "hall"];
        // Gateway nodes look for pages of Node's servers every few seconds.
        await until(`all pages are told of the event of ${name}`, async () => {
          await client.socket.emitWithAck(...event);
          return pages.every((page) => page.heard("event_received", "/", id, event));
        });
        await until("all pages are told of the room", () => pages.every((page) => page.heard("room_joined", "/", "hall", id)));
        const [page] = pages;
        page.emit("_disconnect", "/", false, id);
        await until("the client is disconnected", () => client.socket.disconnected);
        await until("all pages know", () => pages.every((it) => it.heard("socket_disconnected", "/", id, "server namespace disconnect")));
      }
    } finally {
      for (const page of pages) page.close();
      await world.stop();
    }
  });
}
