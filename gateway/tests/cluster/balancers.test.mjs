// Three nodes behind balancers that know nothing of sessions: every request goes to the next node, and none is refused.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { CLIENTS as VERSIONS } from "../clients/lib/clients.mjs";
import { request } from "../clients/lib/http.mjs";
import { within } from "../../../testkit/js/wait.mjs";
import { startHaproxy, startNginx } from "./lib/balancers.mjs";
import { joined, relay } from "./lib/gateways.mjs";
import { Redis } from "../../../testkit/js/redis.mjs";

const FULL = process.env.CLUSTER_FULL === "1";
/** Clients of each kind, and how long they come and go. */
const CLIENTS = Number(process.env.CLUSTER_CLIENTS ?? (FULL ? 500 : 40));
const CHURN_MS = FULL ? 120_000 : 7_000;
/** How long a client stays. */
const LIFE_MS = FULL ? [5_000, 30_000] : [500, 3_000];
/** How long it waits between two calls. */
const REST_MS = FULL ? [200, 2_000] : [50, 400];
/** Over how long the first clients come. */
const ARRIVE_MS = FULL ? 20_000 : 500;
/** How long something may take on a machine that is busy with other things. */
const PATIENCE_MS = 100_000;

const io = VERSIONS["4.8.4"];
const KINDS = { "polling only": { transports: ["polling"] }, upgrade: {} };
const BALANCERS = { nginx: startNginx, HAProxy: startHaproxy };

let redis;
let nodes = [];

before(async () => {
  redis = await Redis.start();
  const settings = {
    "redis.url": redis.url,
    "cluster.secret": "a secret of these nodes",
    "log.level": "warn",
    // A thousand clients in one process are slow on a busy machine; this test is not about deadlines.
    "engine.connect_timeout": "2m",
    "engine.upgrade_timeout": "2m",
    "engine.ping_timeout": "2m",
  };
  nodes = await Promise.all(["one", "two", "three"].map((id) => relay(id, settings)));
  for (const node of nodes) await joined(node, nodes.length);
});

after(async () => {
  for (const node of nodes) await node.stop();
  await redis?.stop();
});

for (const [name, start] of Object.entries(BALANCERS)) {
  describe(`behind ${name}, in turn`, () => {
    let balancer;
    before(async () => {
      balancer = await start(nodes);
    });
    after(async () => {
      await balancer?.stop();
      balancer?.remove();
    });

    it(`serves ${CLIENTS} clients that poll and ${CLIENTS} that upgrade, which come and go for ${CHURN_MS / 1000} s`, async () => {
      const earlier = await series();
      const tally = { sessions: 0, upgrades: 0, calls: 0 };
      const end = performance.now() + CHURN_MS;
      const places = Object.entries(KINDS).flatMap(([kind, options]) => Array.from({ length: CLIENTS }, () => place(balancer.url, kind, options, end, tally)));
      const peak = delay(CHURN_MS / 2).then(() => nodes.map((node) => Math.round(node.residentBytes() / 1e6)));
      const ends = await Promise.allSettled(places);
      await balancer.stop();
      const answers = balancer.statuses();
      const later = await series();
      const counted = new Map([...later].map(([name, value]) => [name, value - (earlier.get(name) ?? 0)]));
      report(name, tally, answers, counted, await peak);

      assert.deepEqual(
        ends.filter(({ status }) => status === "rejected").map(({ reason }) => reason.message),
        [],
        "no client loses its session",
      );
      assert.deepEqual(Object.keys(answers), ["101", "200"], "no other answers");
      assert.equal(sum(counted, "gateway_unknown_sid_total"), 0);
      assert.equal(sum(counted, "gateway_handshakes_rejected_total", (name) => !name.includes('reason="http"')), 0);
      for (const kind of ["poll", "post", "upgrade"]) {
        assert.ok(forwarded(counted, kind, "answered") > CLIENTS / 2, `${kind}: forwarded`);
        for (const result of ["lost", "unreachable", "gone", "limit"]) assert.equal(forwarded(counted, kind, result), 0, `${kind}: ${result}`);
      }
      assert.ok(tally.upgrades > CLIENTS / 2, "clients upgrade");
    });
  });
}

/** One client after the other until `end`: each calls and is answered, and says goodbye. */
async function place(url, kind, options, end, tally) {
  await delay(between([0, ARRIVE_MS]));
  while (performance.now() < end) {
    const socket = io(url, { forceNew: true, reconnection: false, timeout: PATIENCE_MS, ...options });
    const lost = new Promise((_resolve, reject) => socket.once("disconnect", (reason) => reject(new Error(`${kind}: ${reason}`))));
    lost.catch(() => {});
    socket.io.engine.once("upgrade", () => {
      tally.upgrades += 1;
    });
    await Promise.race([connected(socket, kind), lost]);
    tally.sessions += 1;
    const leaves = Math.min(end, performance.now() + between(LIFE_MS));
    for (let number = 0; performance.now() < leaves; number += 1) {
      const said = [number, Buffer.from([number & 255, 0, 255])];
      assert.deepEqual(await Promise.race([echo(socket, kind, said), lost]), said);
      tally.calls += 1;
      await Promise.race([delay(between(REST_MS)), lost]);
    }
    await leave(socket);
  }
}

function connected(socket, kind) {
  const outcome = new Promise((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("connect_error", reject);
  });
  return within(PATIENCE_MS, outcome, `${kind}: connect`);
}

function echo(socket, kind, said) {
  return within(PATIENCE_MS, new Promise((resolve) => socket.emit("echo", ...said, (...values) => resolve(values))), `${kind}: echo`);
}

/** Disconnects and waits until the transport has closed, so that the balancer cuts nothing off when it stops. */
async function leave(socket) {
  const closed = new Promise((resolve) => socket.io.engine.once("close", resolve));
  socket.removeAllListeners("disconnect");
  socket.disconnect();
  await closed;
}

/** All series of all nodes, added up. */
async function series() {
  const sums = new Map();
  for (const node of nodes) {
    const { text } = await request(node.internalPort, "/metrics");
    for (const [, name, value] of text.matchAll(/^([^#\n]+) (\S+)$/gm)) sums.set(name, (sums.get(name) ?? 0) + Number(value));
  }
  return sums;
}

function sum(series, name, counts = () => true) {
  return [...series].filter(([key]) => key.startsWith(`${name}{`) && counts(key)).reduce((sum, [, value]) => sum + value, 0);
}

function forwarded(series, kind, result) {
  return series.get(`gateway_requests_forwarded_total{kind="${kind}",result="${result}"}`);
}

function report(name, tally, answers, counted, resident) {
  const kinds = ["poll", "post", "upgrade"].map((kind) => `${kind} ${forwarded(counted, kind, "answered")} (and ${forwarded(counted, kind, "given_up")} given up)`);
  console.log(`${name}: ${tally.sessions} sessions, ${tally.upgrades} upgrades, ${tally.calls} calls; answers by status ${JSON.stringify(answers)}; forwarded: ${kinds.join(", ")}; unknown: ${sum(counted, "gateway_unknown_sid_total")}, of them closed ${counted.get('gateway_unknown_sid_total{cause="closed"}')}; resident half-way ${resident.join(", ")} MB`);
}

function between([least, most]) {
  return least + Math.random() * (most - least);
}
