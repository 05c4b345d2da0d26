// Peers that mean no good, or are broken: nothing they send ends the server, holds its connections or keeps its memory.
import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { randomBytes, randomInt } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { call, Clients } from "./lib/clients.mjs";
import { ENGINE, Polling, SOCKET_IO, Ws } from "./lib/engine.mjs";
import { refused } from "./lib/errors.mjs";
import { request } from "./lib/http.mjs";
import { exchange, RawWebSocket } from "./lib/raw.mjs";
import { FOLDER, REFERENCE, startConformance, startRelay } from "./lib/target.mjs";

const HEADER_TIMEOUT_MS = 1_000;
const BODY_TIMEOUT_MS = 1_500;
/** What a busy machine may add; less than the defaults of the timeouts, and than what is sent lasts. */
const BUSY_MS = 7_000;
const PING_MS = 2_000;
const MEGABYTE = 1_000_000;
const SLOW_FLAGS = [
  ...["--limits-header-timeout", `${HEADER_TIMEOUT_MS}ms`],
  ...["--limits-body-timeout", `${BODY_TIMEOUT_MS}ms`],
];

const servers = {};
before(async () => {
  servers.relay = await startRelay(SLOW_FLAGS);
  servers.conformance = await startConformance();
});
after(async () => {
  await servers.relay?.stop();
  await servers.conformance?.stop();
});

/** A newcomer is served as if nothing had happened. */
async function stillServes(server, ways = [["polling"], ["websocket"]]) {
  for (const transports of ways) {
    const clients = new Clients(server.url);
    const socket = await clients.connect({ transports });
    const event = server === servers.conformance ? "message-with-ack" : "echo";
    assert.deepEqual(await call(socket, event, "hello"), ["hello"]);
    clients.close();
  }
}

const head = (...lines) => `${lines.join("\r\n")}\r\n`;
const handshake = (path) => `GET ${path}?EIO=4&transport=polling HTTP/1.1`;

for (const [name, path] of [
  ["relay", SOCKET_IO],
  ["conformance", ENGINE],
]) {
  describe(`the ${name} server`, () => {
    test("survives random bytes, alone and behind valid beginnings", async () => {
      const beginnings = [
        "",
        "GET ",
        head(handshake(path), "Host: a"),
        `${head(`POST ${path}?EIO=4&transport=polling HTTP/1.1`, "Host: a", "Transfer-Encoding: chunked")}\r\n`,
        `${head(`GET ${path}?EIO=4&transport=websocket HTTP/1.1`, "Host: a", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==")}\r\n`,
      ];
      const attacks = Array.from({ length: 300 }, (_, i) => {
        const bytes = Buffer.concat([Buffer.from(beginnings[i % beginnings.length]), randomBytes(randomInt(1, 3_000))]);
        return new Promise((resolve) => {
          const socket = connect(servers[name].port, "127.0.0.1", () => socket.end(bytes));
          socket.on("error", () => {});
          socket.resume();
          // Some of them are not even closed in an orderly way.
          socket.setTimeout(300, () => socket.destroy());
          socket.once("close", resolve);
        });
      });
      await Promise.all(attacks);
      await stillServes(servers[name]);
    });

    for (const [what, text] of [
      ["an unknown HTTP version", head("GET / HTTP/9.9", "Host: a", "")],
      ["a request line of garbage", head("GARBAGE", "")],
      ["a header without a colon", head(handshake(path), "Host a", "")],
      ["a NUL in a header", head(handshake(path), "Host: a\0b", "")],
      ["a negative Content-Length", head(`POST ${path}?EIO=4&transport=polling HTTP/1.1`, "Host: a", "Content-Length: -1", "")],
      ["two lengths", head(`POST ${path}?EIO=4&transport=polling HTTP/1.1`, "Host: a", "Content-Length: 1", "Content-Length: 2", "")],
      ["a head of 20 kB", head(handshake(path), "Host: a", `X-Large: ${"x".repeat(20_000)}`, "")],
      ["a request line of 100 kB", head(`GET ${path}?${"x".repeat(100_000)} HTTP/1.1`, "Host: a", "")],
    ]) {
      test(`refuses ${what} and closes the connection`, async () => {
        const { answer } = await exchange(servers[name].port, [text]);
        assert.match(answer, /^HTTP\/1\.1 (4\d\d|505) /);
        if (what === "a head of 20 kB") assert.match(answer, /^HTTP\/1\.1 431 /);
        await stillServes(servers[name]);
      });
    }

    test("refuses an enormous body by its announcement, without waiting for it", { skip: REFERENCE && "Node counts what arrives" }, async () => {
      const session = await Polling.open(servers[name].port, { path });
      const text = head(`POST ${session.url} HTTP/1.1`, "Host: a", "Connection: close", "Content-Length: 9999999999", "");
      const { answer, lasted } = await exchange(servers[name].port, [text, "4aaaa"]);
      assert.match(answer, /^HTTP\/1\.1 413 /);
      assert.ok(lasted < BUSY_MS, `${lasted.toFixed(0)} ms`);
      assert.ok(await session.alive());
    });

    test("closes a WebSocket that turns to garbage, before and after an upgrade", async () => {
      const { port } = servers[name];
      // The first byte has reserved bits set, so it can be no frame.
      const garbage = () => Buffer.concat([Buffer.of(0xff), randomBytes(2_000)]);
      const direct = await RawWebSocket.session(port, path);
      direct.send(garbage());
      await direct.ended();

      const session = await Polling.open(port, { path });
      const probing = await RawWebSocket.open(port, `${path}?EIO=4&transport=websocket&sid=${session.sid}`);
      probing.send(garbage());
      await probing.ended();
      assert.ok(await session.alive());

      const upgraded = await RawWebSocket.open(port, `${path}?EIO=4&transport=websocket&sid=${session.sid}`);
      upgraded.send(RawWebSocket.text("2probe"));
      assert.equal((await upgraded.next()).payload.toString(), "3probe");
      upgraded.send(RawWebSocket.text("5"));
      upgraded.send(garbage());
      await upgraded.ended();
      await stillServes(servers[name]);
    });

    test("survives clients that vanish in the middle of everything", async () => {
      const { port } = servers[name];
      const vanishing = Array.from({ length: 60 }, async (_, i) => {
        if (i % 3 === 0) {
          const raw = await RawWebSocket.session(port, path);
          raw.send(RawWebSocket.frame({ opcode: 1, payload: Buffer.alloc(900_000, "4") }).subarray(0, randomInt(1, 900_000)));
          await delay(20);
          raw.socket.resetAndDestroy();
        } else if (i % 3 === 1) {
          const session = await Polling.open(port, { path });
          const parked = await session.park();
          parked.abort();
        } else {
          const session = await Polling.open(port, { path });
          const websocket = await session.probe();
          websocket.send("2probe");
          websocket.close();
        }
      });
      const outcomes = await Promise.allSettled(vanishing);
      assert.ok(outcomes.filter(({ status }) => status === "fulfilled").length > 30, "most of them got as far as they meant to");
      await stillServes(servers[name]);
    });
  });
}

