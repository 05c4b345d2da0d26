// The examples of the library, gateway/examples, with the official client.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { SignJWT } from "jose";
import { io } from "socket.io-client";
import { freePort } from "../../../testkit/js/ports.mjs";
import { Program } from "../../../testkit/js/program.mjs";
import { Redis } from "../../../testkit/js/redis.mjs";
import { until } from "../../../testkit/js/wait.mjs";
import { next } from "../testing/gateway.mjs";

const SECRET = "a secret of the examples";
const stops = [];
after(async () => {
  for (const stop of stops.reverse()) await stop();
});

/** Starts an example, and returns how clients connect to it. */
async function start(name, settings = {}) {
  const [port, internal] = [await freePort(), await freePort()];
  const env = {
    PATH: process.env.PATH,
    GATEWAY_LISTEN: `127.0.0.1:${port}`,
    GATEWAY_INTERNAL_LISTEN: `127.0.0.1:${internal}`,
    GATEWAY_SHUTDOWN_DRAIN: "0s",
    ...settings,
  };
  const program = await Program.listening(port, join(process.env.EXAMPLES_BIN, name), [], { env });
  stops.push(() => program.stop());
  await program.listens(internal);
  return {
    internal: `http://127.0.0.1:${internal}`,
    connect(namespace = "/", options = {}) {
      const socket = io(`http://127.0.0.1:${port}${namespace}`, { forceNew: true, reconnection: false, ...options });
      stops.push(() => socket.close());
      return socket;
    },
  };
}

async function connected(server, ...options) {
  const socket = server.connect(...options);
  await next(socket, "connect");
  return socket;
}

test("chat: what one says the others of the room hear", async () => {
  const chat = await start("chat");
  const [ann, bob, eve] = [await connected(chat), await connected(chat, "/", { transports: ["polling"] }), await connected(chat)];
  const told = [];
  eve.onAny((...args) => told.push(args));
  assert.deepEqual(await ann.emitWithAck("say", "too early"), false);
  assert.deepEqual(await ann.emitWithAck("enter", "ann", "lobby"), { ok: true });
  const entered = next(ann, "entered");
  assert.deepEqual(await bob.emitWithAck("enter", "bob", "lobby"), { ok: true });
  assert.deepEqual(await entered, ["bob"]);
  assert.deepEqual(await eve.emitWithAck("enter", "eve", "elsewhere"), { ok: true });
  assert.deepEqual(await ann.emitWithAck("enter", "ann", "elsewhere"), { ok: false, error: "you are in a room already" });
  assert.deepEqual(await ann.emitWithAck("enter", 7), { ok: false, error: "send a name and a room" });

  const said = next(bob, "said");
  assert.equal(await ann.emitWithAck("say", "hello"), true);
  assert.deepEqual(await said, ["ann", "hello"]);
  const typing = next(ann, "typing");
  bob.emit("typing");
  assert.deepEqual(await typing, ["bob"]);
  const left = next(ann, "left");
  bob.close();
  assert.deepEqual(await left, ["bob", "client namespace disconnect"]);
  assert.equal(await eve.emitWithAck("say", "alone"), true);
  assert.deepEqual(told, []);
});

describe("tokens", () => {
  const token = (claims) => new SignJWT(claims).setProtectedHeader({ alg: "HS256" }).setExpirationTime("1h").sign(new TextEncoder().encode(SECRET));

  test("who shows none is refused, and the server knows who shows one", async () => {
    const server = await start("tokens", { GATEWAY_AUTH_JWT_SECRET: SECRET });
    const [refused] = await next(server.connect(), "connect_error");
    assert.equal(refused.data.code, "token_missing");
    const ann = await connected(server, "/", { auth: { token: await token({ sub: "ann" }) } });
    assert.equal(await ann.emitWithAck("whoami"), "ann");
  });

  test("administrators have a namespace of their own", async () => {
    const server = await start("tokens", { GATEWAY_AUTH_JWT_SECRET: SECRET });
    const auth = { token: await token({ sub: "ann" }) };
    const [ann, bob] = [await connected(server, "/", { auth }), await connected(server, "/", { auth: { token: await token({ sub: "bob" }) } })];
    const [refused] = await next(server.connect("/admin", { auth }), "connect_error");
    assert.equal(refused.message, "for administrators only");
    assert.deepEqual(refused.data, { code: "not_admin" });

    const root = await connected(server, "/admin", { auth: { token: await token({ sub: "root", role: "admin" }) } });
    const announced = [next(ann, "announcement"), next(bob, "announcement")];
    assert.equal(await root.emitWithAck("announce", "closing at five"), true);
    for (const heard of announced) assert.deepEqual(await heard, ["closing at five"]);
    const kicked = next(ann, "disconnect");
    assert.equal(await root.emitWithAck("kick", "ann"), true);
    assert.equal((await kicked)[0], "io server disconnect");
    assert.equal(await bob.emitWithAck("whoami"), "bob");
  });

  test("it does not start without a key", async () => {
    const program = new Program(join(process.env.EXAMPLES_BIN, "tokens"), [], { env: { PATH: process.env.PATH } });
    await until("it ends", () => !program.running);
    await until("it says why", () => program.output.includes("set GATEWAY_AUTH_JWT_SECRET"));
  });
});

test("cluster: rooms, questions and votes reach the clients of every node", async () => {
  const redis = await Redis.start();
  stops.push(() => redis.stop());
  const nodes = await Promise.all(["one", "two"].map((id) => start("cluster", { GATEWAY_REDIS_URL: redis.url, GATEWAY_CLUSTER_NODE_ID: id })));
  for (const node of nodes) {
    await until("the nodes know each other", async () => {
      const ready = await fetch(`${node.internal}/ready`);
      const metrics = await (await fetch(`${node.internal}/metrics`)).text();
      return ready.ok && /^gateway_cluster_nodes 2$/m.test(metrics);
    });
  }
  const clients = [await connected(nodes[0]), await connected(nodes[1]), await connected(nodes[1])];
  for (const client of clients) assert.equal(await client.emitWithAck("enter", "lobby"), true);
  const [ann, bob, eve] = clients;
  const heard = [next(bob, "said"), next(eve, "said")];
  assert.equal(await ann.emitWithAck("say", "lobby", "hello"), true);
  for (const said of heard) assert.deepEqual(await said, [ann.id, "hello"]);

  const { sockets, missing } = await ann.emitWithAck("who", "lobby");
  const byId = (one, other) => (one.id < other.id ? -1 : 1);
  const expected = [{ id: ann.id, node: "one" }, { id: bob.id, node: "two" }, { id: eve.id, node: "two" }];
  assert.deepEqual(sockets.sort(byId), expected.sort(byId));
  assert.deepEqual(missing, []);

  ann.on("vote?", (question, answer) => answer(question === "tea?"));
  bob.on("vote?", (_question, answer) => answer(true));
  eve.on("vote?", (_question, answer) => answer(false));
  assert.deepEqual(await bob.emitWithAck("vote", "lobby", "tea?"), { yes: 2, no: 1, missing: 0 });
  eve.off("vote?");
  assert.deepEqual(await bob.emitWithAck("vote", "lobby", "coffee?"), { yes: 1, no: 1, missing: 1 });
});
