// The relay application with the Python client.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { FOLDER, REFERENCE, startRelay } from "./lib/target.mjs";

const PYTHON = process.env.CLIENTS_PYTHON ?? join(FOLDER, "../../../target/clients-venv/bin/python");

let server;
before(async () => {
  server = await startRelay();
});
after(() => server?.stop());

for (const serializer of REFERENCE ? ["default"] : ["default", "msgpack"]) {
  for (const transports of ["polling", "websocket", "polling,websocket"]) {
    test(`python-socketio with the ${serializer} serializer over ${transports} connects, echoes, joins, publishes, sends binary and disconnects`, async () => {
      const script = join(FOLDER, "python", "relay.py");
      const { stdout } = await promisify(execFile)(PYTHON, [script, server.url, transports, serializer], { timeout: 60_000 });
      assert.match(stdout, /\nthe other stays\n$/);
    });
  }
}

const OLD_PYTHON = process.env.CLIENTS_OLD_PYTHON ?? join(FOLDER, "../../../target/clients-old-venv/bin/python");

for (const transports of ["polling", "websocket", "polling,websocket"]) {
  test(`python-socketio 4 over ${transports} connects, echoes, joins, publishes and sends binary`, async () => {
    const old = await startRelay(["--engine-allow-eio3", "true", "--namespaces", "/,/chat"]);
    try {
      const script = join(FOLDER, "python", "old", "relay.py");
      const { stdout } = await promisify(execFile)(OLD_PYTHON, [script, old.url, transports], { timeout: 120_000 });
      assert.match(stdout, /\nthe other stays\n$/);
    } finally {
      await old.stop();
    }
  });
}
