// Starts the program under test on a free port and stops it again by its process id.
//
// REFERENCE=1 starts equivalent Node servers instead, so that a suite can be shown to describe Socket.IO and not merely this gateway.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { within } from "./wait.mjs";

/** True when the suites run against the Node servers in `reference/`. */
export const REFERENCE = process.env.REFERENCE === "1";

/** The folder of these suites. */
export const FOLDER = dirname(dirname(fileURLToPath(import.meta.url)));

const STOP_WITHIN_MS = 5_000;
const AGAIN_AFTER_MS = 1_000;
const TERMINATE_WITHIN_MS = 10_000;
const LISTEN_WITHIN_MS = 15_000;

/** The gateway with the relay application; `flags` follow `serve`. */
export function startRelay(flags = [], { port, env = {} } = {}) {
  return start({
    variable: "GATEWAY_BIN",
    script: "relay.mjs",
    port,
    env: () => env,
    args: (port, internalPort) => [
      "serve",
      "--listen",
      `127.0.0.1:${port}`,
      "--internal-listen",
      `127.0.0.1:${internalPort}`,
      ...(flags.includes("--shutdown-drain") ? [] : ["--shutdown-drain", "0s"]),
      ...flags,
    ],
  });
}

/** The library's node for clusters, `gateway/tests/programs/cluster_node.rs`; it takes settings from the environment alone. */
export function startClusterNode(env = {}) {
  return start({
    variable: "CLUSTER_NODE_BIN",
    args: () => [],
    env: (port, internalPort) => ({
      GATEWAY_LISTEN: `127.0.0.1:${port}`,
      GATEWAY_INTERNAL_LISTEN: `127.0.0.1:${internalPort}`,
      GATEWAY_SHUTDOWN_DRAIN: "0s",
      ...env,
    }),
  });
}

/** The two applications of the official conformance suites. */
export function startConformance() {
  return start({ variable: "CONFORMANCE_BIN", script: "conformance.mjs", args: () => [], env: (port) => ({ PORT: `${port}` }) });
}

/** The application that the tests of the JavaScript client expect. */
export function startClientSuite() {
  return start({ variable: "CLIENT_SUITE_BIN", script: "client_suite.mjs", args: () => [], env: (port) => ({ PORT: `${port}` }) });
}

async function start({ variable, script, port, args, env }) {
  const program = process.env[variable];
  if (!REFERENCE && !program) {
    throw new Error(`set ${variable} to the program under test, or REFERENCE=1 for the Node server`);
  }
  // A free port can be taken by somebody else before the program binds it, so a program that ends at once is tried again.
  for (let attempt = 1; ; attempt += 1) {
    const chosen = port ?? (await freePort());
    const internalPort = await freePort();
    const flags = args(chosen, internalPort);
    const command = REFERENCE ? [process.execPath, join(FOLDER, "reference", script)] : [program];
    const server = new Target([...command, ...flags], chosen, env(chosen, internalPort), internalPort);
    try {
      await server.listening();
      return server;
    } catch (error) {
      await server.stop().catch(() => {});
      if (port !== undefined || attempt === 3) throw error;
    }
  }
}

/** A running server program. */
class Target {
  #child;
  #output = "";
  #exited;
  #terminated = false;

  constructor([program, ...args], port, env, internalPort) {
    this.port = port;
    /** Where the gateway serves metrics and health. */
    this.internalPort = internalPort;
    this.url = `http://127.0.0.1:${port}`;
    this.#child = spawn(program, args, { env: { ...withoutOurs(process.env), ...env }, stdio: ["ignore", "pipe", "pipe"] });
    const keep = (chunk) => {
      this.#output = (this.#output + chunk).slice(-100_000);
    };
    this.#child.stdout.on("data", keep);
    this.#child.stderr.on("data", keep);
    this.#exited = new Promise((resolve) => {
      this.#child.once("error", (error) => {
        keep(String(error));
        resolve({ code: null, signal: null });
      });
      this.#child.once("exit", (code, signal) => resolve({ code, signal }));
    });
    // A test that fails before it stops its server must not keep the run from ending.
    for (const handle of [this.#child, this.#child.stdout, this.#child.stderr]) handle.unref();
    running.add(this.#child);
    this.#exited.then(() => running.delete(this.#child));
  }

  get pid() {
    return this.#child.pid;
  }

  /** What the program has printed so far (the last 100 kB). */
  get output() {
    return this.#output;
  }

  get running() {
    return this.#child.pid !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async listening() {
    const deadline = performance.now() + LISTEN_WITHIN_MS;
    while (this.running && performance.now() < deadline) {
      if (await accepts(this.port)) return;
      await delay(20);
    }
    throw new Error(`${this.#child.spawnargs.join(" ")} does not listen on ${this.port}:\n${this.#output}`);
  }

  /** Sends SIGTERM and says how the program ended. */
  async terminate({ within: limit = TERMINATE_WITHIN_MS } = {}) {
    this.#terminated = true;
    this.#child.ref();
    if (this.running) this.#child.kill("SIGTERM");
    return within(limit, this.#exited, "exit after SIGTERM");
  }

  /** Ends the program as `kill -9` does. */
  async kill() {
    this.#terminated = true;
    this.#child.ref();
    this.#child.kill("SIGKILL");
    await this.#exited;
  }

  /** Stops the process without ending it, as a machine that is moved does: its connections stay. */
  freeze() {
    this.#child.kill("SIGSTOP");
  }

  thaw() {
    this.#child.kill("SIGCONT");
  }

  /** Ends the program, and fails if it had ended by itself or panicked. */
  async stop() {
    const ended = !this.running && !this.#terminated;
    this.#child.ref();
    if (this.running) {
      this.#child.kill("SIGTERM");
      // Told again, a gateway that drains ends at once.
      const again = setTimeout(() => this.#child.kill("SIGTERM"), AGAIN_AFTER_MS);
      const reluctant = setTimeout(() => this.#child.kill("SIGKILL"), STOP_WITHIN_MS);
      await this.#exited;
      clearTimeout(again);
      clearTimeout(reluctant);
    }
    if (ended) throw new Error(`the program ended by itself:\n${this.#output}`);
    if (this.#output.includes("panicked at")) throw new Error(`the program panicked:\n${this.#output}`);
  }

  /** Resident memory of the process in bytes. */
  residentBytes() {
    const status = readFileSync(`/proc/${this.pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)[1]) * 1024;
  }
}

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));
// Without these a run that is cut off would leave its servers behind.
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

/** A TCP port of the loopback interface that nobody listens on. */
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

function accepts(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** The environment without the variables of these tests: the gateway takes GATEWAY_* for settings and refuses what it does not know. */
function withoutOurs({ GATEWAY_BIN: _, ...env }) {
  return env;
}
