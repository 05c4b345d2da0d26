// One client or one caller that asks for too much: others are served, and nothing grows without a bound.
//
// What takes how long is printed, and not asserted: machines are busy.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import http from "node:http";
import { connect } from "node:net";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { request } from "../clients/lib/http.mjs";
import { Client } from "./lib/clients.mjs";
import { metric } from "./lib/gateways.mjs";
import { Prober, shown } from "./lib/prober.mjs";
import { until } from "../../../testkit/js/wait.mjs";
import { World } from "./lib/world.mjs";

const FULL = process.env.CLUSTER_FULL === "1";
const KEY = "a key that only tests know";
/** Sockets of node b: with what a browser sends they do not fit into one message of 16 MiB when there are 10,500. */
const SOCKETS = FULL ? 12_000 : 1_500;
const CALLERS = 60;
const POLLING = "/socket.io/?EIO=4&transport=polling";
const COOKIE = `session=${"c".repeat(900)}`;
const BROWSER = {
  "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
  "Accept-Language": "en-GB,en;q=0.9,de;q=0.8",
  "Accept-Encoding": "gzip, deflate, br, zstd",
  Cookie: COOKIE,
};

for (const mode of ["classic", "sharded"]) {
  describe(`floods, ${mode}`, () => {
    let world;
    let a;
    let b;
    before(async () => {
      const settings = {
        "redis.mode": mode === "classic" ? "pubsub" : mode,
        "cluster.secret": "a secret that only tests know",
        "api.key": KEY,
        "engine.ping_interval": "5m",
        "cluster.request_timeout": "60s",
        "limits.outbox_patience": "10m",
        "log.level": "error",
      };
      world = await World.start({ relays: ["a", "b"], settings });
      [a, b] = ["a", "b"].map((id) => world.server(id));
    });
    after(() => world?.stop());

    /** What a prober of `server` finds while `work` is done. */
    async function meanwhile(test, server, work, mine = 0) {
      await until("those of before are gone", async () => (await sockets()) === world.clients.size + mine);
      const prober = await Prober.start(server);
      let found;
      let result;
      try {
        result = await work();
      } finally {
        found = await prober.stop();
      }
      test.diagnostic(shown(found));
      assert.equal(found.echo.failed + found.live.failed, 0);
      return result;
    }

    /** Sockets of both nodes. */
    async function sockets() {
      const counts = await Promise.all([a, b].map((server) => metric(server, 'gateway_sockets{namespace="/"}')));
      return counts[0] + counts[1];
    }

    it("ids that were made up do not stop forwarding to the node that they name", async (test) => {
      const opened = await request(a.port, POLLING);
      const { sid } = JSON.parse(opened.text.slice(1));
      const post = (id, body) => request(b.port, `${POLLING}&sid=${id}`, { method: "POST", body });
      assert.equal((await post(sid, "40")).text, "ok");
      const agent = new http.Agent({ keepAlive: true, maxSockets: 20 });
      let flooding = true;
      const shards = "BCDEFGHabcdefgh0123456789-_";
      const flood = async (number) => {
        let sent = 0;
        for (; flooding; sent += 1) {
          const shard = shards[(sent + number) % shards.length];
          const id = `${sid.slice(0, 4)}${shard}${`${sent}`.padStart(15, "x")}`;
          const answer = await request(b.port, `${POLLING}&sid=${id}`, { agent });
          assert.equal(answer.status, 400);
          await delay(20);
        }
        return sent;
      };
      await meanwhile(test, b, async () => {
        const floods = Array.from({ length: 8 }, (_, number) => flood(number));
        await delay(200);
        let ok = 0;
        for (let number = 0; number < 40; number += 1) {
          ok += (await post(sid, `42["echo",${number}]`)).text === "ok" ? 1 : 0;
          await delay(50);
        }
        flooding = false;
        const made = (await Promise.all(floods)).reduce((sum, sent) => sum + sent, 0);
        test.diagnostic(`${ok} of 40 posts arrived beside ${made} made-up ids`);
        assert.equal(ok, 40);
      }, 1);
      assert.equal((await post(sid, "1")).text, "ok");
      agent.destroy();
    });

    it("idle and silent connections keep neither probes nor other nodes nor clients out", async (test) => {
      const silent = (port, count) => Array.from({ length: count }, () => connect(port, "127.0.0.1").on("error", () => {}));
      const held = [];
      await meanwhile(test, a, async () => {
        for (let round = 0; round < 10; round += 1) {
          held.push(...silent(a.internalPort, 60), ...silent(a.port, 60));
          await delay(100);
        }
        const opened = await request(a.port, POLLING);
        const { sid } = JSON.parse(opened.text.slice(1));
        const answer = await request(b.port, `${POLLING}&sid=${sid}`, { method: "POST", body: "40" });
        assert.equal(answer.text, "ok");
        await request(a.port, `${POLLING}&sid=${sid}`, { method: "POST", body: "1" });
      });
      held.forEach((socket) => socket.destroy());
    });

    it(`${CALLERS} callers list ${SOCKETS} sockets page by page`, async (test) => {
      const clients = [];
      while (clients.length < SOCKETS) {
        const batch = Array.from({ length: Math.min(100, SOCKETS - clients.length) }, () => quiet(b));
        clients.push(...(await Promise.all(batch)));
      }
      const call = async (target) => {
        const answer = await request(a.internalPort, `/api/v1/${target}`, { headers: { Authorization: `Bearer ${KEY}` }, timeout: 240_000 });
        assert.equal(answer.status, 200, answer.text);
        const said = JSON.parse(answer.text);
        assert.deepEqual([said.missing_nodes, said.missing_others, said.truncated], [[], 0, undefined]);
        return said;
      };
      const before = memory(a) + memory(b);
      let most = 0;
      const watching = setInterval(() => { most = Math.max(most, memory(a) + memory(b) - before); }, 50);
      await meanwhile(test, a, async () => {
        const expected = await sockets();
        assert.ok(expected > SOCKETS);
        const callers = Array.from({ length: CALLERS }, async (_, number) => {
          if (number % 3 === 1) return assert.equal((await call("presence?counts=true")).socket_count, expected);
          if (number % 3 === 2) return assert.equal((await call("rooms?limit=1000")).rooms[0]?.name, "everybody");
          const ids = new Set();
          for (let cursor = ""; cursor !== null; ) {
            const page = await call(`sockets?limit=1000&cursor=${cursor}`);
            assert.ok(page.sockets.length <= 1000);
            page.sockets.forEach(({ id }) => ids.add(id));
            cursor = page.next;
          }
          return assert.equal(ids.size, expected);
        });
        await Promise.all(callers);
      }, SOCKETS);
      clearInterval(watching);
      test.diagnostic(`both nodes grew by ${(most / 1e6).toFixed(1)} MB at most`);
      // Nothing of what browsers sent is in it: 60 answers with all of it would take a hundred times as much.
      assert.ok(most < 150e6, `${most}`);
      clients.forEach((socket) => socket.destroy());
      await until("they are gone", async () => (await sockets()) < SOCKETS);
    });

    it("acknowledgements that another node awaits keep nothing of clients that went", async (test) => {
      const { connectRedis } = await import("./lib/node_server.mjs");
      const redis = await connectRedis("ioredis", world.redis.url);
      test.after(() => redis.disconnect());
      const clients = await Promise.all(Array.from({ length: 50 }, () => Client.open(b, "websocket")));
      const data = (number) => ({ requestId: `r${number}`, opts: { rooms: [], except: [], flags: { timeout: 3_600_000 } }, packet: { type: 2, data: ["silent"], nsp: "/" } });
      await meanwhile(test, b, async () => {
        for (let number = 0; number < 20; number += 1) {
          if (mode === "classic") await redis.publish("socket.io-request#/#", JSON.stringify({ uid: "peer", type: 7, ...data(number) }));
          else await redis.call("SPUBLISH", "socket.io#/#", JSON.stringify({ type: 3, uid: "peer", nsp: "/", data: data(number) }));
        }
        for (const client of clients) for (let number = 0; number < 20; number += 1) assert.deepEqual(await client.next(), ["silent"]);
        clients.forEach((client) => client.close());
        // The prober came meanwhile.
        await until("they are gone", async () => (await sockets()) <= world.clients.size + 1);
      }, clients.length);
    });
  });
}

/** A client that says what is needed for a socket in the room `everybody`, and nothing more; with a browser's headers. */
function quiet(server) {
  return new Promise((resolve, reject) => {
    const asked = http.request({
      host: "127.0.0.1", port: server.port, path: "/socket.io/?EIO=4&transport=websocket", agent: false,
      headers: { ...BROWSER, Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==" },
    });
    asked.once("error", reject).once("upgrade", (_, socket, head) => {
      let text = head.toString();
      socket.on("error", () => {});
      socket.on("data", (chunk) => {
        text += chunk.toString();
        if (text.includes("430[")) resolve(socket);
      });
      socket.write(Buffer.concat([frame("40"), frame('420["join","everybody"]')]));
    });
    asked.end();
  });
}

/** A short text frame, masked with zeros. */
function frame(text) {
  return Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]);
}

function memory({ pid }) {
  const [, kilobytes] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return kilobytes * 1024;
}
