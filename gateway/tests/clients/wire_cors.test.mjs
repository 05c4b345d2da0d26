// Cross-origin requests: silent unless configured, and then on every response, refusals included.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Polling, SOCKET_IO } from "./lib/engine.mjs";
import { refused } from "./lib/errors.mjs";
import { request, requestUpgrade } from "./lib/http.mjs";
import { startRelay } from "./lib/target.mjs";

const ORIGIN = "https://app.example";
const HANDSHAKE = `${SOCKET_IO}?EIO=4&transport=polling`;
const PREFLIGHT = { Origin: ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type" };

function corsHeaders(response) {
  return Object.keys(response.headers).filter((name) => name.startsWith("access-control-"));
}

async function withRelay(flags, run) {
  const server = await startRelay(flags);
  try {
    await run(server.port);
  } finally {
    await server.stop();
  }
}

describe("CORS", { concurrency: true }, () => {
  test("is off by default: no response speaks of it, and OPTIONS is a bad method", () =>
    withRelay([], async (port) => {
      const headers = { Origin: ORIGIN };
      const session = await Polling.open(port, { path: SOCKET_IO, headers });
      const responses = [
        await request(port, HANDSHAKE, { headers }),
        await request(port, `${SOCKET_IO}?EIO=4`, { headers }),
        await session.post("40", { headers }),
        await request(port, HANDSHAKE, { method: "OPTIONS", headers: PREFLIGHT }),
        await requestUpgrade(port, `${SOCKET_IO}?EIO=4&transport=websocket`, headers),
      ];
      for (const response of responses) assert.deepEqual(corsHeaders(response), []);
      refused(responses[3], 2);
      assert.equal(responses[4].status, 101);
    }));

  test("an allowed origin is named on successes, refusals and preflights", () =>
    withRelay(["--cors-origins", ORIGIN], async (port) => {
      const headers = { Origin: ORIGIN };
      const success = await request(port, HANDSHAKE, { headers });
      assert.equal(success.status, 200);
      assert.equal(success.headers["access-control-allow-origin"], ORIGIN);
      const refusal = await request(port, `${SOCKET_IO}?EIO=4&transport=websocket`, { headers });
      refused(refusal, 3);
      assert.equal(refusal.headers["access-control-allow-origin"], ORIGIN);
      const preflight = await request(port, HANDSHAKE, { method: "OPTIONS", headers: PREFLIGHT });
      assert.equal(preflight.status, 204);
      assert.equal(preflight.headers["access-control-allow-origin"], ORIGIN);
      assert.match(preflight.headers["access-control-allow-methods"], /\bGET\b.*\bPOST\b/);
      assert.match(preflight.headers["access-control-allow-headers"], /content-type/i);
      assert.equal(preflight.headers["access-control-allow-credentials"], undefined);
      assert.equal((await requestUpgrade(port, `${SOCKET_IO}?EIO=4&transport=websocket`, headers)).headers["access-control-allow-origin"], ORIGIN);
    }));

  test("another origin is not named, and caches are told that the answer depends on it", () =>
    withRelay(["--cors-origins", `${ORIGIN},https://two.example`], async (port) => {
      for (const [origin, allowed] of [
        [ORIGIN, true],
        ["https://two.example", true],
        ["https://evil.example", false],
        [`${ORIGIN}.evil.example`, false],
        ["null", false],
      ]) {
        const response = await request(port, HANDSHAKE, { headers: { Origin: origin } });
        assert.equal(response.headers["access-control-allow-origin"], allowed ? origin : undefined, origin);
        assert.match(response.headers.vary ?? "", /\borigin\b/i);
      }
    }));

  test("any origin can be allowed", () =>
    withRelay(["--cors-origins", "*"], async (port) => {
      const response = await request(port, HANDSHAKE, { headers: { Origin: "https://anything.example" } });
      assert.ok(["*", "https://anything.example"].includes(response.headers["access-control-allow-origin"]));
    }));

  test("credentials are allowed when configured", () =>
    withRelay(["--cors-origins", ORIGIN, "--cors-credentials", "true"], async (port) => {
      const response = await request(port, HANDSHAKE, { headers: { Origin: ORIGIN } });
      assert.equal(response.headers["access-control-allow-credentials"], "true");
      assert.equal(response.headers["access-control-allow-origin"], ORIGIN);
    }));
});
