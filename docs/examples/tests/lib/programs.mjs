// Other programs that the tests start, on ports that are free, and stop again.
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { chromium } from "playwright-core";
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

/** An example as its `start.sh` starts it, on free ports: its page, and its gateway. */
export async function startExample(name) {
  const [port, clients, internal] = [await freePort(), await freePort(), await freePort()];
  const env = {
    ...process.env,
    PORT: String(port),
    PYTHON: process.env.EXAMPLES_PYTHON,
    GATEWAY_LISTEN: `127.0.0.1:${clients}`,
    GATEWAY_INTERNAL_LISTEN: `127.0.0.1:${internal}`,
    GATEWAY_SHUTDOWN_DRAIN: "0s",
    GATEWAY_BACKEND_URL: backend(name) ? `http://127.0.0.1:${port}/socket` : "none",
    GATEWAY_CORS_ORIGINS: `http://127.0.0.1:${port}`,
  };
  const example = await Program.listening(clients, "bash", [`${name}/start.sh`], { cwd: EXAMPLES, env });
  await example.listens(port);
  const gateway = `http://127.0.0.1:${clients}`;
  return {
    gateway,
    page: (parameters) => `http://127.0.0.1:${port}/?${new URLSearchParams({ gateway, ...parameters })}`,
    webhook: `http://127.0.0.1:${port}/socket`,
    stop: () => example.stop(),
  };
}

const backend = (name) => existsSync(`${EXAMPLES}/${name}/page.html`) || existsSync(`${EXAMPLES}/${name}/game.mjs`);

/** A browser, which asks for nothing but what it is told to. */
export function startBrowser() {
  return chromium.launch({ executablePath: process.env.CHROMIUM, args: BROWSER_ARGUMENTS });
}

const BROWSER_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** Keeps a picture of a page in the folder that PICTURES names. */
export async function picture(page, name) {
  if (process.env.PICTURES) await page.screenshot({ path: `${process.env.PICTURES}/${name}.png` });
}

export async function startPythonChat(secret, port) {
  port ??= await freePort();
  const env = { ...process.env, BACKEND_SECRET: secret, PORT: String(port) };
  const chat = await Program.listening(port, process.env.EXAMPLES_PYTHON, ["python-chat/app.py"], { cwd: EXAMPLES, env });
  return { port, url: `http://127.0.0.1:${port}/socket`, stop: () => chat.stop() };
}
