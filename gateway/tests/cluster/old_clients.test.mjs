// Clients of Socket.IO 1 and 2 at three nodes that are asked in turn, beside a Node server that lets them in as well.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { call, Clients, heard, OK } from "../clients/lib/clients.mjs";
import { heardByOld, OLD_CLIENTS, OldClients } from "../clients/lib/old.mjs";
import { Redis } from "../../../testkit/js/redis.mjs";
import { until } from "../../../testkit/js/wait.mjs";
import { startHaproxy } from "./lib/balancers.mjs";
import { joined, relay } from "./lib/gateways.mjs";
import { NodeServer } from "./lib/node_server.mjs";

const EVENTS = 1000;
const PATIENCE_MS = 60_000;
const KINDS = { "polling only": { transports: ["polling"] }, upgrade: {} };

for (const mode of ["classic", "sharded"]) {
  describe(`clients of Engine.IO 3 in a ${mode} cluster`, () => {
    let redis;
    let nodes = [];
    let node;
    let balancer;
    let old;
    let oldAtNode;
    let today;

    before(async () => {
      redis = await Redis.start();
      const settings = { "redis.url": redis.url, "cluster.secret": "a secret of these nodes", "engine.allow_eio3": "true", "log.level": "warn" };
      if (mode === "sharded") settings["redis.mode"] = "sharded";
      nodes = await Promise.all(["one", "two", "three"].map((id) => relay(id, settings)));
      node = await NodeServer.start(redis.url, { mode, server: { allowEIO3: true } });
      for (const one of nodes) await joined(one, nodes.length);
      await until("Node counts the others", async () => (await node.serverCount()) === nodes.length + 1);
      balancer = await startHaproxy(nodes);
      [old, oldAtNode, today] = [new OldClients(balancer.url), new OldClients(node.url), new Clients(balancer.url)];
    });
    afterEach(() => {
      for (const clients of [old, oldAtNode, today]) clients?.close();
    });
    after(async () => {
      await balancer?.stop();
      balancer?.remove();
      await node?.stop();
      for (const one of nodes) await one.stop();
      await redis?.stop();
    });

    for (const [version, io] of Object.entries(OLD_CLIENTS)) {
      for (const [kind, options] of Object.entries(KINDS)) {
        it(`socket.io-client ${version}, ${kind}, shares a room with clients of today and with one of a Node server`, async () => {
          const [ann, bob, eve, dan] = await Promise.all([
            old.connect({ io, ...options }),
            old.connect({ io, ...options }),
            today.connect(options),
            oldAtNode.connect({ io, transports: ["websocket"] }),
          ]);
          const inboxes = [ann, bob, dan].map((socket) => heardByOld(socket)).concat([heard(eve)]);
          for (const socket of [ann, bob, eve]) assert.deepEqual(await call(socket, "join", "room"), [OK]);
          assert.deepEqual(await call(dan, "enter", "room"), [true]);
          const args = ["漢字 😀", { deep: [Buffer.from([0, 4, 255])] }, null];
          assert.deepEqual(await call(eve, "publish", "room", "from the gateway", ...args), [OK]);
          for (const inbox of inboxes.slice(0, 3)) assert.deepEqual(await inbox.next(PATIENCE_MS), ["from the gateway", ...args]);
          node.io.to("room").emit("from Node", ...args);
          for (const inbox of inboxes) assert.deepEqual(await inbox.next(PATIENCE_MS), ["from Node", ...args]);
          assert.deepEqual(await call(ann, "publish", "room", "from the old", 1, Buffer.from("bytes")), [OK]);
          for (const inbox of inboxes.slice(1)) assert.deepEqual(await inbox.next(PATIENCE_MS), ["from the old", 1, Buffer.from("bytes")]);
          assert.deepEqual(inboxes.map((inbox) => inbox.size), [0, 0, 0, 0]);
        });

        it(`socket.io-client ${version}, ${kind}, sends and hears ${EVENTS} events in order from its first moment on`, async () => {
          const eve = await today.connect({ transports: ["websocket"] });
          const ann = await old.connect({ io, ...options, upgraded: false });
          const [atAnn, atEve] = [heardByOld(ann), heard(eve)];
          await call(eve, "join", "sink");
          await call(ann, "join", "source");
          for (let number = 0; number < EVENTS; number += 1) {
            ann.emit("publish", "sink", "up", number);
            eve.emit("publish", "source", "down", number);
            if (number % 25 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
          }
          for (let number = 0; number < EVENTS; number += 1) {
            assert.deepEqual(await atEve.next(PATIENCE_MS), ["up", number]);
            assert.deepEqual(await atAnn.next(PATIENCE_MS), ["down", number]);
          }
        });
      }
    }

    it("the ids that others see of an old client are no sids", async () => {
      const ann = await old.connect({ transports: ["polling"] });
      await call(ann, "join", "ids");
      const sockets = await node.io.in("ids").fetchSockets();
      assert.equal(sockets.length, 1);
      assert.notEqual(sockets[0].id, ann.id);
      assert.ok(!JSON.stringify(sockets[0].rooms ? [...sockets[0].rooms] : []).includes(ann.io.engine.id));
      const inbox = heardByOld(ann);
      node.io.to(sockets[0].id).emit("to it alone");
      assert.deepEqual(await inbox.next(PATIENCE_MS), ["to it alone"]);
    });
  });
}
