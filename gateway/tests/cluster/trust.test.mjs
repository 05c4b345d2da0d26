// Whom nodes trust by TLS: certificates that signed themselves, names that do not fit, client certificates.
import assert from "node:assert/strict";
import { execFile, execFileSync, spawnSync } from "node:child_process";
import { generateKeyPairSync, sign } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, it } from "node:test";
import { promisify } from "node:util";
import { Client } from "./lib/clients.mjs";
import { isReady, joined, metric, relay } from "./lib/gateways.mjs";
import { startRelay } from "../clients/lib/target.mjs";
import { Redis, RedisCluster, Sentinels } from "../../../testkit/js/redis.mjs";
import { until } from "../../../testkit/js/wait.mjs";

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), "gateway-trust-"));
after(() => rmSync(folder, { recursive: true }));

const flag = (setting, value) => `--${setting.replaceAll(/[._]/g, "-")}=${value}`;

/** As `openssl req -x509` makes it: marked as an authority, and shown by the server itself. */
function selfSigned(name, address) {
  const [key, certificate] = ["key", "crt"].map((end) => join(folder, `${name}.${end}`));
  const args = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=${name} -addext subjectAltName=${address}`;
  execFileSync("openssl", [...args.split(" "), "-keyout", key, "-out", certificate], { stdio: "pipe" });
  const text = execFileSync("openssl", ["x509", "-in", certificate, "-noout", "-text"]).toString();
  assert.match(text, /CA:TRUE/);
  return { key, certificate, authority: certificate };
}

/** What an authority signed, for no authority itself. */
function signedBy(authority, name, address) {
  const [key, request, certificate, extensions] = ["key", "csr", "crt", "ext"].map((end) => join(folder, `${name}.${end}`));
  writeFileSync(extensions, `subjectAltName=${address}\nbasicConstraints=CA:FALSE\n`);
  const openssl = (text) => execFileSync("openssl", text.split(" "), { stdio: "pipe" });
  openssl(`req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=${name} -keyout ${key} -out ${request}`);
  openssl(`x509 -req -in ${request} -CA ${authority.certificate} -CAkey ${authority.key} -CAcreateserial -days 2 -extfile ${extensions} -out ${certificate}`);
  return { key, certificate, authority: authority.certificate };
}

const own = selfSigned("own", "IP:127.0.0.1");
const signed = signedBy(own, "signed", "IP:127.0.0.1");
const elsewhere = selfSigned("elsewhere", "DNS:redis.example.com");
const stranger = selfSigned("stranger", "IP:127.0.0.1");

async function node(test, id, settings) {
  const started = await relay(id, settings);
  test.after(() => started.stop());
  return started;
}

/** A node that stands alone. */
async function alone(test, settings) {
  const started = await startRelay(Object.entries(settings).map(([name, value]) => flag(name, value)));
  test.after(() => started.stop());
  return started;
}

async function neverReady(node) {
  const end = Date.now() + 3_000;
  while (Date.now() < end) {
    assert.equal(await isReady(node), false);
    await new Promise((done) => setTimeout(done, 100));
  }
}

it("Redis whose certificate signed itself is trusted by its file, and by no other", async (test) => {
  const redis = await Redis.start([], own);
  test.after(() => redis.stop());
  const good = { "redis.url": redis.url, "redis.ca_file": own.certificate, "backend.stream": "events" };
  const a = await node(test, "a", good);
  const b = await node(test, "b", good);
  for (const each of [a, b]) await joined(each, 2);
  const client = await Client.open(a, "websocket");
  assert.deepEqual(await client.call("say", 1), { ok: true });
  assert.ok(Number(await redis.command("XLEN", "events")) > 0);
  for (const wrong of [{}, { "redis.ca_file": stranger.certificate }]) {
    await neverReady(await node(test, "c", { "redis.url": redis.url, ...wrong }));
  }
});

it("a name that does not fit counts in full, not in ca; none checks nothing, and says so", async (test) => {
  const redis = await Redis.start([], elsewhere);
  test.after(() => redis.stop());
  const named = { "redis.url": redis.url, "redis.ca_file": elsewhere.certificate };
  await neverReady(await node(test, "a", named));
  await joined(await node(test, "b", { ...named, "redis.tls_verify": "ca" }), 1);
  await neverReady(await node(test, "c", { "redis.url": redis.url, "redis.ca_file": stranger.certificate, "redis.tls_verify": "ca" }));
  await joined(await node(test, "d", { "redis.url": redis.url, "redis.tls_verify": "none" }), 2);
});

it("Redis that wants a certificate of its clients gets it", async (test) => {
  const redis = await Redis.start([], own);
  test.after(() => redis.stop());
  const settings = { "redis.url": redis.url, "redis.ca_file": own.certificate };
  await redis.command("CONFIG", "SET", "tls-auth-clients", "yes");
  await neverReady(await node(test, "a", settings));
  await joined(await node(test, "b", { ...settings, "redis.tls_cert": own.certificate, "redis.tls_key": own.key }), 1);
});

it("sentinels and the master that they name are trusted by the same file", async (test) => {
  const servers = await Sentinels.start(own);
  test.after(() => servers.stop());
  const settings = { "redis.url": servers.url, "redis.ca_file": own.certificate };
  const nodes = [await node(test, "a", settings), await node(test, "b", settings)];
  for (const each of nodes) await joined(each, 2);
});

for (const mode of ["pubsub", "sharded"]) {
  it(`so are all servers of a cluster (${mode})`, async (test) => {
    const cluster = await RedisCluster.start(own);
    test.after(() => cluster.stop());
    const settings = { "redis.url": cluster.url, "redis.mode": mode, "redis.ca_file": own.certificate };
    const nodes = [await node(test, "a", settings), await node(test, "b", settings)];
    for (const each of nodes) await joined(each, 2);
  });
}

/** Listens by TLS, and ends with the test. */
async function serve(test, options, answer) {
  const keys = { key: readFileSync(own.key), cert: readFileSync(own.certificate) };
  const server = createServer({ ...keys, ...options }, (request, response) => request.resume().on("end", () => answer(request, response)));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  test.after(() => server.close());
  return `https://127.0.0.1:${server.address().port}/`;
}

