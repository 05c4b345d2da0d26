// Which HTTP requests and WebSocket handshakes are served, and how the others are refused.
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { ENGINE, Polling, SOCKET_IO, Ws } from "./lib/engine.mjs";
import { bare, refused, upgradeRefused } from "./lib/errors.mjs";
import { request, requestUpgrade } from "./lib/http.mjs";
import { REFERENCE, startConformance } from "./lib/target.mjs";

let server;
before(async () => {
  server = await startConformance();
});
after(() => server?.stop());

for (const path of [ENGINE, SOCKET_IO]) {
  const get = (query, options) => request(server.port, `${path}?${query}`, options);
  const upgrade = (query, headers) => requestUpgrade(server.port, `${path}?${query}`, headers);

  describe(`requests to ${path}`, () => {
    for (const transport of ["", "&transport=", "&transport=abc", "&transport=constructor", "&transport=__proto__", "&transport=webtransport"]) {
      test(`transport "${transport}" is unknown`, async () => {
        refused(await get(`EIO=4${transport}`), 0);
        refused(await get(`EIO=4${transport}`, { method: "POST", body: "4a" }), 0);
        refused(await get(`EIO=4${transport}&sid=unknown`), 0);
        upgradeRefused(await upgrade(`EIO=4${transport}`), 0);
      });
    }

    for (const sid of ["abc", "AAAAAAAAAAAAAAAAAAAA", "../../etc/passwd", "%00", "%ff%fe", "a".repeat(5_000)]) {
      test(`session id ${sid.slice(0, 20)} is unknown`, async () => {
        refused(await get(`EIO=4&transport=polling&sid=${sid}`), 1);
        refused(await get(`EIO=4&transport=polling&sid=${sid}`, { method: "POST", body: "4a" }), 1);
        refused(await get(`EIO=3&transport=polling&sid=${sid}`), 1);
        refused(await get(`EIO=4&transport=websocket&sid=${sid}`), 1);
        upgradeRefused(await upgrade(`EIO=4&transport=websocket&sid=${sid}`), 1);
      });
    }

    for (const method of ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"]) {
      test(`a handshake by ${method} is refused`, async () => {
        refused(await get("EIO=4&transport=polling", { method }), 2);
        // The method is judged before the protocol version.
        refused(await get("transport=polling", { method }), 2);
      });
    }

    test("a handshake by HEAD is refused without a body", async () => {
      const response = await get("EIO=4&transport=polling", { method: "HEAD" });
      assert.equal(response.status, 400);
      assert.equal(response.text, "");
    });

    test("transport websocket without an upgrade is a bad request", async () => {
      refused(await get("EIO=4&transport=websocket"), 3);
      // This is judged before the protocol version.
      refused(await get("EIO=3&transport=websocket"), 3);
      const session = await Polling.open(server.port, { path });
      refused(await get(`EIO=4&transport=websocket&sid=${session.sid}`), 3);
      assert.ok(await session.alive());
    });

    for (const version of ["", "EIO=", "EIO=3", "EIO=5", "EIO=abc", "EIO=4.0", "EIO=04", "EIO=4&EIO=3"]) {
      test(`protocol version "${version}" is unsupported`, async () => {
        refused(await get(`transport=polling&${version}`), 5);
      });

      test(`protocol version "${version}" is unsupported on a WebSocket`, { skip: REFERENCE && "Node answers 101 first and the error inside the stream" }, async () => {
        upgradeRefused(await upgrade(`transport=websocket&${version}`), 5);
      });
    }

    test("the last of a repeated parameter counts", async () => {
      const response = await get("EIO=3&EIO=4&transport=websocket&transport=polling&sid=unknown&sid=");
      assert.equal(response.status, 200);
    });

    test("an empty session id asks for a new session", async () => {
      assert.equal((await get("EIO=4&transport=polling&sid=")).status, 200);
    });

    test("unknown parameters are ignored", async () => {
      assert.equal((await get("EIO=4&transport=polling&t=Oxyz&b64=1&x=%F0%9F%98%80&&=&y")).status, 200);
    });

    test("a path below the own path is served", async () => {
      const response = await request(server.port, `${path}any/thing?EIO=4&transport=polling`);
      assert.equal(response.status, 200);
    });

    test("other paths are not served", async () => {
      for (const other of ["/nothing", `/x${path}`, `${path.slice(0, -1)}x`]) {
        assert.equal((await request(server.port, `${other}?EIO=4&transport=polling`)).status, 404);
      }
    });

    test("the path is served without its slash", { skip: REFERENCE && "Node serves it with its slash only" }, async () => {
      assert.equal((await request(server.port, `${path.slice(0, -1)}?EIO=4&transport=polling`)).status, 200);
    });

    test("another protocol version on a session is a bad request and leaves it open", async () => {
      const session = await Polling.open(server.port, { path });
      refused(await get(`EIO=3&transport=polling&sid=${session.sid}`), 3);
      assert.ok(await session.alive());
    });

    for (const method of ["PUT", "OPTIONS", "HEAD", "DELETE"]) {
      test(`${method} on a session is refused and leaves it open`, async () => {
        const session = await Polling.open(server.port, { path });
        const { status } = await request(server.port, session.url, { method });
        assert.ok((REFERENCE ? [500] : [400, 405]).includes(status), `status ${status}`);
        assert.ok(await session.alive());
      });
    }

    test("an illegal Origin is a bad request", async () => {
      for (const origin of ["http://a\x7f", "http://a\x01", "\x00"]) {
        const answer = await raw(`GET ${path}?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\nOrigin: ${origin}\r\nConnection: close\r\n\r\n`);
        assert.match(answer, /^HTTP\/1\.1 400 /);
      }
    });
  });

  describe(`WebSocket handshakes at ${path}`, () => {
    test("a handshake by POST is refused", async () => {
      const headers = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AQIDBAUGBwgJCgsMDQ4PEA==" };
      upgradeRefused(await get("EIO=4&transport=websocket", { method: "POST", headers }), 2);
    });

    test("transport polling is refused", { skip: REFERENCE && "Node answers 101 and closes" }, async () => {
      const response = await upgrade("EIO=4&transport=polling");
      assert.equal(response.status, 400);
    });

    test("transport polling on a session is refused and leaves it open", { skip: REFERENCE && "Node answers 101 and closes" }, async () => {
      const session = await Polling.open(server.port, { path });
      const response = await upgrade(`EIO=4&transport=polling&sid=${session.sid}`);
      assert.equal(response.status, 400);
      assert.ok(await session.alive());
    });

    test("another WebSocket version is refused with the versions that are spoken", async () => {
      const response = await upgrade("EIO=4&transport=websocket", { "Sec-WebSocket-Version": "7" });
      assert.ok([400, 426].includes(response.status), `status ${response.status}`);
      assert.match(response.headers["sec-websocket-version"], /\b13\b/);
    });

    test("a missing key is refused", async () => {
      assert.equal((await upgrade("EIO=4&transport=websocket", { "Sec-WebSocket-Key": "" })).status, 400);
    });

    test("the first offered subprotocol is chosen, and none without an offer", async () => {
      const chosen = await Ws.open(server.port, { path, protocols: ["first", "second"] });
      assert.equal(chosen.socket.protocol, "first");
      chosen.close();
      const none = await Ws.open(server.port, { path });
      assert.equal(none.socket.protocol, "");
      none.close();
    });

    test("compression is offered in vain", async () => {
      const response = await upgrade("EIO=4&transport=websocket", { "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits" });
      assert.equal(response.status, 101);
      assert.equal(response.headers["sec-websocket-extensions"], undefined);
    });

    test("a session id of the handshake is refused after its session has closed", async () => {
      const session = await Polling.open(server.port, { path });
      await session.post("1");
      refused(await session.get(), 1);
      upgradeRefused(await upgrade(`EIO=4&transport=websocket&sid=${session.sid}`), 1);
    });
  });
}

test("a WebSocket handshake elsewhere gets no WebSocket", async () => {
  const answer = await requestUpgrade(server.port, "/nothing").catch((error) => error);
  if (answer instanceof Error) assert.match(answer.message, /socket hang up|ECONNRESET/);
  else assert.equal(answer.status, 404);
});

test("a body sent as application/octet-stream closes the session", async () => {
  const session = await Polling.open(server.port);
  bare(await session.post("4a", { headers: { "Content-Type": "application/octet-stream" } }), 400);
  refused(await session.get(), 1);
});

/** Sends bytes that no HTTP library would send, and collects the answer. */
function raw(text) {
  return new Promise((resolve, reject) => {
    const socket = connect(server.port, "127.0.0.1");
    let answer = "";
    socket.setEncoding("latin1");
    socket.setTimeout(5_000, () => socket.destroy(new Error("no answer within 5 s")));
    socket.on("data", (chunk) => {
      answer += chunk;
    });
    socket.once("error", reject);
    socket.once("close", () => resolve(answer));
    socket.write(text, "latin1");
  });
}
