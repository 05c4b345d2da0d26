// Other programs that the tests start, on ports that are free, and stop again.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { startGateway } from "../../testing/gateway.mjs";

export const EXAMPLES = resolve(import.meta.dirname, "../..");
const PATIENCE_MS = 60_000;
const LOOK_AGAIN_MS = 50;

export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Looks until `holds` is true. */
export async function until(holds, what) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await holds();
    if (found) return found;
    if (Date.now() > end) throw new Error(`it did not happen: ${what}`);
    await new Promise((done) => setTimeout(done, LOOK_AGAIN_MS));
  }
}

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

function isListening(port) {
  return new Promise((done) => {
    const socket = createConnection({ host: "127.0.0.1", port });
    const tell = (open) => (socket.destroy(), done(open));
    socket.once("connect", () => tell(true)).once("error", () => tell(false));
  });
}

/** A program that listens on `port`. */
export async function start(command, args, { port, env = {}, cwd = EXAMPLES }) {
  const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (said = (said + data).slice(-10_000)));
  let gone = false;
  child.once("exit", () => (gone = true));
  await until(async () => {
    if (gone) throw new Error(`${command} ended: ${said}`);
    return isListening(port);
  }, `${command} listens`);
  return {
    port,
    async stop() {
      if (gone) return;
      child.kill("SIGTERM");
      await once(child, "exit");
    },
  };
}

export async function startRedis() {
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "examples-redis-"));
  const args = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder];
  const redis = await start(process.env.REDIS_SERVER, args, { port });
  return {
    url: `redis://127.0.0.1:${port}`,
    async stop() {
      await redis.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Two nodes that are joined by a Redis of their own. */
export async function startCluster(settings) {
  const redis = await startRedis();
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
  for (const node of nodes) await until(() => together(node), "two nodes know each other");
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
  const chat = await start(process.env.EXAMPLES_PYTHON, args, { port, env: { BACKEND_SECRET: secret } });
  return { ...chat, url: `http://127.0.0.1:${port}/socket` };
}
