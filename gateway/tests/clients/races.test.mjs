// Requests of one session that overtake each other. Every request has a connection of its own, so that they land on different shards.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ENGINE, Polling, SOCKET_IO } from "./lib/engine.mjs";
import { bare, refused } from "./lib/errors.mjs";
import { startConformance } from "./lib/target.mjs";

const RUNS = 200;

let server;
before(async () => {
  server = await startConformance();
});
after(() => server?.stop());

/** Runs `act` on `RUNS` sessions one after the other and says which run failed. */
async function inARow(path, act) {
  for (let run = 1; run <= RUNS; run += 1) {
    const session = await Polling.open(server.port, { path });
    await act(session, run).catch((error) => {
      throw new Error(`run ${run} of ${RUNS}: ${error.message}`, { cause: error });
    });
  }
}

for (const path of [ENGINE, SOCKET_IO]) {
  describe(`${RUNS} times in a row at ${path}`, () => {
    test("a GET and a close packet sent together: the GET gets a noop and the POST ok", () =>
      inARow(path, async (session) => {
        const [polled, posted] = await Promise.all([session.get(), session.post("1")]);
        assert.equal(polled.text, "6");
        assert.equal(polled.status, 200);
        assert.equal(posted.text, "ok");
        refused(await session.get(), 1);
      }));

    test("a GET right behind the upgrade packet is a bad request", () =>
      inARow(path, async (session) => {
        const websocket = await session.upgrade();
        refused(await session.get(), 3);
        websocket.close();
      }));

    test("a GET right behind a probe and an upgrade packet in one breath is a bad request", () =>
      inARow(path, async (session) => {
        const websocket = await session.probe();
        websocket.send("2probe");
        websocket.send("5");
        refused(await session.get(), 3);
        websocket.close();
      }));

    test("two GETs sent together: one gets the close packet, the other 400, and the session is gone", () =>
      inARow(path, async (session) => {
        const responses = await Promise.all([session.get(), session.get()]);
        responses.sort((a, b) => a.status - b.status);
        assert.equal(responses[0].status, 200);
        assert.equal(responses[0].text, "1");
        bare(responses[1], 400);
        refused(await session.get(), 1);
      }));
  });
}

test("a GET right behind an aborted GET is refused, 100 times in a row", async () => {
  for (let run = 1; run <= 100; run += 1) {
    const session = await Polling.open(server.port);
    const parked = await session.park();
    parked.abort();
    assert.equal((await session.get()).status, 400, `run ${run}`);
  }
});
