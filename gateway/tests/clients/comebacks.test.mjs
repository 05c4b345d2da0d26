// Clients in other languages than JavaScript come back by themselves: to a node that was drained, to one that was killed, and after a time in
// which they did nothing. Each is a program of its own that joins a room whenever it is connected; some are scripts after the sources.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join, resolve } from "node:path";
import { describe, test } from "node:test";
import { Clients } from "./lib/clients.mjs";
import { metrics } from "./lib/metrics.mjs";
import { SCRIPTED, ScriptedClient } from "./lib/scripted.mjs";
import { FOLDER, REFERENCE, startRelay } from "./lib/target.mjs";
import { until } from "../../../testkit/js/wait.mjs";

const TARGET = resolve(FOLDER, "../../../target");
const PYTHON = process.env.CLIENTS_PYTHON ?? join(TARGET, "clients-venv/bin/python");
const OLD_PYTHON = process.env.CLIENTS_OLD_PYTHON ?? join(TARGET, "clients-old-venv/bin/python");
const RUST = process.env.CLIENTS_RUST ?? join(TARGET, "clients-rust/debug/comeback");
const COMEBACK = join(FOLDER, "python/comeback.py");
const TRANSPORTS = ["polling", "websocket", "polling,websocket"];
/** More than the clients in Python read in one poll. */
const BURST = 200;
const AT_ONCE = 3;

/** The programs, and what follows the URL and the transports. */
const PROGRAMS = {
  "python-socketio": { program: PYTHON, script: [COMEBACK], kind: "threads" },
  "python-socketio with asyncio": { program: PYTHON, script: [COMEBACK], kind: "asyncio" },
  "python-socketio 4": { program: OLD_PYTHON, script: [COMEBACK], kind: "threads", forgets: "after a post that is refused, this version may forget to come back" },
  "rust_socketio": { program: RUST, script: [], kind: "blocking" },
  "rust_socketio, async": { program: RUST, script: [], kind: "async" },
};

const FLAGS = ["--engine-allow-eio3", "true", "--shutdown-drain", "1s"];
/** A client that stands still is let go soon. */
const IMPATIENT = [...FLAGS, "--engine-ping-interval", "1s", "--engine-ping-timeout", "1s"];

/** A program with a client, and what it says. */
class Client {
  said = [];

  constructor({ program, script, kind }, url, transports) {
    this.child = spawn(program, [...script, url, transports, kind], { stdio: ["pipe", "pipe", "inherit"] });
    let rest = "";
    this.child.stdout.on("data", (chunk) => {
      const lines = `${rest}${chunk}`.split("\n");
      rest = lines.pop();
      this.said.push(...lines);
    });
  }

  all(word) {
    return this.said.filter((line) => line === word || line.startsWith(`${word}: `)).map((line) => line.slice(word.length + 2));
  }

  async says(word, times = 1) {
    await until(`it says "${word}" ${times} times: ${this.said.slice(-20).join(" | ")}`, () => this.all(word).length >= times);
  }

  /** It has joined the room for the `times`th time, and hears what is published there. */
  async isThere(node, times) {
    await this.says("joined", times);
    assert.equal(this.all("joined").at(-1), this.all("joined")[0]);
    const clients = new Clients(node.url);
    try {
      const publisher = await clients.connect({ transports: ["websocket"] });
      await publisher.emitWithAck("publish", "room", "news", times, "漢字 😀");
      await until(`it hears the news: ${this.said.slice(-20).join(" | ")}`, () => this.all("heard").some((heard) => JSON.parse(heard)[0] === times));
    } finally {
      clients.close();
    }
  }

  stop() {
    this.child.kill("SIGCONT");
    this.child.stdin.end();
    this.child.kill();
  }
}

async function running(flags, program, transports, act) {
  const nodes = [await startRelay(flags)];
  const [{ port, url }] = nodes;
  const client = new Client(program, url, transports);
  try {
    await client.isThere(nodes[0], 1);
    await act({ client, node: nodes[0], another: async () => nodes[nodes.push(await startRelay(flags, { port })) - 1] });
  } finally {
    client.stop();
    await Promise.all(nodes.map((node) => node.stop()));
  }
}

// Node ends with a close packet, after which some clients never come back.
const skip = REFERENCE && "Node does not drain";

