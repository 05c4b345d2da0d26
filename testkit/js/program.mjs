// A program that a test starts, and stops by its process id.
import { spawn } from "node:child_process";
import { fstatSync, mkdtempSync, openSync, readFileSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { accepts } from "./ports.mjs";
import { until, within } from "./wait.mjs";

const LISTEN_WITHIN_MS = 60_000;
const TERMINATE_WITHIN_MS = 10_000;
const AGAIN_AFTER_MS = 1_000;
const KILL_AFTER_MS = 5_000;
/** How much of the output a failure shows. */
const SHOWN_BYTES = 100_000;

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));
// Without these a run that is cut off would leave its programs behind.
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

export class Program {
  #child;
  #ended;
  #output = nameless();
  /** A test wanted it to end. */
  #dismissed = false;

  /** Starts it, and waits until it listens on `port`. */
  static async listening(port, program, args, options) {
    const started = new Program(program, args, options);
    try {
      await started.listens(port);
    } catch (error) {
      await started.kill();
      throw error;
    }
    return started;
  }

  constructor(program, args, { cwd, env } = {}) {
    this.#child = spawn(program, args, { cwd, env, stdio: ["ignore", this.#output, this.#output] });
    this.#ended = new Promise((resolve) => {
      this.#child.once("error", (error) => {
        this.failure = error;
        resolve({ code: null, signal: null });
      });
      this.#child.once("exit", (code, signal) => resolve({ code, signal }));
    });
    // A test that fails before it stops its programs must not keep the run from ending.
    this.#child.unref();
    running.add(this.#child);
    this.#ended.then(() => running.delete(this.#child));
  }

  get pid() {
    return this.#child.pid;
  }

  get running() {
    return this.#child.pid !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** All that the program has printed so far. */
  get output() {
    const text = Buffer.alloc(fstatSync(this.#output).size);
    return text.toString("utf8", 0, readSync(this.#output, text, 0, text.length, 0));
  }

  /** The program, and the end of what it printed: for the message of a failure. */
  get story() {
    return `${this.#child.spawnargs.join(" ")}: ${this.failure ?? ""}\n${this.output.slice(-SHOWN_BYTES)}`;
  }

  /** Waits until it takes connections. */
  async listens(port, milliseconds = LISTEN_WITHIN_MS) {
    try {
      await until(`it listens on ${port}`, async () => {
        if (!this.running) throw new Error("it ended before it listened");
        return (await accepts(port)) && this.running;
      }, milliseconds);
    } catch (error) {
      // Why it could not be started is told a little later.
      if (!this.running) await this.#ended;
      throw new Error(`${error.message}: ${this.story}`);
    }
  }

  /** Sends SIGTERM, and says how the program ended. */
  async terminate({ within: limit = TERMINATE_WITHIN_MS } = {}) {
    this.#dismissed = true;
    this.#child.ref();
    if (this.running) this.#child.kill("SIGTERM");
    return within(limit, this.#ended, "exit after SIGTERM");
  }

  /** Ends it as `kill -9` does. */
  async kill() {
    this.#dismissed = true;
    this.#child.ref();
    if (this.running) this.#child.kill("SIGKILL");
    await this.#ended;
  }

  /** Stops the process without ending it, as a machine that is moved does: its connections stay, and nothing answers. */
  freeze() {
    this.#child.kill("SIGSTOP");
  }

  thaw() {
    this.#child.kill("SIGCONT");
  }

  /** Ends the program, and fails if it had ended by itself or panicked. */
  async stop() {
    const endedItself = !this.running && !this.#dismissed;
    this.#child.ref();
    if (this.running) {
      this.#child.kill("SIGTERM");
      // Told again, a gateway that drains ends at once.
      const again = setTimeout(() => this.#child.kill("SIGTERM"), AGAIN_AFTER_MS);
      const reluctant = setTimeout(() => this.#child.kill("SIGKILL"), KILL_AFTER_MS);
      await this.#ended;
      clearTimeout(again);
      clearTimeout(reluctant);
    }
    if (endedItself) throw new Error(`it ended by itself: ${this.story}`);
    if (this.output.includes("panicked at")) throw new Error(`it panicked: ${this.story}`);
  }

  /** Resident memory of the process in bytes. */
  residentBytes() {
    const status = readFileSync(`/proc/${this.pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)[1]) * 1024;
  }
}

/** A file that is gone with the last process that holds it. Programs can open it again as /dev/stdout, which they cannot with a pipe of Node's. */
function nameless() {
  const folder = mkdtempSync(join(tmpdir(), "gateway-test-"));
  const file = openSync(join(folder, "output"), "a+");
  rmSync(folder, { recursive: true });
  return file;
}
