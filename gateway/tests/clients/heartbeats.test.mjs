// The gateway's counters of heartbeats against what its clients counted.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Clients, TRANSPORTS } from "./lib/clients.mjs";
import { SOCKET_IO, Ws } from "./lib/engine.mjs";
import { metrics, total } from "./lib/metrics.mjs";
import { until } from "../../../testkit/js/wait.mjs";
import { REFERENCE, startRelay } from "./lib/target.mjs";

const skip = REFERENCE && "Node has no metrics";
const CLIENTS_OF_EACH = 4;
const ROUNDS = 3;

let server;
let clients;
before(async () => {
  if (skip) return;
  server = await startRelay(["--engine-ping-interval", "1s", "--engine-ping-timeout", "20s"]);
  clients = new Clients(server.url);
});
after(async () => {
  clients?.close();
  await server?.stop();
});

test("pings and pongs are counted as the clients saw them", { skip }, async (context) => {
  let seen = 0;
  for (const transport of Object.values(TRANSPORTS)) {
    for (let i = 0; i < CLIENTS_OF_EACH; i += 1) {
      const client = clients.socket(transport);
      client.io.on("ping", () => {
        seen += 1;
      });
      await new Promise((resolve) => client.once("connect", resolve));
    }
  }
  const wanted = Object.keys(TRANSPORTS).length * CLIENTS_OF_EACH * ROUNDS;
  // Between two pings there are moments at which none is under way.
  const series = await until("a moment at which as many pings were sent, seen and answered", async () => {
    const before = seen;
    const now = await metrics(server);
    const quiet = seen === before && seen >= wanted;
    return quiet && total(now, "gateway_heartbeats_sent_total") === seen && total(now, "gateway_heartbeats_answered_total") === seen && now;
  });
  assert.equal(series.get("gateway_heartbeat_rtt_seconds_count"), seen);
  assert.equal(series.get("gateway_heartbeat_lateness_seconds_count"), seen);
  assert.equal(series.get("gateway_heartbeat_timeouts_total"), 0);
  const mean = (name) => ((1000 * series.get(`${name}_sum`)) / seen).toFixed(2);
  context.diagnostic(`${seen} pings; mean round trip ${mean("gateway_heartbeat_rtt_seconds")} ms, mean lateness ${mean("gateway_heartbeat_lateness_seconds")} ms`);
});

test("a client that does not answer is counted as timed out", { skip }, async () => {
  const impatient = await startRelay(["--engine-ping-interval", "200ms", "--engine-ping-timeout", "300ms"]);
  try {
    const silent = await Ws.session(impatient.port, { path: SOCKET_IO, pong: false });
    await silent.closed;
    const series = await metrics(impatient);
    assert.equal(series.get("gateway_heartbeats_sent_total"), 1);
    assert.equal(series.get("gateway_heartbeats_answered_total"), 0);
    assert.equal(series.get("gateway_heartbeat_timeouts_total"), 1);
    assert.equal(series.get('gateway_connections_closed_total{reason="ping_timeout",transport="websocket"}'), 1);
  } finally {
    await impatient.stop();
  }
});
