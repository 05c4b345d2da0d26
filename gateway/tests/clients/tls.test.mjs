// The real client over https and wss, and a certificate that is replaced while it is connected.
import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { connect } from "node:tls";
import { X509Certificate } from "node:crypto";
import { call, Clients, connected, OK, TRANSPORTS } from "./lib/clients.mjs";
import { until } from "../../../testkit/js/wait.mjs";
import { FOLDER, REFERENCE, startRelay } from "./lib/target.mjs";

const skip = REFERENCE && "the Node servers have no TLS here";
const CERTIFICATES = resolve(FOLDER, "../certificates");
const ca = ["one", "two"].map((name) => readFileSync(join(CERTIFICATES, `${name}.crt`)));

let scratch;
let server;
let clients;
before(async () => {
  if (skip) return;
  scratch = mkdtempSync(join(tmpdir(), "gateway-tls-"));
  show("one");
  server = await startRelay(["--tls-cert", join(scratch, "tls.crt"), "--tls-key", join(scratch, "tls.key")]);
  clients = new Clients(`https://localhost:${server.port}`);
});
after(async () => {
  clients?.close();
  await server?.stop();
  if (scratch) rmSync(scratch, { recursive: true });
});

function show(name) {
  for (const kind of ["crt", "key"]) copyFileSync(join(CERTIFICATES, `${name}.${kind}`), join(scratch, `tls.${kind}`));
}

/** The name in the certificate that a new connection is shown. */
function shown() {
  return new Promise((resolve, reject) => {
    const socket = connect({ port: server.port, host: "127.0.0.1", servername: "localhost", ca }, () => {
      resolve(new X509Certificate(socket.getPeerCertificate().raw).subject);
      socket.destroy();
    });
    socket.once("error", reject);
  });
}

for (const [name, options] of Object.entries(TRANSPORTS)) {
  test(`${name}: connects, joins, publishes and hears`, { skip }, async () => {
    const [ann, bob] = await Promise.all([clients.connect({ ca, ...options }), clients.connect({ ca, ...options })]);
    if (name === "upgrade") await until("the upgrade", () => ann.io.engine.transport.name === "websocket");
    assert.deepEqual(await call(bob, "join", name), [OK]);
    const heard = new Promise((resolve) => bob.once("news", (...args) => resolve(args)));
    const bytes = Buffer.alloc(200_000, 7);
    assert.deepEqual(await call(ann, "publish", name, "news", "text", bytes), [OK]);
    const [text, received] = await heard;
    assert.equal(text, "text");
    assert.ok(bytes.equals(received));
  });
}

test("a certificate that is not trusted is refused by the client", { skip }, async () => {
  const socket = clients.socket({ transports: ["websocket"] });
  await assert.rejects(connected(socket));
});

test("a certificate is replaced while clients are connected", { skip }, async () => {
  const old = await clients.connect({ ca, transports: ["websocket"] });
  const polling = await clients.connect({ ca, transports: ["polling"] });
  let disconnects = 0;
  for (const socket of [old, polling]) socket.on("disconnect", () => (disconnects += 1));
  assert.equal(await shown(), "CN=gateway test one");
  show("two");
  await until("the new certificate", async () => (await shown()) === "CN=gateway test two");
  const late = await clients.connect({ ca, transports: ["websocket"] });
  for (const socket of [old, polling, late]) assert.deepEqual(await call(socket, "echo", 1), [1]);
  assert.equal(disconnects, 0);
});
