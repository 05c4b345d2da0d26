// Somebody who reads a page and does what it says, on a machine of their own: with all ports free, and no network but npm and PyPI for
// commands that install something.
//
// `gateway` is the program under test. `cargo run` stands for what `make test` has built already. A command that goes on, and says that it
// listens, is a server: the reader leaves it running, and ends it with Ctrl-C when a later block starts another one.
//
// The reader is slower than the machine: a gateway that listens has the time to hear the others before the next command, and who only looks
// looks again until the page's answer is there.
import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Program } from "../../../../testkit/js/program.mjs";
import { until } from "../../../../testkit/js/wait.mjs";
import { missing, missingText, plain, steps } from "./page.mjs";

const COMMAND_WITHIN_MS = 180_000;
const ENDS_WITHIN_MS = 20_000;
const LOOK_AGAIN_MS = 20;
/** How long a gateway has to be ready. One that never is, since the page has no Redis for it, is read on about then. */
const READY_WITHIN_MS = 10_000;
/** How long the answer to a question may be another one than the page shows. */
const SETTLES_WITHIN_MS = 20_000;
const ASK_AGAIN_MS = 200;

const SERVES = /listening|\bon http:\/\//;
/** What a gateway says when it listens, in both formats of its log. */
const INTERNAL_PORT = /\binternal"?[=:]"?[^\s",]*:(\d+)/;
/** Asks and changes nothing. */
const LOOKS = /^curl (?!.*\s(-X|--request|-d|--data\S*|--json|-F|--form|-T|-N|--no-buffer)\b)/;
const INSTALLS = /^(npm (ci|install)\b|\S*pip install\b)/;

const CARGO = `#!/bin/sh
# What was built by make test: see docs/examples/tests/lib/reader.mjs.
case "$*" in
  "run --release") exec gateway ;;
  "run --example "*) exec "$EXAMPLES_BIN/$3" ;;
  *) echo "the reader of pages cannot run: cargo $*" >&2; exit 1 ;;
esac
`;

const groups = new Set();
process.on("exit", () => groups.forEach((group) => signal(group, "SIGKILL")));

export class Reader {
  #machine;
  #redis;
  #folder = mkdtempSync(join(tmpdir(), "gateway-reader-"));
  /** What runs: servers of the last block that started one. */
  #servers = [];
  /** The file with the variables of the last command that ended, a file for each. */
  #state = "";
  #commands = 0;
  /** What was done, and what was not and why. */
  done = 0;
  leftOut = [];

  /** `folder`, if there is one, is copied and is where the page is read. */
  static async start(folder) {
    const reader = new Reader();
    try {
      await reader.#prepare(folder);
    } catch (error) {
      await reader.stop();
      throw error;
    }
    return reader;
  }

  get place() {
    return join(this.#folder, "place");
  }

  async #prepare(folder) {
    const ours = ["node_modules", ".venv"];
    if (folder) cpSync(folder, this.place, { recursive: true, filter: (path) => !ours.includes(basename(path)) });
    else mkdirSync(this.place);
    const programs = join(this.#folder, "bin");
    mkdirSync(programs);
    symlinkSync(process.env.GATEWAY_BIN, join(programs, "gateway"));
    writeFileSync(join(programs, "cargo"), CARGO, { mode: 0o755 });
    // A network namespace of its own, held by a process that does nothing else.
    const asUser = process.getuid() === 0 ? [] : ["--user", "--map-root-user"];
    this.#machine = new Program("unshare", [...asUser, "--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep 3600"], {});
    await until("the machine is there", () => {
      if (!this.#machine.running) throw new Error(`cannot make a network of its own: ${this.#machine.story}`);
      return this.#machine.output.includes("ready");
    });
    const redis = ["redis-server", "--port", "6379", "--save", "", "--appendonly", "no", "--dir", this.#folder];
    this.#redis = new Program("nsenter", [...this.#inside(), ...redis], {});
    await until("Redis answers", () => this.#redis.output.includes("Ready to accept connections"));
  }

  #inside() {
    const asUser = process.getuid() === 0 ? [] : ["--user", "--preserve-credentials"];
    return ["--target", String(this.#machine.pid), "--net", ...asUser];
  }

  /** Does all that a page says; an error names the line of the page. */
  async read(text) {
    for (const step of steps(text)) {
      try {
        await this.#do(step);
      } catch (error) {
        throw new Error(`line ${error.line ?? step.line}: ${error.message}`);
      }
    }
  }

  async #do(step) {
    if (step.kind === "left out") this.leftOut.push(...step.commands.map(({ line, command }) => `line ${line}: ${command} (${step.reason})`));
    else if (step.kind === "file") this.#write(step.name, step.content);
    else if (step.kind === "program") await this.#runProgram(step);
    else await this.#runBlock(step);
  }

  #write(name, content) {
    const path = join(this.place, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }

  async #runProgram({ line, content, output }) {
    const name = `line-${line}.mjs`;
    this.#write(name, content);
    const { status, printed } = await this.#ended(this.#spawn(`node ${name}`));
    this.done += 1;
    if (status !== 0) throw new Error(`the program ended with status ${status}: ${printed}`);
    const lacks = missingText(output, printed);
    if (lacks !== undefined) throw new Error(`the program does not print ${lacks} (or not in this order): ${printed}`);
  }

  async #runBlock({ commands, beside = false }) {
    const before = this.#servers;
    this.#servers = [];
    try {
      for (const { line, command, output } of commands) {
        // A server of an earlier block has the ports until this one needs them.
        if (!beside && before.length > 0 && mayServe(command)) await end(before.splice(0));
        await this.#runUntilSettled(command, output).catch((error) => {
          throw Object.assign(error, { line });
        });
        this.done += 1;
      }
    } finally {
      this.#servers.push(...before);
    }
  }

  /** As `#run`, and again while the answer to a question is not the page's yet. */
  async #runUntilSettled(command, output) {
    const deadline = performance.now() + SETTLES_WITHIN_MS;
    for (;;) {
      try {
        return await this.#run(command, output);
      } catch (error) {
        if (output.length === 0 || !LOOKS.test(command) || performance.now() > deadline) throw error;
        await delay(ASK_AGAIN_MS);
      }
    }
  }

  async #run(command, output) {
    const child = this.#spawn(command);
    const deadline = performance.now() + COMMAND_WITHIN_MS;
    while (child.status === undefined) {
      if (SERVES.test(plain(child.printed)) && missing(output, child.printed) === undefined) {
        this.#servers.push(child);
        await this.#awaitReady(child);
        return;
      }
      if (performance.now() > deadline) {
        await end([child]);
        throw new Error(`$ ${command}\nneither ends nor says that it listens: it printed ${child.printed}`);
      }
      await delay(LOOK_AGAIN_MS);
    }
    const { status, printed } = child;
    this.#state = child.state;
    const lacks = missing(output, printed);
    if (lacks !== undefined) throw new Error(`$ ${command}\ndoes not print ${lacks} (or not in this order); it printed ${printed}`);
    // Where the page shows what a command prints, that may be why it fails.
    if (status !== 0 && output.length === 0) throw new Error(`$ ${command}\nended with status ${status}: ${printed}`);
  }

  /** Waits until a gateway is ready. Others say that they listen when they are. */
  async #awaitReady(child) {
    const said = INTERNAL_PORT.exec(plain(child.printed));
    if (!said) return;
    const url = `http://127.0.0.1:${said[1]}/ready`;
    const deadline = performance.now() + READY_WITHIN_MS;
    while (child.status === undefined && performance.now() < deadline) {
      const asked = spawnSync("nsenter", [...this.#inside(), "curl", "--silent", "--fail", "--max-time", "2", "--output", "/dev/null", url]);
      if (asked.status === 0) return;
      await delay(ASK_AGAIN_MS);
    }
  }

  async #ended(child) {
    const deadline = performance.now() + COMMAND_WITHIN_MS;
    while (child.status === undefined) {
      if (performance.now() > deadline) {
        await end([child]);
        throw new Error(`it does not end: it printed ${child.printed}`);
      }
      await delay(LOOK_AGAIN_MS);
    }
    return child;
  }

  /** Variables and the folder are as the commands before left them. */
  #spawn(command) {
    this.#commands += 1;
    const state = join(this.#folder, `state-${this.#commands}`);
    const script = `[ -f "${this.#state}" ] && . "${this.#state}" 2>/dev/null\n${command}\nstatus=$?\n` +
      `{ declare -p | grep -v '^declare -[a-z]*r'; printf 'cd %q\\n' "$PWD"; } >"${state}"\nexit $status`;
    const inside = INSTALLS.test(command) ? [] : ["nsenter", ...this.#inside()];
    const [program, ...args] = [...inside, "bash", "-c", script];
    const own = Object.entries(process.env).filter(([name]) => !/^(GATEWAY_|NODE_TEST|npm_)/.test(name));
    const env = { ...Object.fromEntries(own), PATH: `${join(this.#folder, "bin")}:${process.env.PATH}`, npm_config_prefer_offline: "true", npm_config_audit: "false", npm_config_fund: "false", npm_config_update_notifier: "false" };
    // A group of its own, as a terminal gives to a command: Ctrl-C goes to all of it.
    const child = spawn(program, args, { cwd: this.place, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    const running = { printed: "", status: undefined, state, signal: (name) => signal(child.pid, name) };
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (running.printed += data));
    child.once("error", (error) => Object.assign(running, { status: 127, printed: String(error) }));
    child.once("close", (code) => {
      running.status = code ?? 1;
      groups.delete(child.pid);
    });
    groups.add(child.pid);
    return running;
  }

  async stop() {
    await end(this.#servers.splice(0));
    await this.#redis?.stop();
    await this.#machine?.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Whether a command may want the ports of the servers before it. */
const mayServe = (command) => /(^|\s)(gateway|cargo run)(\s+--(?!help|version)|\s*$)|cargo run|start/.test(command);

function signal(group, name) {
  try {
    process.kill(-group, name);
  } catch {
    // It is gone.
  }
}

/** Ctrl-C, and a failure if that does not end them. */
async function end(servers) {
  for (const server of servers) server.signal("SIGINT");
  const deadline = performance.now() + ENDS_WITHIN_MS;
  for (const server of servers) {
    while (server.status === undefined) {
      if (performance.now() > deadline) {
        for (const other of servers) other.signal("SIGKILL");
        throw new Error(`Ctrl-C does not end it: ${server.printed}`);
      }
      await delay(LOOK_AGAIN_MS);
    }
  }
}
