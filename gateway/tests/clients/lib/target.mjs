// Starts the program under test on a free port and stops it again by its process id.
//
// REFERENCE=1 starts equivalent Node servers instead, so that a suite can be shown to describe Socket.IO and not merely this gateway.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort } from "../../../../testkit/js/ports.mjs";
import { Program } from "../../../../testkit/js/program.mjs";

/** True when the suites run against the Node servers in `reference/`. */
export const REFERENCE = process.env.REFERENCE === "1";

/** The folder of these suites. */
export const FOLDER = dirname(dirname(fileURLToPath(import.meta.url)));

/** The gateway with the relay application; `flags` follow `serve`. */
export function startRelay(flags = [], { port, env = {} } = {}) {
  return start({
    variable: "GATEWAY_BIN",
    internal: true,
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
    internal: true,
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

async function start({ variable, script, port, args, env, internal = false }) {
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
      await server.listens(chosen);
      if (internal && !REFERENCE) await server.listens(internalPort);
      return server;
    } catch (error) {
      await server.kill();
      if (port !== undefined || attempt === 3) throw error;
    }
  }
}

/** A running server program. */
class Target extends Program {
  constructor([program, ...args], port, env, internalPort) {
    super(program, args, { env: { ...withoutOurs(process.env), ...env } });
    this.port = port;
    /** Where the gateway serves metrics and health. */
    this.internalPort = internalPort;
    this.url = `http://127.0.0.1:${port}`;
  }
}

/** The environment without the variables of these tests: the gateway takes GATEWAY_* for settings and refuses what it does not know. */
function withoutOurs({ GATEWAY_BIN: _, ...env }) {
  return env;
}
