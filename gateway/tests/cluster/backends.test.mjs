// Backends that stop under load, tokens that many sockets renew, the API while nodes are killed, and HTTP/2.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer as createHttp2Server, createSecureServer } from "node:http2";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import WebSocket from "ws";
import { startRelay } from "../clients/lib/target.mjs";
import { BackendProcess } from "./lib/backend.mjs";
import { Client } from "./lib/clients.mjs";
import { joined, metric, relay } from "./lib/gateways.mjs";
import { Redis } from "../../../testkit/js/redis.mjs";
import { until } from "../../../testkit/js/wait.mjs";

const FULL = process.env.CLUSTER_FULL === "1";
const SECRET = "a secret that only tests know";
const KEY = "a key that only tests know";
const CERTIFICATES = join(import.meta.dirname, "../certificates");
/** How long an answer may take that is to take about a second, on a machine that is busy with other things. */
const PROMPT_MS = 5_000;

describe("a backend stops under load", () => {
  const AWAY_MS = FULL ? 10_000 : 2_000;
  const CLIENTS = 100;
  /** The longest that a backend is left alone, 16 times backend.breaker_pause, and some. */
  const RECOVERY_MS = 10_000;
  /** More may not wait, whatever the clients do: 128 KiB in each lane, and as much that was read. */
  const MAX_GROWTH_BYTES = 100_000_000;

  for (const way of ["killed", "frozen"]) {
    it(`${way} for ${AWAY_MS / 1000} s: clear errors, bounded memory, and it goes on by itself`, async (test) => {
      const backend = await BackendProcess.start();
      const node = await startRelay(["--backend-url", backend.url, "--backend-secret", SECRET, "--backend-timeout", "1s"]);
      node.id = "a";
      let talking = true;
      const clients = [];
      test.after(async () => {
        talking = false;
        clients.forEach((client) => client.close());
        await node.stop();
        await backend.stop();
      });
      clients.push(...(await Promise.all(Array.from({ length: CLIENTS }, () => Client.open(node, "websocket")))));
      const before = node.residentBytes();
      let most = before;
      const answers = [];
      // Half of them wait for each answer, the others send what nobody answers as fast as they are let.
      const loads = clients.map(async ({ socket, id }, index) => {
        for (let number = 0; talking; number += 1) {
          if (index % 2) {
            socket.emit("say", number, "x".repeat(1_000));
            await delay(2);
          } else {
            const asked = performance.now();
            const answer = await socket.timeout(30_000).emitWithAck("say", number);
            answers.push({ id, number, answer, asked, answered: performance.now() });
            if (!answer.ok) await delay(20);
          }
        }
      });
      const sampling = setInterval(() => {
        most = Math.max(most, node.residentBytes());
      }, 100);
      await delay(1_000);
      const stopped = performance.now();
      if (way === "killed") await backend.kill();
      else backend.freeze();
      await delay(AWAY_MS);
      const back = performance.now();
      if (way === "killed") await backend.restart();
      else backend.thaw();
      await until("events are answered again by all", () => clients.every(({ id }, index) => index % 2 || answers.some((it) => it.id === id && it.answer.ok && it.asked > back)));
      const again = performance.now() - back;
      await delay(500);
      talking = false;
      await Promise.all(loads);
      clearInterval(sampling);
      await until("nothing is under way", async () => (await metric(node, "gateway_backend_in_flight")) === 0);

      const failed = answers.filter(({ answer }) => !answer.ok);
      const codes = new Set(failed.map(({ answer }) => answer.error.code));
      const waits = failed.map(({ asked, answered }) => answered - asked).sort((a, b) => a - b);
      test.diagnostic(
        `${answers.length} answers, ${failed.length} of them errors (${[...codes].join(", ")}), which took ${waits[waits.length >> 1].toFixed(0)} ms (median) to ${waits.at(-1).toFixed(0)} ms; ` +
          `answered again ${again.toFixed(0)} ms after it was back; resident ${(before / 1e6).toFixed(1)} MB before, at most ${(most / 1e6).toFixed(1)} MB`,
      );
      assert.ok(failed.length > 0 && failed.every(({ asked, answered }) => answered > stopped - 1 && asked < back + RECOVERY_MS));
      for (const code of codes) assert.ok(["backend_unavailable", "backend_timeout", "backend_overloaded"].includes(code), code);
      assert.ok(most - before < MAX_GROWTH_BYTES);
      const told = backend.numbers();
      // A request that was given up may be read later than the next one; nothing else may.
      const givenUp = new Set(answers.filter(({ answer }) => answer.error?.code === "backend_timeout").map(({ id, number }) => `${id} ${number}`));
      let late = 0;
      for (const [index, { id }] of clients.entries()) {
        let last = -1;
        for (const number of told.get(id)) {
          if (number > last) last = number;
          else if (index % 2) late += 1;
          else assert.ok(givenUp.has(`${id} ${number}`), `${last} then ${number}`);
        }
      }
      // Each request holds one event here.
      const timeouts = await metric(node, 'gateway_backend_requests_total{result="timeout"}');
      assert.ok(late <= timeouts, `${late} out of order, ${timeouts} requests given up`);
      for (const { id, number, answer } of answers) if (answer.ok) assert.ok(told.get(id).includes(number));
    });
  }
});

