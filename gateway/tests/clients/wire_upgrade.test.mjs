// The upgrade from polling to WebSocket: the orderly way, and every way in which it goes wrong.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { ENGINE, Polling, SOCKET_IO, swiftly } from "./lib/engine.mjs";
import { refused, upgradeRefused } from "./lib/errors.mjs";
import { request, requestUpgrade } from "./lib/http.mjs";
import { startConformance, startRelay } from "./lib/target.mjs";

const UPGRADE_TIMEOUT_MS = 300;
/** How late an end may be on a machine that is busy with other things: far less than the other limits of a session. */
const SLACK_MS = 2_500;

let server;
let relay;
before(async () => {
  server = await startConformance();
  relay = await startRelay(["--engine-upgrade-timeout", `${UPGRADE_TIMEOUT_MS}ms`]);
});
after(async () => {
  await server?.stop();
  await relay?.stop();
});

const open = (options) => Polling.open(server.port, options);

/** A probing WebSocket whose probe has been answered. */
async function probed(session) {
  const websocket = await session.probe();
  websocket.send("2probe");
  assert.equal(await websocket.next(), "3probe");
  return websocket;
}

describe("an orderly upgrade", { concurrency: 4 }, () => {
  test("goes from probe over noop to the WebSocket, and nothing answers the upgrade packet", swiftly(open, async (session) => {
    const parked = await session.park();
    const websocket = await probed(session);
    assert.equal(await skipPing(session, parked.response), "6");
    websocket.send("5");
    websocket.send("4hello");
    assert.equal(await websocket.next(), "4hello");
    websocket.close();
  }));

  test("makes later polling requests bad requests, not unknown sessions", swiftly(open, async (session) => {
    const websocket = await session.upgrade();
    websocket.send("4switched");
    assert.equal(await websocket.next(), "4switched");
    refused(await session.get(), 3);
    refused(await session.post("4a"), 3);
    websocket.send("4still here");
    assert.equal(await websocket.next(), "4still here");
    websocket.close();
  }));

  test("answers the probe on the WebSocket while polling goes on", swiftly(open, async (session) => {
    const websocket = await probed(session);
    await session.post("4by polling");
    assert.equal(await session.packet(), "4by polling");
    assert.equal(websocket.unread, 0);
    websocket.close();
  }));

  test("flushes what was buffered to the WebSocket, in order and once", swiftly(open, async (session) => {
    await session.post("4before 1\x1e4before 2\x1ebAQI=");
    const websocket = await probed(session);
    await session.post("4during");
    websocket.send("5");
    websocket.send("4after");
    assert.deepEqual(await websocket.take(5), ["4before 1", "4before 2", Buffer.of(1, 2), "4during", "4after"]);
    websocket.close();
  }));

  test("lets a GET that is still parked go", swiftly(open, async (session) => {
    const websocket = await session.probe();
    websocket.send("2probe");
    const parked = await session.park();
    websocket.send("5");
    const response = await parked.response;
    assert.equal(response.status, 200);
    assert.ok(["1", "6"].includes(response.text), response.text);
    websocket.send("4hello");
    assert.deepEqual((await websocket.take(2)).at(-1), "4hello");
    websocket.close();
  }));

  test("works without a probe", swiftly(open, async (session) => {
    const websocket = await session.probe();
    websocket.send("5");
    websocket.send("4hello");
    assert.equal(await websocket.next(), "4hello");
    refused(await session.get(), 3);
    websocket.close();
  }));

  test("keeps the heartbeat: pings arrive on the WebSocket and the session outlives several of them", async () => {
    const session = await open();
    const websocket = await session.upgrade({ pong: false });
    for (let i = 0; i < 4; i += 1) {
      assert.equal(await websocket.next(1_000), "2");
      websocket.send("3");
    }
    websocket.send("4still here");
    assert.equal(await websocket.next(), "4still here");
    websocket.close();
  });

  test("keeps a ping that was due on polling: answered on the WebSocket the session lives", async () => {
    const session = await open();
    await delay(320);
    const websocket = await session.upgrade({ pong: false });
    assert.equal(await websocket.next(), "2");
    websocket.send("3");
    assert.equal(await websocket.next(1_000), "2");
    websocket.close();
  });

  test("of a WebSocket that then closes ends the session", swiftly(open, async (session) => {
    const websocket = await session.upgrade();
    websocket.send("4switched");
    await websocket.next();
    websocket.close();
    await websocket.closing();
    let response = await session.get();
    for (let i = 0; i < 20 && response.text.includes('"code":3'); i += 1) {
      await delay(10);
      response = await session.get();
    }
    refused(response, 1);
  }));
});

