// A backend behind webhooks in a process of its own, so that it can be frozen and killed. It keeps what it was told in a file.
import { readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../../../testkit/js/ports.mjs";
import { Program } from "../../../../testkit/js/program.mjs";

const PROGRAM = join(import.meta.dirname, "backend_process.mjs");

export class BackendProcess {
  #program;
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
    this.#program = await Program.listening(this.port, process.execPath, [PROGRAM, `${this.port}`, this.#file]);
  }

  freeze() {
    this.#program.freeze();
  }

  thaw() {
    this.#program.thaw();
  }

  async kill() {
    await this.#program.kill();
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