/** What is wanted of clients; by TLS 1.2 the handshake itself fails without. */
const wantsCertificate = { requestCert: true, rejectUnauthorized: true, ca: readFileSync(own.certificate), maxVersion: "TLSv1.2" };
const shown = (section) => ({ [`${section}.tls_cert`]: own.certificate, [`${section}.tls_key`]: own.key });

it("a backend is trusted by a file of its own, and shown a certificate", async (test) => {
  for (const [options, good, wrong] of [
    [{}, { "backend.ca_file": own.certificate }, {}],
    [{}, { "backend.tls_verify": "none" }, { "backend.ca_file": stranger.certificate, "backend.tls_verify": "ca" }],
    [wantsCertificate, { "backend.ca_file": own.certificate, ...shown("backend") }, { "backend.ca_file": own.certificate }],
  ]) {
    let calls = 0;
    const url = await serve(test, options, (_, response) => {
      calls += 1;
      response.end("{}");
    });
    const settings = { "backend.url": url, "backend.secret": "0123456789abcdef" };
    const client = await Client.open(await alone(test, { ...settings, ...good }), "websocket");
    assert.ok(client.id && calls > 0);
    const before = calls;
    const bad = await alone(test, { ...settings, ...wrong });
    Client.open(bad, "websocket").catch(() => undefined);
    await until("it was tried", async () => (await metric(bad, 'gateway_backend_requests_total{result="failed"}')) > 0);
    assert.equal(calls, before);
  }
});