describe("slow requests", { concurrency: true }, () => {
  const began = (line) => head(line, "Host: a", "X-Begun: yes").slice(0, -1);

  test("a head that is never finished is closed after the header timeout", async () => {
    for (const beginning of ["", "G", began(handshake(SOCKET_IO))]) {
      const chunks = beginning === "" ? [] : [beginning];
      const { lasted } = await exchange(servers.relay.port, chunks);
      assert.ok(lasted >= HEADER_TIMEOUT_MS - 50 && lasted < HEADER_TIMEOUT_MS + BUSY_MS, `${lasted.toFixed(0)} ms`);
    }
  });

  test("a head that trickles in is closed after the header timeout as well", async () => {
    const chunks = [...`${began(handshake(SOCKET_IO))}${"x".repeat(500)}`];
    const { lasted } = await exchange(servers.relay.port, chunks, { pause: 30 });
    assert.ok(lasted < HEADER_TIMEOUT_MS + BUSY_MS, `${lasted.toFixed(0)} ms`);
  });

  test("bodies that trickle in are closed after the body timeout, and others are served meanwhile", async () => {
    const slow = Array.from({ length: 50 }, async () => {
      const session = await Polling.open(servers.relay.port, { path: SOCKET_IO });
      const text = `${head(`POST ${session.url} HTTP/1.1`, "Host: a", "Content-Length: 1000")}\r\n`;
      return exchange(servers.relay.port, [text, ..."4".repeat(900)], { pause: 50 });
    });
    // A kept connection may be closed as idle in the moment in which a busy client uses it again.
    await stillServes(servers.relay, [["websocket"]]);
    for (const { lasted } of await Promise.all(slow)) {
      // The Node server has one timeout for the whole request.
      const timeout = BODY_TIMEOUT_MS + (REFERENCE ? HEADER_TIMEOUT_MS : 0);
      assert.ok(lasted < timeout + BUSY_MS, `${lasted.toFixed(0)} ms`);
    }
  });

  test("a thousand idle connections do not keep newcomers out, and are closed", async () => {
    const idle = await Promise.all(Array.from({ length: 1_000 }, () => exchange(servers.relay.port, [])));
    assert.equal(idle.length, 1_000);
    await stillServes(servers.relay, [["websocket"]]);
  });
});

