// Tokens made by other libraries: PyJWT, and jose from npm. Each algorithm, by key and by JWKS.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { SignJWT } from "jose";
import { next, startGateway } from "../testing/gateway.mjs";

const SECRET = "a secret of the examples";
const ALGORITHMS = {
  rsa: ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
  p256: ["ES256"],
  p384: ["ES384"],
  p521: ["ES512"],
  ed25519: ["EdDSA", "Ed25519"],
};
const folder = mkdtempSync(join(tmpdir(), "examples-tokens-"));
let tokens;

before(() => {
  const args = ["tests/tokens.py", folder, SECRET];
  const lines = execFileSync(process.env.EXAMPLES_PYTHON, args, { cwd: join(import.meta.dirname, ".."), encoding: "utf8" });
  tokens = lines.trim().split("\n").map((line) => JSON.parse(line));
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** `ok`, or the code of the refusal. */
async function verdict(gateway, token) {
  const socket = gateway.connect({ token }, { reconnection: false });
  try {
    return await Promise.race([next(socket, "connect").then(() => "ok"), next(socket, "connect_error").then(([error]) => error.data.code)]);
  } finally {
    socket.close();
  }
}

async function check(gateway, list) {
  assert.ok(list.length > 0);
  for (const { name, key, good, token } of list) {
    const expected = good === true ? "ok" : good || "token_invalid";
    assert.equal(await verdict(gateway, token), expected, `${name} (${key})`);
  }
}

const jose = (algorithm, key, header = {}) =>
  new SignJWT({}).setProtectedHeader({ alg: algorithm, ...header }).setSubject("ann").setIssuedAt().setExpirationTime("10m").sign(key);

test("by a shared secret", async (t) => {
  const gateway = await startGateway({ GATEWAY_AUTH_JWT_SECRET: SECRET });
  t.after(() => gateway.stop());
  await check(gateway, tokens.filter((it) => it.key === "secret"));
  for (const algorithm of ["HS256", "HS384", "HS512"]) {
    assert.equal(await verdict(gateway, await jose(algorithm, Buffer.from(SECRET))), "ok", `jose ${algorithm}`);
  }
});

for (const [kind, algorithms] of Object.entries(ALGORITHMS)) {
  test(`by a public key: ${kind}`, async (t) => {
    const gateway = await startGateway({ GATEWAY_AUTH_JWT_PUBLIC_KEY: join(folder, `${kind}.pem`) });
    t.after(() => gateway.stop());
    await check(gateway, tokens.filter((it) => it.key === kind));
    const key = createPrivateKey(readFileSync(join(folder, `${kind}.key`)));
    for (const algorithm of algorithms) assert.equal(await verdict(gateway, await jose(algorithm, key)), "ok", `jose ${algorithm}`);
    const others = tokens.filter((it) => it.key !== kind && it.good === true);
    await check(gateway, others.map((it) => ({ ...it, good: false })));
  });
}

test("by a published set of keys", async (t) => {
  const jwks = Object.keys(ALGORITHMS).map((kind) => ({
    ...createPublicKey(readFileSync(join(folder, `${kind}.pem`))).export({ format: "jwk" }),
    kid: kind,
    use: "sig",
  }));
  const server = createServer((_, response) => response.end(JSON.stringify({ keys: jwks })));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  t.after(() => server.close());
  const gateway = await startGateway({ GATEWAY_AUTH_JWKS_URL: `http://127.0.0.1:${server.address().port}/jwks.json` });
  t.after(() => gateway.stop());
  for (const [kind, algorithms] of Object.entries(ALGORITHMS)) {
    const key = createPrivateKey(readFileSync(join(folder, `${kind}.key`)));
    for (const algorithm of algorithms) {
      assert.equal(await verdict(gateway, await jose(algorithm, key, { kid: kind })), "ok", algorithm);
      assert.equal(await verdict(gateway, await jose(algorithm, key)), "ok", `${algorithm} without a kid`);
      assert.equal(await verdict(gateway, await jose(algorithm, key, { kid: "../../../../dev/null" })), "token_invalid");
    }
    const other = Object.keys(ALGORITHMS).find((it) => it !== kind);
    assert.equal(await verdict(gateway, await jose(algorithms[0], key, { kid: other })), "token_invalid");
  }
  await check(gateway, tokens.filter((it) => it.good === true && it.key !== "secret"));
  await check(gateway, tokens.filter((it) => it.key === "secret").map((it) => ({ ...it, good: false })).filter((it) => it.name !== "expired"));
});

test("gateway token --verify says of each what a node says", async () => {
  const verify = (token, settings) => {
    const env = { PATH: process.env.PATH, ...settings };
    return spawnSync(process.env.GATEWAY_BIN, ["token", "--verify", "-"], { env, input: token, encoding: "utf8" });
  };
  for (const { name, key, good, token } of tokens) {
    const settings = key === "secret" ? { GATEWAY_AUTH_JWT_SECRET: SECRET } : { GATEWAY_AUTH_JWT_PUBLIC_KEY: join(folder, `${key}.pem`) };
    const { status, stdout, stderr } = verify(token, settings);
    assert.equal(status, good === true ? 0 : 1, `${name} (${key}): ${stdout}${stderr}`);
    assert.ok(!`${stdout}${stderr}`.includes(token), name);
  }
  assert.equal(verify("x", {}).status, 2);
  const other = verify(tokens[0].token, { GATEWAY_AUTH_JWT_SECRET: SECRET, GATEWAY_AUTH_ISSUER: "me" });
  assert.equal(other.status, 1);
  assert.match(other.stdout + other.stderr, /\(issuer\)/);
});
