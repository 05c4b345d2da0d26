// Other programs that the tests start, on ports that are free, and stop again.
import { resolve } from "node:path";
import { freePort } from "../../../../testkit/js/ports.mjs";
import { Program } from "../../../../testkit/js/program.mjs";
import { Redis } from "../../../../testkit/js/redis.mjs";
import { until } from "../../../../testkit/js/wait.mjs";
import { startGateway } from "../../testing/gateway.mjs";

export const EXAMPLES = resolve(import.meta.dirname, "../..");

/** Two nodes that are joined by a Redis of their own. */
export async function startCluster(settings) {
  const redis = await Redis.start();
  const nodes = [];
  for (const id of ["one", "two"]) {
    const internal = await freePort();
    nodes.push(
      await startGateway({
        ...settings,
        GATEWAY_INTERNAL_LISTEN: `127.0.0.1:${internal}`,
        GATEWAY_REDIS_URL: redis.url,
        GATEWAY_CLUSTER_NODE_ID: id,
      }),
    );
  }
  const together = async (node) => (await fetch(`${node.internal}/ready`)).ok && (await node.api("nodes")).nodes?.length === 2;
  for (const node of nodes) await until("two nodes know each other", () => together(node));
  return {
    nodes,
    redis,
    async stop() {
      await Promise.all(nodes.map((node) => node.stop()));
      await redis.stop();
    },
  };
}

export async function startPythonChat(secret, port) {
  port ??= await freePort();
  const args = ["python-chat/app.py", "--port", String(port)];
  const env = { ...process.env, BACKEND_SECRET: secret };
  const chat = await Program.listening(port, process.env.EXAMPLES_PYTHON, args, { cwd: EXAMPLES, env });
  return { port, url: `http://127.0.0.1:${port}/socket`, stop: () => chat.stop() };
}