describe("tokens are renewed", () => {
  const SOCKETS = FULL ? 10_000 : 1_000;
  const TTL_S = FULL ? 60 : 12;

  function token(seconds) {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const signed = `${part({ alg: "HS256" })}.${part({ sub: "ann", exp: Math.floor(Date.now() / 1000) + seconds })}`;
    return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
  }

  function cpuSeconds(node) {
    const fields = readFileSync(`/proc/${node.pid}/stat`, "utf8").split(") ")[1].split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  it(`by ${SOCKETS} sockets, and none is dropped`, async (test) => {
    const node = await startRelay(["--auth-jwt-secret", SECRET, "--auth-leeway", "0s", "--auth-grace", "1s"]);
    let closed = 0;
    const sockets = [];
    const first = token(TTL_S);
    const expires = performance.now() + TTL_S * 1_000;
    // Some at a time: a backlog of connections has an end.
    for (let begun = 0; begun < SOCKETS; begun += 200) {
      const some = Array.from({ length: Math.min(200, SOCKETS - begun) }, async () => {
        const socket = new WebSocket(`${node.url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`, { perMessageDeflate: false });
        socket.on("close", () => (closed += 1));
        const heard = [];
        socket.on("message", (data) => {
          const text = data.toString();
          if (text === "2") socket.send("3");
          else heard.push(text);
        });
        socket.heard = heard;
        await once(socket, "open");
        socket.send(`40${JSON.stringify({ token: first })}`);
        await until("connected", () => heard.some((text) => text.startsWith("40")));
        sockets.push(socket);
      });
      await Promise.all(some);
    }
    assert.ok(performance.now() < expires - 2_000, "the first token still holds");
    const [cpu, resident] = [cpuSeconds(node), node.residentBytes()];
    const second = token(600);
    for (const socket of sockets) socket.send(`421["token","${second}"]`);
    const answered = (socket) => socket.heard.find((text) => text.startsWith("431"));
    await until("all are answered", () => sockets.every(answered));
    const took = cpuSeconds(node) - cpu;
    for (const socket of sockets) assert.match(answered(socket), /^431\[\{"expires_at":\d+,"ok":true\}\]$/);
    // The first token and the grace are over.
    await delay(Math.max(0, expires + 2_500 - performance.now()));
    assert.equal(closed, 0);
    assert.equal(await metric(node, 'gateway_sockets{namespace="/"}'), SOCKETS);
    assert.equal(await metric(node, "gateway_tokens_expired_total"), 0);
    assert.equal(await metric(node, 'gateway_token_refreshes_total{result="accepted"}'), SOCKETS);
    assert.ok(sockets.every(({ heard }) => !heard.some((text) => text.includes("token_expired"))));
    test.diagnostic(`${SOCKETS} renewals took ${took.toFixed(2)} s of CPU; resident ${(resident / 1e6).toFixed(1)} MB before, ${(node.residentBytes() / 1e6).toFixed(1)} MB after`);
    sockets.forEach((socket) => socket.terminate());
    await node.stop();
  });
});

describe("the API while nodes are killed", () => {
  let redis;
  let nodes;
  const clients = [];
  before(async () => {
    redis = await Redis.start();
    const settings = { "redis.url": redis.url, "api.key": KEY };
    nodes = await Promise.all(["a", "b", "c", "d"].map((id) => relay(id, settings)));
    for (const node of nodes) await joined(node, 4);
    for (const node of nodes) {
      for (let number = 0; number < 3; number += 1) clients.push(await Client.open(node, number ? "websocket" : "polling"));
    }
    for (const client of clients) await client.join("room", `only ${client.server.id}`);
  });
  after(async () => {
    clients.forEach((client) => client.close());
    nodes[3].thaw?.();
    await Promise.all(nodes.map((node) => node.stop()));
    await redis.stop();
  });

  async function ask(node, call, body) {
    const response = await fetch(`http://127.0.0.1:${node.internalPort}/api/v1/${call}`, {
      method: body ? "POST" : "GET",
      headers: { authorization: `Bearer ${KEY}` },
      body: body && JSON.stringify(body),
    });
    assert.equal(response.status, 200, await response.clone().text());
    return response.json();
  }

  /** All that reads, and an emit that gathers acknowledgements. */
  async function all(node) {
    const asked = performance.now();
    const answers = await Promise.all([
      ask(node, "sockets?room=room&limit=100"),
      ask(node, "rooms?limit=100"),
      ask(node, "presence?room=room"),
      ask(node, "emit", { rooms: ["room"], event: "question", args: [1], ack_timeout: "2s" }),
    ]);
    return { took: performance.now() - asked, answers };
  }

  it("answers are whole while all live", async () => {
    const { answers } = await all(nodes[0]);
    const [sockets, rooms, presence, emitted] = answers;
    assert.equal(sockets.sockets.length, 12);
    assert.equal(rooms.rooms.find(({ name }) => name === "room").members, 12);
    assert.equal(presence.socket_count, 12);
    assert.equal(emitted.acks.length, 12);
    for (const { missing_nodes } of answers) assert.deepEqual(missing_nodes, []);
  });

  for (const [victim, way] of [["c", "killed"], ["d", "frozen"]]) {
    it(`they come in time when a node is ${way}, name it, and are whole when it has left`, async (test) => {
      const [a, b] = nodes;
      const node = nodes.find(({ id }) => id === victim);
      const there = () => clients.filter(({ server, socket }) => server.running && server !== node && !server.frozen && socket.connected);
      const left = there().length;
      if (way === "killed") await node.kill();
      else {
        process.kill(node.pid, "SIGSTOP");
        node.frozen = true;
        node.thaw = () => process.kill(node.pid, "SIGCONT");
      }
      const { took, answers } = await all(a);
      test.diagnostic(`answered ${Math.round(took)} ms after the node was ${way}`);
      const [sockets, rooms, presence, emitted] = answers;
      for (const { missing_nodes } of answers) assert.deepEqual(missing_nodes, [victim]);
      assert.equal(sockets.sockets.length, left);
      assert.equal(rooms.rooms.find(({ name }) => name === "room").members, left);
      assert.ok(!rooms.rooms.some(({ name }) => name === `only ${victim}`));
      assert.equal(presence.socket_count, left);
      assert.equal(emitted.acks.length, left);
      assert.ok(took < PROMPT_MS + 2_000, `${took} ms`);
      // What changes something goes on, everywhere that lives.
      const survivors = there();
      await ask(b, "join", { select: { rooms: ["room"] }, rooms: [`after ${victim}`] });
      await until("all have joined", async () => (await ask(a, `presence?room=${encodeURIComponent(`after ${victim}`)}`)).socket_count === survivors.length);
      // One whose node the asked one is not.
      const kicked = survivors.find(({ server }) => server === b);
      const { id } = kicked;
      const gone = once(kicked.socket, "disconnect");
      // The one that died is named for as long as it counts as a member.
      const { ok, missing_nodes: silent = [] } = await ask(a, "disconnect", { select: { sockets: [id] } });
      assert.equal(ok, true);
      assert.ok(silent.every((name) => name === victim), `${silent}`);
      assert.equal((await gone)[0], "io server disconnect");
      await until("nobody sees it", async () => !(await ask(a, "sockets?room=room&limit=100")).sockets.some((socket) => socket.id === id));
      for (const other of [a, b]) await until("the node has left", async () => !(await ask(other, "nodes")).nodes.some(({ id }) => id === victim));
      const whole = await all(b);
      for (const { missing_nodes } of whole.answers) assert.deepEqual(missing_nodes, []);
      assert.equal(whole.answers[3].acks.length, left - 1);
    });
  }
});

describe("a backend that speaks HTTP/2", () => {
  async function speaks(server, scheme, settings, env) {
    const sessions = new Set();
    const used = new Set();
    const versions = new Set();
    let under = 0;
    let most = 0;
    server.on("session", (session) => sessions.add(session));
    server.on("request", async (request, response) => {
      versions.add(request.httpVersion);
      used.add(request.stream?.session);
      under += 1;
      most = Math.max(most, under);
      const chunks = [];
      try {
        for await (const chunk of request) chunks.push(chunk);
      } catch {
        // The node ended before it had told of all that left.
        return;
      }
      const call = JSON.parse(Buffer.concat(chunks));
      await delay(call.type === "event" ? 200 : 0);
      under -= 1;
      response.end(JSON.stringify(call.type === "event" ? { ack: [call.args[0]] } : {}));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const url = `${scheme}://localhost:${server.address().port}/`;
    const node = await startRelay(["--backend-url", url, "--backend-secret", SECRET, ...settings], { env });
    node.id = "a";
    const clients = await Promise.all(Array.from({ length: 20 }, () => Client.open(node, "websocket")));
    // Whoever comes before the first connection is there makes one, too; after that one is enough.
    used.clear();
    const answers = await Promise.all(clients.map((client, number) => client.call("say", number)));
    assert.deepEqual(answers, clients.map((_, number) => number));
    assert.deepEqual([...versions], ["2.0"]);
    assert.ok(most > 5, `${most} requests at a time`);
    assert.equal(used.size, 1, "one connection carries all of them");
    clients.forEach((client) => client.close());
    await node.stop();
    sessions.forEach((session) => session.destroy());
    server.close();
  }

  it("by TLS, which agrees on it", async () => {
    const [cert, key] = ["one.crt", "one.key"].map((name) => readFileSync(join(CERTIFICATES, name)));
    await speaks(createSecureServer({ cert, key, allowHTTP1: true }), "https", [], { SSL_CERT_FILE: join(CERTIFICATES, "one.crt") });
  });

  it("without TLS, when it is told so", async () => {
    await speaks(createHttp2Server(), "http", ["--backend-http2", "true"], {});
  });
});
