// The relay application with the Python client.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { FOLDER, startRelay } from "./lib/target.mjs";

const PYTHON = process.env.PEERS_PYTHON ?? join(FOLDER, "../../../target/peers-venv/bin/python");

let server;
before(async () => {
  server = await startRelay();
});
after(() => server?.stop());

for (const transports of ["polling", "websocket", "polling,websocket"]) {
  test(`python-socketio over ${transports} connects, echoes, joins, publishes, sends binary and disconnects`, async () => {
    const script = join(FOLDER, "python", "relay.py");
    const { stdout } = await promisify(execFile)(PYTHON, [script, server.url, transports], { timeout: 60_000 });
    assert.match(stdout, /\nthe other stays\n$/);
  });
}
