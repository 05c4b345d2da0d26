// "Who is this user, and why does he not get messages?" of docs/operations.md: its commands on three nodes, while Ann and Bob do what the page says.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { Client } from "./lib/clients.mjs";
import { joined, relay } from "./lib/gateways.mjs";
import { token } from "./lib/tracer.mjs";
import { Program } from "../../../testkit/js/program.mjs";
import { Redis } from "../../../testkit/js/redis.mjs";
import { until } from "../../../testkit/js/wait.mjs";

const PAGE = resolve(import.meta.dirname, "../../../docs/operations.md");
const TITLE = "## Who is this user, and why does he not get messages?";
const KEY = "a key for the tests of the walk";
const SECRET = "a secret for the tests of the walk";

const folder = mkdtempSync(join(tmpdir(), "walk-"));
const nodes = [];
const steps = blocks();
let redis;

before(async () => {
  redis = await Redis.start();
  writeFileSync(join(folder, "key"), KEY);
  symlinkSync(process.env.GATEWAY_BIN, join(folder, "gateway"));
  const settings = { "redis.url": redis.url, "api.key": KEY, "auth.jwt_secret": SECRET };
  for (const id of ["gw-1", "gw-2", "gw-3"]) nodes.push(await relay(id, settings));
  for (const node of nodes) await joined(node, nodes.length);
});
after(async () => {
  await Promise.all(nodes.map((node) => node.stop()));
  await redis?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** The commands of the section, each with the lines that it prints. */
function blocks() {
  const text = readFileSync(PAGE, "utf8");
  const section = text.slice(text.indexOf(TITLE) + TITLE.length).split("\n## ")[0];
  return [...section.matchAll(/^```console\n\$ (.+)\n([^`]*)```$/gm)].map(([, command, output]) => ({ command, lines: output.trim().split("\n") }));
}

/** What differs from run to run. */
const settled = (text) => text
  .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "DATE")
  .replace(/^\d\d:\d\d:\d\d\.\d{3}/gm, "TIME")
  .replace(/(socket=|"id":")[\w-]{20}/g, "$1ID")
  .replace(/127\.0\.0\.1:\d+/g, "127.0.0.1:PORT")
  .replace(/session=\d+-\d+/g, "session=NUMBER");

const environment = () => ({ ...process.env, PATH: `${folder}:${process.env.PATH}` });
const here = (command) => command.replaceAll("127.0.0.1:17101", `127.0.0.1:${nodes[0].internalPort}`);

/** Runs a command that follows, while `happens`, until all is there that the page shows. */
async function follow({ command, lines }, happens) {
  const program = new Program("bash", ["-c", `exec ${here(command)}`], { cwd: folder, env: environment() });
  try {
    await until("all nodes trace", () => program.output.split("\n").filter((line) => line.endsWith(" tracing")).length === nodes.length);
    await happens();
    const missing = () => {
      const printed = settled(program.output).split("\n");
      let from = 0;
      return lines.map(settled).find((line) => {
        // Nodes begin in any order.
        const at = printed.indexOf(line, line.endsWith(" tracing") ? 0 : from);
        if (at >= 0 && !line.endsWith(" tracing")) from = at + 1;
        return at < 0;
      });
    };
    await until("it prints what the page shows", () => {
      const line = missing();
      if (line !== undefined && !program.running) throw new Error(program.story);
      return line === undefined;
    }).catch((error) => {
      throw new Error(`${command}\ndoes not print\n${missing()}\nbut\n${settled(program.output)}`, { cause: error });
    });
  } finally {
    await program.kill();
  }
}

const user = (node, name) => Client.open(node, "websocket", { auth: { token: token(SECRET, name) } });

test("the walk has four steps", () => {
  assert.deepEqual(steps.map(({ command }) => command.split(" ").slice(0, 3).join(" ").replace(/ ".*/, "")), ["curl -s", "gateway trace --user", "gateway trace --address", "gateway trace --room"]);
});

test("1: where she is", async () => {
  const ann = await user(nodes[1], "ann");
  await ann.call("join", ["chat"]);
  const { command, lines } = steps[0];
  const { stdout } = await promisify(execFile)("bash", ["-c", here(command)], { cwd: folder, env: environment() });
  assert.equal(settled(stdout).trim(), settled(lines.join("")));
  ann.close();
  await until("she is gone", async () => (await promisify(execFile)("bash", ["-c", here(command)], { cwd: folder, env: environment() })).stdout.includes('"sockets":[]'));
});

test("2: what happens to her", async () => {
  const bob = await user(nodes[0], "bob");
  let ann;
  await follow(steps[1], async () => {
    ann = await user(nodes[1], "ann");
    await ann.call("join", ["chat"]);
    await bob.call("publish", "chat", "hello", { n: 1 });
  });
  for (const client of [ann, bob]) client.close();
});

test("3: why she cannot connect", async () => {
  await follow(steps[2], async () => {
    const expired = token(SECRET, "ann", { exp: 1 });
    await assert.rejects(Client.open(nodes[2], "websocket", { auth: { token: expired } }));
  });
});

test("4: whether somebody sends to her room", async () => {
  const bob = await user(nodes[0], "bob");
  await follow(steps[3], async () => {
    const ann = await user(nodes[1], "ann");
    await ann.call("join", ["chat"]);
    await bob.call("publish", "chat", "hello", { n: 1 });
    // Her node hears of it later than Bob's.
    await ann.next();
    ann.close();
  });
  bob.close();
});