describe("abandoned sessions", () => {
  const SESSIONS = 10_000;
  const UPGRADES = 300;

  test(`of ${SESSIONS} polling clients that fall silent nothing remains`, async (context) => {
    const server = await startRelay(["--engine-ping-interval", `${PING_MS}ms`, "--engine-ping-timeout", `${PING_MS}ms`]);
    const agent = new http.Agent({ keepAlive: true, maxSockets: 20 });
    const open = async () => {
      const response = await request(server.port, `${SOCKET_IO}?EIO=4&transport=polling`, { agent });
      return JSON.parse(response.text.slice(1)).sid;
    };
    await Promise.all(Array.from({ length: 500 }, open));
    await delay(2 * PING_MS + 500);
    const before = server.residentBytes();

    const began = performance.now();
    const sids = [];
    const workers = Array.from({ length: 20 }, async () => {
      while (sids.length < SESSIONS) sids.push(await open());
    });
    await Promise.all(workers);
    const took = performance.now() - began;
    const peak = server.residentBytes();
    const gone = async (sid) => refused(await request(server.port, `${SOCKET_IO}?EIO=4&transport=polling&sid=${sid}`, { agent }), 1);
    await delay(2 * PING_MS + 500);
    for (let i = 0; i < 200; i += 1) await gone(sids[randomInt(sids.length)]);
    agent.destroy();

    let after = server.residentBytes();
    const enough = before + Math.max(0.4 * (peak - before), 8 * MEGABYTE);
    for (let i = 0; i < 50 && after > enough; i += 1) {
      await delay(100);
      after = server.residentBytes();
    }
    const megabytes = (bytes) => (bytes / MEGABYTE).toFixed(1);
    context.diagnostic(`${sids.length} handshakes in ${took.toFixed(0)} ms; resident ${megabytes(before)} MB before, ${megabytes(peak)} MB with the sessions, ${megabytes(after)} MB after`);
    await stillServes(server);
    // Node's collector decides by itself when to give memory back.
    if (!REFERENCE) assert.ok(after <= enough, `${megabytes(after)} MB after`);
    await server.stop();
  });

  test(`of ${UPGRADES} upgrades that are never finished nothing remains`, async () => {
    const server = await startRelay(["--engine-upgrade-timeout", "1s", "--engine-ping-interval", `${PING_MS}ms`, "--engine-ping-timeout", `${PING_MS}ms`]);
    const closings = Array.from({ length: UPGRADES }, async (_, i) => {
      const session = await Polling.open(server.port, { path: SOCKET_IO });
      const websocket = await Ws.open(server.port, { path: SOCKET_IO, query: `&sid=${session.sid}` });
      if (i % 2 === 0) websocket.send("2probe");
      await websocket.closing(2 * PING_MS + 2_000);
      return session;
    });
    const sessions = await Promise.all(closings);
    await delay(2 * PING_MS + 500);
    for (const session of sessions.slice(0, 50)) refused(await session.get(), 1);
    await stillServes(server);
    await server.stop();
  });
});

describe("one client among others", { skip: REFERENCE && "Node serves its clients in the order of their bytes" }, () => {
  // Not a bound on a time that a busy machine could break: so many echoes, one after the other, in so long.
  const LASTS_MS = 6_000;
  const ECHOES = 20;

  // The other is in a namespace of its own. In that of the flood it would be sent what is broadcast, and read that first.
  let relay;
  before(async () => {
    relay = await startRelay(["--namespaces", "/,/quiet"]);
  });
  after(() => relay?.stop());

  for (const [what, packet] of [
    ["tiny publishes to an empty room", '42["publish","r","e"]'],
    ["tiny broadcasts", '42["broadcast","e"]'],
    ["echoes", '42["echo"]'],
    ["joins and leaves of a room", '42["join",["r"]]'],
    ["packets that are no events", '43["nobody asked"]'],
  ]) {
    test(`four that flood with ${what} do not keep another from being served`, async (context) => {
      const { port, url } = relay;
      const flood = fork(join(FOLDER, "lib/flood.mjs"), [JSON.stringify({ port, clients: 4, packet })]);
      const clients = new Clients(url);
      try {
        const client = await clients.connect({ namespace: "/quiet", transports: ["websocket"] });
        await once(flood, "message");
        const delays = [];
        for (const until = performance.now() + LASTS_MS; performance.now() < until; ) {
          const asked = performance.now();
          assert.deepEqual(await call(client, "echo", 1), [1]);
          delays.push(performance.now() - asked);
          await delay(5);
        }
        delays.sort((a, b) => a - b);
        const [median, p99] = [0.5, 0.99].map((quantile) => delays[Math.floor(delays.length * quantile)].toFixed(1));
        context.diagnostic(`${delays.length} echoes: median ${median}, p99 ${p99} ms`);
        assert.ok(delays.length >= ECHOES, `${delays.length} echoes in ${LASTS_MS} ms`);
      } finally {
        clients.close();
        flood.kill("SIGKILL");
        if (flood.exitCode === null && flood.signalCode === null) await once(flood, "exit");
      }
    });
  }
});
