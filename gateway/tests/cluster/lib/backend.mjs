// A backend behind webhooks in a process of its own, so that it can be frozen and killed. It keeps what it was told in a file.
import { fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../clients/lib/target.mjs";

const PROGRAM = join(import.meta.dirname, "backend_process.mjs");

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

export class BackendProcess {
  #child;
  #file;

  static async start() {
    const backend = new BackendProcess(await freePort());
    await backend.restart();
    return backend;
  }

  constructor(port) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}/`;
    this.#file = join(tmpdir(), `gateway-backend-${process.pid}-${port}`);
  }

  /** Starts it, or starts it again on the same port. */
  async restart() {
    this.#child = fork(PROGRAM, [`${this.port}`, this.#file]);
    running.add(this.#child);
    await once(this.#child, "message");
    this.#child.unref();
    this.#child.channel.unref();
  }

  freeze() {
    this.#child.kill("SIGSTOP");
  }

  thaw() {
    this.#child.kill("SIGCONT");
  }

  async kill() {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.ref();
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
    running.delete(child);
  }

  /** The numbers that it was told by each socket, in the order in which it was told. */
  numbers() {
    const told = new Map();
    for (const line of readFileSync(this.#file, "utf8").trim().split("\n")) {
      const [socket, number] = line.split(" ");
      if (!told.has(socket)) told.set(socket, []);
      told.get(socket).push(Number(number));
    }
    return told;
  }

  async stop() {
    await this.kill();
    rmSync(this.#file, { force: true });
  }
}
