// node chat.tape.mjs
import { execFileSync } from "node:child_process";
import test from "tape";
import { next, startGateway } from "./gateway.mjs";

const SECRET = "a secret of the tests";

test("a token says what a client may do", async (t) => {
  const gateway = await startGateway({ GATEWAY_AUTH_JWT_SECRET: SECRET });
  t.teardown(() => gateway.stop());

  const stranger = gateway.connect();
  const [refused] = await next(stranger, "connect_error");
  t.equal(refused.data.code, "token_missing", "nobody connects without a token");

  const env = { PATH: process.env.PATH, GATEWAY_AUTH_JWT_SECRET: SECRET };
  const flags = ["token", "--sub", "ann", "--rooms", "chat:*"];
  const token = execFileSync(process.env.GATEWAY_BIN ?? "gateway", flags, { env, encoding: "utf8" }).trim();
  const ann = gateway.connect({ token });
  t.deepEqual(await ann.emitWithAck("join", "chat:1"), { ok: true }, "she joins what she may");
  const other = await ann.emitWithAck("join", "secrets");
  t.equal(other.error.code, "forbidden", "and nothing else");
});