for (const [name, program] of Object.entries(PROGRAMS)) {
  describe(`${name} comes back`, { skip, concurrency: AT_ONCE }, () => {
    for (const transports of TRANSPORTS) {
      test(`over ${transports} after a drain`, () =>
        running(FLAGS, program, transports, async ({ client, node, another }) => {
          assert.deepEqual(await node.terminate(), { code: 0, signal: null });
          await client.isThere(await another(), 2);
        }));

      test(`over ${transports} after a crash`, () =>
        running(FLAGS, program, transports, async ({ client, node, another }) => {
          await node.kill();
          await client.isThere(await another(), 2);
        }));

      test(`over ${transports} to a session that is over`, { skip: transports === "polling" && program.forgets }, () =>
        running(IMPATIENT, program, transports, async ({ client, node }) => {
          client.child.kill("SIGSTOP");
          await until("its session is over", async () => (await metrics(node)).get('gateway_sockets{namespace="/"}') === 0);
          client.child.kill("SIGCONT");
          await client.isThere(node, 2);
        }));
    }
  });
}

for (const [name, program] of Object.entries(PROGRAMS)) {
  test(`${name} gets ${BURST} events at once`, { skip }, () =>
    running(FLAGS, program, "polling", async ({ client, node }) => {
      const clients = new Clients(node.url);
      try {
        const publisher = await clients.connect({ transports: ["websocket"] });
        for (let number = 0; number < BURST; number += 1) publisher.emit("publish", "room", "news", `burst ${number}`);
        const bursts = () => client.all("heard").map((heard) => JSON.parse(heard)[0]).filter((it) => String(it).startsWith("burst"));
        await until(`it has heard all of ${bursts().length}: ${client.said.at(-1)}`, () => bursts().length >= BURST);
        const came = bursts();
        // Python's threads tell them in any order.
        if (program.kind === "threads") came.sort((one, other) => Number(one.slice(6)) - Number(other.slice(6)));
        assert.deepEqual(came, Array.from({ length: BURST }, (_, number) => `burst ${number}`));
        assert.deepEqual([client.all("connected").length, client.all("away").length], [1, 0]);
      } finally {
        clients.close();
      }
    }),
  );
}

for (const [name, client] of Object.entries(SCRIPTED)) {
  describe(`${name}, by its frames, comes back`, { skip, concurrency: AT_ONCE }, () => {
    for (const transport of ["polling", "websocket"]) {
      const running = async (flags, act) => {
        const nodes = [await startRelay(flags)];
        const [{ port }] = nodes;
        const scripted = new ScriptedClient(port, transport, client);
        const isThere = async (node, times) => {
          await until(`it has joined ${times} times: ${scripted.ends}`, () => scripted.joins >= times);
          const clients = new Clients(node.url);
          try {
            const publisher = await clients.connect({ transports: ["websocket"] });
            await publisher.emitWithAck("publish", "room", "news", times, "漢字 😀");
            assert.deepEqual(await scripted.heard.next(60_000), ["news", times, "漢字 😀"]);
          } finally {
            clients.close();
          }
        };
        try {
          await isThere(nodes[0], 1);
          await act({ scripted, node: nodes[0], isThere, another: async () => nodes[nodes.push(await startRelay(flags, { port })) - 1] });
          // A lost connection has many names; an answer that says so has two. A close packet does not invite all of them back.
          for (const end of scripted.ends) assert.doesNotMatch(end, /^(close packet|status (?!400|503)|not within|.*JSON)/);
        } finally {
          await scripted.stop();
          await Promise.all(nodes.map((node) => node.stop()));
        }
      };

      test(`over ${transport} after a drain`, () =>
        running(FLAGS, async ({ node, isThere, another }) => {
          assert.deepEqual(await node.terminate(), { code: 0, signal: null });
          await isThere(await another(), 2);
        }));

      test(`over ${transport} after a crash`, () =>
        running(FLAGS, async ({ node, isThere, another }) => {
          await node.kill();
          await isThere(await another(), 2);
        }));

      test(`over ${transport} to a session that is over`, () =>
        running(IMPATIENT, async ({ scripted, node, isThere }) => {
          scripted.frozen = true;
          await until("its session is over", async () => (await metrics(node)).get('gateway_sockets{namespace="/"}') === 0);
          scripted.frozen = false;
          await isThere(node, 2);
        }));
    }
  });
}