it("an issuer is trusted by a file of its own, and shown a certificate", async (test) => {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const keys = { keys: [{ ...publicKey.export({ format: "jwk" }), kid: "one" }] };
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const body = `${encode({ alg: "ES256", kid: "one" })}.${encode({ sub: "ann", exp: Math.floor(Date.now() / 1000) + 600 })}`;
  const token = `${body}.${sign("sha256", Buffer.from(body), { key: privateKey, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
  for (const [options, good, wrong] of [
    [{}, { "auth.ca_file": own.certificate }, {}],
    [wantsCertificate, { "auth.ca_file": own.certificate, ...shown("auth") }, { "auth.ca_file": own.certificate }],
  ]) {
    const url = await serve(test, options, (_, response) => response.end(JSON.stringify(keys)));
    const verified = (settings) => {
      const flags = Object.entries({ "auth.jwks_url": url, ...settings }).map(([name, value]) => flag(name, value));
      return run(process.env.GATEWAY_BIN, ["token", `--verify=${token}`, ...flags], { timeout: 20_000 });
    };
    assert.match((await verified(good)).stdout, /ann/);
    await assert.rejects(verified(wrong));
    const a = await alone(test, { "auth.jwks_url": url, ...good });
    const client = await Client.open(a, "websocket", { auth: { token } });
    assert.ok(client.id);
  }
});

it("the doctor shows a certificate, and looks at as much as it is told", async (test) => {
  const url = await serve(test, wantsCertificate, (_, response) => response.end());
  const doctor = async (...flags) => {
    const examined = run(process.env.GATEWAY_BIN, ["doctor", url, "--idle-timeout=0", ...flags], { timeout: 60_000 });
    return (await examined.catch((error) => error)).stdout;
  };
  const both = [`--cert=${own.certificate}`, `--key=${own.key}`];
  assert.match(await doctor(`--ca=${own.certificate}`), /WRONG {2}connection/);
  assert.match(await doctor(...both), /WRONG {2}connection .*not valid/);
  // It is trusted as it stands. That it is marked as an authority stops other programs.
  assert.match(await doctor(`--ca=${own.certificate}`, ...both), /warn {3}connection .*CaUsedAsEndEntity/);
  assert.match(await doctor("--tls-verify=none", ...both), /ok {5}connection .*nobody looked/);
});

it("a certificate that an authority signed is trusted by the authority's file, and by its own", async (test) => {
  const url = await serve(test, { key: readFileSync(signed.key), cert: readFileSync(signed.certificate) }, (_, response) => response.end());
  for (const [ca, said] of [[own, /ok {5}connection/], [signed, /ok {5}connection/], [stranger, /WRONG {2}connection/]]) {
    const examined = run(process.env.GATEWAY_BIN, ["doctor", url, "--idle-timeout=0", `--ca=${ca.certificate}`], { timeout: 60_000 });
    assert.match((await examined.catch((error) => error)).stdout, said);
  }
});

const needed = {
  redis: ["--redis-url=rediss://127.0.0.1:1"],
  backend: ["--backend-url=https://127.0.0.1:1/", "--backend-secret=0123456789abcdef"],
  auth: ["--auth-jwks-url=https://127.0.0.1:1/"],
};
const section = (setting) => setting.split(".")[0];
const anywhere = ["--listen=127.0.0.1:0", "--internal-listen=127.0.0.1:0"];

it("files that cannot be used are refused by the start and by check-config", () => {
  const text = join(folder, "text");
  writeFileSync(text, "no certificate");
  const wrong = [
    ["redis.ca_file", text, "is no PEM file of certificates", []],
    ...Object.keys(needed).map((section) => [`${section}.ca_file`, "/nowhere/ca.crt", "cannot be read", []]),
    ...Object.keys(needed).map((section) => [`${section}.tls_cert`, "/nowhere/client.crt", "cannot be read", [flag(`${section}.tls_key`, own.key)]]),
    ["redis.tls_key", "/nowhere/client.key", "cannot be read", [flag("redis.tls_cert", own.certificate)]],
    ["redis.tls_cert", stranger.certificate, "does not belong to the key of redis.tls_key", [flag("redis.tls_key", own.key)]],
  ];
  for (const [setting, file, reason, more] of wrong) {
    const complaint = `${setting}: ${file} ${reason}`;
    for (const command of ["check-config", "serve"]) {
      const args = [command, ...needed[section(setting)], flag(setting, file), ...more, ...anywhere];
      assert.throws(
        () => execFileSync(process.env.GATEWAY_BIN, args, { stdio: "pipe", timeout: 20_000 }),
        ({ status, stdout, stderr }) => status === 2 && `${stdout}${stderr}`.includes(complaint),
        `${command} ${setting}`,
      );
    }
  }
});

it("settings without TLS are refused, and none is said loudly", () => {
  for (const [name, flags] of Object.entries(needed)) {
    const spawn = (args) => spawnSync(process.env.GATEWAY_BIN, ["check-config", ...args, ...anywhere], { timeout: 20_000 });
    const check = (...more) => spawn([...flags, ...more]);
    const none = flag(`${name}.tls_verify`, "none");
    const refused = spawn([...flags.map((text) => text.replace("rediss:", "redis:").replace("https:", "http:")), none]);
    assert.equal(refused.status, 2);
    assert.ok(`${refused.stderr}`.includes(`${name}.ca_file`) && `${refused.stderr}`.includes("have no effect"), `${refused.stderr}`);
    const unchecked = check(none);
    assert.equal(unchecked.status, 0);
    assert.ok(`${unchecked.stderr}`.includes(`${name}.tls_verify is none: certificates are NOT checked`), `${unchecked.stderr}`);
    assert.ok(!`${check().stderr}`.includes("NOT checked"));
  }
});
