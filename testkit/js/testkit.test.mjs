// What tests rely on: node --test testkit/js
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { test } from "node:test";
import { freePort } from "./ports.mjs";
import { Program } from "./program.mjs";
import { Proxy } from "./proxy.mjs";
import { until, within } from "./wait.mjs";

/** A server that treats each connection so. */
async function serve(context, treat) {
  const server = createServer((socket) => treat(socket.on("error", () => {}))).listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => server.close());
  return server.address().port;
}

async function proxy(context, ...args) {
  const started = await Proxy.start(...args);
  context.after(() => started.stop());
  return started;
}

/** All that comes until the end. */
async function read(socket) {
  const chunks = [];
  for await (const chunk of socket) chunks.push(chunk);
  return Buffer.concat(chunks);
}

test("what a server sends before it closes arrives, however slow the link", async (context) => {
  const sent = Buffer.alloc(100_000, "x");
  const port = await serve(context, (socket) => socket.end(sent));
  const slow = await proxy(context, port, { bytesPerSecond: 100_000 });
  const began = performance.now();
  assert.deepEqual(await read(connect(slow.port)), sent);
  assert.ok(performance.now() - began > 500, "it was slow");
  assert.equal(slow.received, sent.length);
});

test("answers are late once the command was sent, and not before", async (context) => {
  const port = await serve(context, (socket) => socket.on("data", (asked) => socket.write(`re ${asked}`)));
  const late = await proxy(context, port, { answersLate: { command: "SLOW", milliseconds: 300 } });
  const client = connect(late.port);
  context.after(() => client.destroy());
  const ask = async (text) => {
    const began = performance.now();
    client.write(text);
    assert.equal(`${(await once(client, "data"))[0]}`, `re ${text}`);
    return performance.now() - began;
  };
  await ask("PING");
  assert.ok((await ask("SLOW")) >= 290);
  assert.ok((await ask("PING")) >= 290);
});

test("new connections go to the new target, old ones stay", async (context) => {
  const echo = (name) => (socket) => socket.on("data", () => socket.write(name));
  const [one, two] = [await serve(context, echo("one")), await serve(context, echo("two"))];
  const address = await proxy(context, one);
  const ask = async (client) => {
    client.write("who?");
    return `${(await once(client, "data"))[0]}`;
  };
  const before = connect(address.port);
  assert.equal(await ask(before), "one");
  address.target = two;
  const after = connect(address.port);
  assert.equal(await ask(after), "two");
  assert.equal(await ask(before), "one");
  before.destroy();
  after.destroy();
});

const node = (code) => new Program(process.execPath, ["-e", code]);

test("a program that ends by itself or panics is a failure of the test that stops it", async () => {
  const ended = node("console.log('a last word')");
  await until("it ends", () => !ended.running);
  await assert.rejects(ended.stop(), /it ended by itself: .*a last word/s);
  const panicking = node("console.error('thread panicked at nowhere'); setInterval(() => {}, 1000)");
  await until("it panics", () => panicking.output.includes("panicked"));
  await assert.rejects(panicking.stop(), /it panicked/);
});

test("a program that does not listen is told with what it said", async () => {
  const port = await freePort();
  const failing = Program.listening(port, process.execPath, ["-e", "console.error('no such setting'); process.exit(2)"]);
  await assert.rejects(failing, /no such setting/);
  await assert.rejects(Program.listening(port, "/no/such/program", []), /ENOENT/);
});

test("waiting has an end that says what did not happen", async () => {
  await assert.rejects(until("pigs fly", () => false, 50), /not within 50 ms: pigs fly/);
  await assert.rejects(within(50, new Promise(() => {}), "an answer"), /not within 50 ms: an answer/);
});
