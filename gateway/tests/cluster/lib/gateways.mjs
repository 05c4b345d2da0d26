// Gateway nodes: the program with the relay, and the library's node for clusters.
import { request } from "../../clients/lib/http.mjs";
import { startClusterNode, startRelay } from "../../clients/lib/target.mjs";
import { until } from "../../../../testkit/js/wait.mjs";

/** A node with the relay application. Settings have their names in the configuration, such as "redis.mode"; `env` is for the program's libraries. */
export async function relay(id, settings, env = {}) {
  const given = Object.entries({ "cluster.node_id": id, shards: "2", ...settings });
  return named(id, await startRelay(given.flatMap(([name, value]) => [`--${name.replaceAll(/[._]/g, "-")}`, `${value}`]), { env }), true);
}

/** A node with the handlers of gateway/tests/programs/cluster_node.rs: its clients do what a server can. */
export async function library(id, settings) {
  const given = Object.entries({ "cluster.node_id": id, shards: "2", ...settings });
  return named(id, await startClusterNode(Object.fromEntries(given.map(([name, value]) => [`GATEWAY_${name.replaceAll(".", "_").toUpperCase()}`, `${value}`]))));
}

function named(id, target, relay = false) {
  target.id = id;
  target.relay = relay;
  return target;
}

export async function isReady(node) {
  return (await request(node.internalPort, "/ready")).status === 200;
}

/** What a node says of whether it is ready. */
export async function readiness(node) {
  return JSON.parse((await request(node.internalPort, "/ready")).text);
}

/** Waits until the node is ready and knows `count` gateway nodes. */
export async function joined(node, count) {
  await until(`${node.id} is ready among ${count}`, async () => (await isReady(node)) && (await metric(node, "gateway_cluster_nodes")) === count);
}

/** The value of one series, named as it stands in the text. */
export async function metric(node, series) {
  const { text } = await request(node.internalPort, "/metrics");
  const line = text.split("\n").find((line) => line.startsWith(`${series} `));
  if (line === undefined) throw new Error(`there is no ${series}`);
  return Number(line.slice(series.length + 1));
}

/** What became of the messages that a node sent or received. */
export function messages(node, direction, result) {
  return metric(node, `gateway_adapter_messages_total{direction="${direction}",result="${result}"}`);
}
