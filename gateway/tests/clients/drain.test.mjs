// A node drains while clients talk: none is refused, and they come to the other node in an even stream.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Balancer } from "./lib/balancer.mjs";
import { Clients } from "./lib/clients.mjs";
import { request } from "./lib/http.mjs";
import { metrics, total } from "./lib/metrics.mjs";
import { until } from "../../../testkit/js/wait.mjs";
import { REFERENCE, startRelay } from "./lib/target.mjs";

const skip = REFERENCE && "Node does not drain";
const CLIENTS = 300;
const DRAIN_S = 8;
const TALK_EVERY_MS = 1_000;
/** Polling costs the test a connection for each request, so there is less of it. */
const TRANSPORTS = [["websocket"], ["polling", "websocket"], ["websocket"], ["polling"], ["websocket"], ["polling", "websocket"]];

let nodes = [];
let balancer;
let clients;
before(async () => {
  if (skip) return;
  const flags = ["--shutdown-drain", `${DRAIN_S}s`];
  nodes = [await startRelay(flags), await startRelay(flags)];
  balancer = await Balancer.start(nodes);
  clients = new Clients(balancer.url);
});
after(async () => {
  clients?.close();
  await balancer?.stop();
  await Promise.all(nodes.map((node) => node.stop()));
});

test(`${CLIENTS} clients move to another node`, { skip }, async (context) => {
  const [leaving, staying] = nodes;
  const refusals = [];
  const closes = [];
  const comebacks = [];
  let sent = 0;
  let lost = 0;
  /** The unanswered messages of each socket's session. */
  const underWay = new Map();
  const sockets = await Promise.all(
    Array.from({ length: CLIENTS }, async (_, i) => {
      const socket = clients.socket({ transports: TRANSPORTS[i % TRANSPORTS.length], reconnection: true, query: { client: i } });
      await new Promise((resolve) => socket.once("connect", resolve));
      underWay.set(socket, new Set());
      socket.on("disconnect", (reason) => {
        closes.push({ reason, at: performance.now() });
        lost += underWay.get(socket).size;
        underWay.get(socket).clear();
      });
      socket.on("connect", () => comebacks.push(performance.now()));
      socket.io.on("reconnect_error", (error) => refusals.push(error.message));
      return socket;
    }),
  );
  await until("clients on both nodes", async () => (await metrics(leaving)).get('gateway_sockets{namespace="/"}') > CLIENTS / 4);
  const moving = (await metrics(leaving)).get('gateway_sockets{namespace="/"}');

  // Every client numbers its messages; those that are under way when its session closes are lost, and counted.
  let talking = true;
  const talk = (async () => {
    for (let number = 0; talking; number += 1) {
      for (const socket of sockets) {
        if (!socket.connected) continue;
        sent += 1;
        underWay.get(socket).add(number);
        socket.emit("echo", number, (back) => underWay.get(socket).delete(back));
      }
      await delay(TALK_EVERY_MS);
    }
  })();
  // Watches how many are left, twice a second.
  const began = performance.now();
  const seconds = () => (performance.now() - began) / 1000;
  const remaining = [];
  let exited = false;
  const watch = (async () => {
    while (!exited) {
      const asked = seconds();
      const series = await metrics(leaving).catch(() => undefined);
      if (series) remaining.push({ asked, told: seconds(), left: series.get("gateway_drain_remaining_connections") });
      await delay(500);
    }
  })();
  const exit = await leaving.terminate({ within: (DRAIN_S + 30) * 1000 });
  exited = true;
  await watch;
  try {
    await until("everybody is back", () => sockets.every((socket) => socket.connected));
  } catch (error) {
    const away = sockets.filter((socket) => !socket.connected);
    throw new Error(`${error.message}: ${away.length} are not; ${refusals}`);
  } finally {
    talking = false;
    await talk;
  }
  await until("every message of a session that lives is answered", () => [...underWay.values()].every((numbers) => numbers.size === 0));
  await until("all clients on the other node", async () => total(await metrics(staying), "gateway_sockets") === CLIENTS);

  const perSecond = (times) => {
    const counts = new Map();
    for (const at of times) counts.set(Math.floor((at - began) / 1000), (counts.get(Math.floor((at - began) / 1000)) ?? 0) + 1);
    return Math.max(...counts.values());
  };
  const closedPeak = perSecond(closes.map(({ at }) => at));
  context.diagnostic(`${moving} of ${CLIENTS} clients were on the node; ${closes.length} closes and ${comebacks.length} returns, at most ${closedPeak} closes and ${perSecond(comebacks)} returns in a second`);
  context.diagnostic(`sessions left: ${remaining.map(({ told, left }) => `${told.toFixed(1)} s ${left}`).join(", ")}`);
  context.diagnostic(`${sent} messages, ${lost} of them lost with their sessions`);

  assert.deepEqual(exit, { code: 0, signal: null });
  assert.deepEqual(refusals, []);
  assert.equal(total(await metrics(staying), "gateway_handshakes_rejected_total"), 0);
  // Reasons after which clients come back by themselves. A polling client may meet the end of its session with a post: an error to it.
  const reasons = new Set(closes.map(({ reason }) => reason));
  assert.ok([...reasons].every((reason) => ["transport close", "transport error"].includes(reason)), [...reasons].join());
  assert.ok(closes.length >= moving);
  // Evenly: at each look about as many are left as time is. A machine that stood still may make up for it at once.
  const even = (at) => moving * Math.max(0, 1 - at / DRAIN_S);
  for (const { asked, told, left } of remaining.slice(1)) {
    assert.ok(left <= even(asked) + 0.35 * moving && left >= even(told) - 0.35 * moving, `${left} of ${moving} left after ${asked} s`);
  }
});

test("a drain that is asked for leaves the node up, not ready, and refusing", { skip }, async () => {
  const node = await startRelay(["--shutdown-drain", "1s"]);
  const alone = new Clients(node.url);
  try {
    const socket = await alone.connect({ transports: ["websocket"] });
    const closed = new Promise((resolve) => socket.once("disconnect", resolve));
    const asked = await request(node.internalPort, "/drain", { method: "POST" });
    assert.equal(asked.status, 202);
    assert.equal((await request(node.internalPort, "/ready")).status, 503);
    assert.equal(await closed, "transport close");
    const late = await until("a refusal", async () => {
      const answer = await request(node.port, "/socket.io/?EIO=4&transport=polling");
      return answer.status === 503 && answer;
    });
    assert.equal(late.headers["retry-after"], "1");
    assert.equal((await request(node.internalPort, "/live")).status, 200);
    assert.deepEqual(await node.terminate(), { code: 0, signal: null });
  } finally {
    alone.close();
    await node.stop();
  }
});
