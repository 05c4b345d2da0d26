// A client and a probe in a thread of their own: how long echo and `/live` take while others misbehave.
import http from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { io } from "socket.io-client";

const ECHO_EVERY_MS = 10;
const LIVE_EVERY_MS = 50;

export class Prober {
  static async start(server) {
    const prober = new Prober();
    prober.#worker = new Worker(new URL(import.meta.url), { workerData: { url: server.url, internalPort: server.internalPort } });
    await new Promise((resolve, reject) => prober.#worker.once("message", resolve).once("error", reject));
    return prober;
  }

  #worker;

  /** Ends it; answers with `{ echo, live }`, each `{ count, failed, p50, p99, max }` in milliseconds. */
  async stop() {
    const told = new Promise((resolve, reject) => this.#worker.once("message", resolve).once("error", reject));
    this.#worker.postMessage("stop");
    return told;
  }
}

export function shown({ echo, live }) {
  const text = ({ count, failed, p50, p99, max }) => `${count} (${failed} failed) p50 ${p50.toFixed(1)} p99 ${p99.toFixed(1)} max ${max.toFixed(1)} ms`;
  return `echo ${text(echo)}; /live ${text(live)}`;
}

if (!isMainThread && workerData?.internalPort) {
  const { url, internalPort } = workerData;
  let running = true;
  const socket = io(url, { transports: ["websocket"], forceNew: true, reconnection: false });
  await new Promise((resolve, reject) => socket.once("connect", resolve).once("connect_error", reject));
  const loops = [
    measure(ECHO_EVERY_MS, () => socket.timeout(10_000).emitWithAck("echo", 1)),
    measure(LIVE_EVERY_MS, () => live(internalPort)),
  ];
  parentPort.once("message", async () => {
    running = false;
    const [echo, live] = await Promise.all(loops);
    socket.disconnect();
    parentPort.postMessage({ echo, live });
  });
  parentPort.postMessage("ready");

  async function measure(every, ask) {
    const took = [];
    let failed = 0;
    while (running) {
      const began = performance.now();
      await ask().catch(() => { failed += 1; });
      took.push(performance.now() - began);
      await delay(every);
    }
    took.sort((a, b) => a - b);
    const at = (part) => took[Math.min(took.length - 1, Math.floor(took.length * part))] ?? 0;
    return { count: took.length, failed, p50: at(0.5), p99: at(0.99), max: at(1) };
  }
}

function live(port) {
  return new Promise((resolve, reject) => {
    const asked = http.get({ host: "127.0.0.1", port, path: "/live", agent: false, timeout: 15_000 }, (answer) => {
      answer.resume();
      answer.once("end", () => (answer.statusCode === 200 ? resolve() : reject(new Error(`${answer.statusCode}`))));
    });
    asked.once("timeout", () => asked.destroy(new Error("too late"))).once("error", reject);
  });
}
