// Starts a gateway for a test, on ports of the system's choice, and stops it.
//
//   const gateway = await startGateway({ GATEWAY_API_KEY: "a key of the tests" });
//   const socket = gateway.connect({ token });
//   await gateway.stop();
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const PATIENCE_MS = 60_000;

/** `settings` are environment variables; GATEWAY_BIN names the program. */
export async function startGateway(settings = {}) {
  const program = process.env.GATEWAY_BIN ?? "gateway";
  const child = spawn(program, ["serve"], {
    env: {
      PATH: process.env.PATH,
      GATEWAY_LISTEN: "127.0.0.1:0",
      GATEWAY_INTERNAL_LISTEN: "127.0.0.1:0",
      GATEWAY_SHUTDOWN_DRAIN: "0s",
      GATEWAY_DEMO: "false",
      ...settings,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (data) => (said = (said + data).slice(-10_000)));
  const url = {};
  const listening = (async () => {
    for await (const line of createInterface({ input: child.stdout })) {
      const [, what, address] = line.match(/^\s*(clients|metrics, health):\s*(http\S+)/) ?? [];
      if (what) url[what] = address;
      if (url["metrics, health"]) return;
    }
    throw new Error(`the gateway did not start: ${said}`);
  })();
  const late = new Promise((_, reject) => setTimeout(reject, PATIENCE_MS, new Error("the gateway took too long to start")).unref());
  await Promise.race([listening, late]);
  child.stdout.resume();
  const sockets = new Set();
  return {
    url: url.clients,
    internal: url["metrics, health"],
    process: child,

    /** A client of its own; closed by `stop`. */
    connect(auth = {}, options = {}) {
      const socket = io(url.clients, { auth, forceNew: true, transports: ["websocket"], reconnectionDelay: 100, ...options });
      sockets.add(socket);
      return socket;
    },

    /** A call of the HTTP API. */
    async api(call, body) {
      const response = await fetch(`${this.internal}/api/v1/${call}`, {
        method: body === undefined ? "GET" : "POST",
        headers: { authorization: `Bearer ${settings.GATEWAY_API_KEY}` },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
      return response.json();
    },

    async stop() {
      for (const socket of sockets) socket.close();
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGTERM");
      await once(child, "exit");
    },
  };
}

/** The next event of that name. */
export function next(socket, event) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no ${event}`)), PATIENCE_MS);
    // Nobody waits for it any more when the test is over.
    late.unref();
    socket.once(event, (...args) => {
      clearTimeout(late);
      resolve(args);
    });
  });
}