describe("noops", { concurrency: 4 }, () => {
  test("do not pile up while no GET is parked", swiftly(open, async (session) => {
    const websocket = await probed(session);
    await delay(140);
    assert.equal(await skipPing(session, session.get()), "6");
    websocket.close();
  }));

  test("answer each new GET, but paced and not in a loop", async () => {
    const session = await open();
    const websocket = await probed(session);
    const answers = [];
    const started = performance.now();
    while (performance.now() - started < 280) answers.push((await session.get()).text);
    assert.ok(answers.length >= 2 && answers.length <= 6, `${answers.length} answers in 280 ms`);
    assert.ok(answers.every((text) => text === "6" || text === "2"), `${answers}`);
    websocket.close();
  });

  test("do not come before a probe", async () => {
    const session = await Polling.open(relay.port, { path: SOCKET_IO });
    const websocket = await session.probe();
    const parked = await session.park();
    assert.equal(await Promise.race([parked.response, delay(200)]), undefined);
    await session.post("40");
    assert.match((await parked.response).text, /^40\{"sid":/);
    websocket.close();
  });
});

describe("a failed upgrade", { concurrency: 4 }, () => {
  for (const packet of ["4hello", "2", "2other", "3probe", "6", "1", "abc", ""]) {
    test(`with the first packet ${JSON.stringify(packet)} closes the WebSocket and leaves polling alive`, swiftly(open, async (session) => {
      const websocket = await session.probe();
      websocket.send(packet);
      await websocket.closing();
      await session.post("4by polling");
      assert.equal(await session.packet(), "4by polling");
    }));
  }

  for (const [name, end] of [
    ["a lost connection", (websocket) => websocket.socket.terminate()],
    ["an orderly close", (websocket) => websocket.socket.close(1000)],
  ]) {
    test(`by ${name} of the probing WebSocket leaves polling alive, and another may succeed`, swiftly(open, async (session) => {
      const websocket = await probed(session);
      end(websocket);
      await websocket.closing();
      await session.post("4by polling");
      assert.equal(await session.packet(), "4by polling");
      const second = await upgradeWhenPossible(session);
      second.send("4by websocket");
      assert.equal(await second.next(), "4by websocket");
      second.close();
    }));
  }

  test("of a second probing WebSocket does not disturb the first", swiftly(open, async (session) => {
    const first = await probed(session);
    const second = await session.probe();
    second.send("2probe");
    await second.closing();
    first.send("5");
    first.send("4hello");
    assert.equal(await first.next(), "4hello");
    first.close();
  }));

  test("of a WebSocket that comes after the upgrade does not disturb the session", swiftly(open, async (session) => {
    const first = await session.upgrade();
    first.send("4switched");
    await first.next();
    const second = await session.probe();
    second.send("5");
    await second.closing();
    first.send("4hello");
    assert.equal(await first.next(), "4hello");
    first.close();
  }));

  test("by a close packet on polling ends the session and the probing WebSocket", swiftly(open, async (session) => {
    const websocket = await probed(session);
    assert.equal((await session.post("1")).text, "ok");
    await websocket.closing();
    refused(await session.get(), 1);
  }));

  test("does not stop the heartbeat: pings come by polling, and their timeout ends both", async () => {
    const session = await open();
    const websocket = await probed(session);
    const texts = [];
    let response = await session.get();
    while (response.status === 200) {
      texts.push(response.text);
      response = await session.get();
    }
    const lasted = performance.now() - session.requestedAt;
    assert.ok(texts.join("\x1e").split("\x1e").includes("2"), `${texts}`);
    refused(response, 1);
    assert.ok(lasted >= 500 && lasted < 500 + SLACK_MS, `the session lasted ${lasted.toFixed(0)} ms`);
    await websocket.closing();
  });

  test("with pongs by polling keeps the session beyond the ping timeout", async () => {
    for (let attempt = 1; ; attempt += 1) {
      const session = await open();
      const websocket = await probed(session);
      let slowest = 0;
      while (performance.now() - session.openedAt < 900) {
        const asked = performance.now();
        for (const packet of (await session.get()).text.split("\x1e")) {
          if (packet === "2") await session.post("3");
        }
        slowest = Math.max(slowest, performance.now() - asked);
      }
      websocket.send("5");
      websocket.send("4late but well");
      // A pong has 200 ms, behind a ping each 300 ms. On a machine too slow for that the end of a session says nothing.
      const answered = websocket.next();
      if (slowest > 400 && attempt < 5) {
        answered.catch(() => {});
        websocket.close();
        continue;
      }
      assert.equal(await answered, "4late but well");
      websocket.close();
      return;
    }
  });
});

describe("an abandoned upgrade", { concurrency: 4 }, () => {
  for (const [name, probe] of [
    ["after its probe", true],
    ["without a probe", false],
  ]) {
    test(`${name} is reclaimed after the upgrade timeout, and another may succeed`, async () => {
      const session = await Polling.open(relay.port, { path: SOCKET_IO });
      await session.post("40");
      const started = performance.now();
      const websocket = await session.probe();
      if (probe) {
        websocket.send("2probe");
        assert.equal(await websocket.next(), "3probe");
      }
      const lasted = (await websocket.closing()).at - started;
      assert.ok(lasted >= UPGRADE_TIMEOUT_MS, `closed after ${lasted.toFixed(0)} ms`);
      assert.ok(lasted < UPGRADE_TIMEOUT_MS + SLACK_MS, `closed after ${lasted.toFixed(0)} ms`);
      assert.match(await session.packet(), /^40\{"sid":/);
      await session.post('421["echo","by polling"]');
      assert.equal(await session.packet(), '431["by polling"]');
      const second = await session.upgrade();
      second.send('422["echo","by websocket"]');
      assert.equal(await second.next(), '432["by websocket"]');
      second.close();
    });
  }
});

describe("a Socket.IO session", { concurrency: 4 }, () => {
  test("may post a binary header and send its attachments by the WebSocket", async () => {
    const session = await open({ path: SOCKET_IO });
    await session.post("40");
    assert.equal((await session.packets(2)).length, 2);
    const websocket = await probed(session);
    await session.post('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
    websocket.send("5");
    websocket.send(Buffer.of(1, 2, 3));
    websocket.send(Buffer.of(4));
    assert.deepEqual(await websocket.take(3), [
      '452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
      Buffer.of(1, 2, 3),
      Buffer.of(4),
    ]);
    websocket.close();
  });

  test("may join its namespace on either side of the upgrade", async () => {
    const session = await open({ path: SOCKET_IO });
    await session.post("40");
    const websocket = await session.upgrade();
    const [connected, auth] = await websocket.take(2);
    assert.match(connected, /^40\{"sid":/);
    assert.equal(auth, '42["auth",{}]');
    websocket.send("40/custom,");
    assert.match((await websocket.take(2))[0], /^40\/custom,\{"sid":/);
    websocket.close();
  });
});

describe("transports that are switched off", { concurrency: true }, () => {
  test("polling alone announces no upgrades and refuses WebSockets", async () => {
    const only = await startRelay(["--engine-transports", "polling"]);
    const session = await Polling.open(only.port, { path: SOCKET_IO });
    assert.deepEqual(session.opened.upgrades, []);
    assert.equal((await requestUpgrade(only.port, `${SOCKET_IO}?EIO=4&transport=websocket`)).status, 400);
    await only.stop();
  });

  test("WebSocket alone refuses polling", async () => {
    const only = await startRelay(["--engine-transports", "websocket"]);
    refused(await request(only.port, `${SOCKET_IO}?EIO=4&transport=polling`), 0);
    assert.equal((await requestUpgrade(only.port, `${SOCKET_IO}?EIO=4&transport=websocket`)).status, 101);
    await only.stop();
  });
});

test("an upgrade with another protocol version is a bad request and leaves the session open", swiftly(open, async (session) => {
  const response = await requestUpgrade(server.port, `${ENGINE}?EIO=3&transport=websocket&sid=${session.sid}`);
  upgradeRefused(response, 3);
  assert.ok(await session.alive());
}));

test("an upgraded session is not upgraded again by a plain handshake", swiftly(open, async (session) => {
  const websocket = await session.upgrade();
  websocket.send("4switched");
  await websocket.next();
  const thief = await session.probe().catch(() => undefined);
  if (thief) {
    thief.send("2probe");
    thief.send("5");
    await thief.closing();
  }
  websocket.send("4still mine");
  assert.equal(await websocket.next(), "4still mine");
  websocket.close();
}));

/** What a GET answers; on a slow machine a ping can come before what is waited for. */
async function skipPing(session, response) {
  const { text } = await response;
  return text === "2" ? (await session.get()).text : text;
}

/** The server may need a moment to see that the former probing connection is gone. */
async function upgradeWhenPossible(session) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      const websocket = await session.probe();
      websocket.send("2probe");
      assert.equal(await websocket.next(100), "3probe");
      websocket.send("5");
      return websocket;
    } catch (error) {
      if (attempt === 2) throw error;
    }
  }
}
