// Messages that are numbered, so that each is accounted for: sent, acknowledged, received, or counted as not published.
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { messages, metric } from "./gateways.mjs";
import { until } from "../../../../testkit/js/wait.mjs";

/** Slow links, and machines that are busy with other things. */
const ARRIVES_WITHIN_MS = 120_000;

/** A client that publishes to a room until it is stopped. */
export class Sender {
  sent = 0;
  acknowledged = 0;
  #stopped = false;
  #sending;
  #before;

  static async start(client, room, options) {
    const sender = new Sender(client, room);
    sender.#before = await counts(client.server);
    sender.#sending = sender.#send(options);
    return sender;
  }

  constructor(client, room) {
    Object.assign(this, { client, room, server: client.server });
  }

  async #send({ size = 0, everyMs = 5, most = Infinity } = {}) {
    const filler = "x".repeat(size);
    while (!this.#stopped && this.sent < most) {
      this.client.socket.emit("publish", this.room, "n", this.room, this.sent, filler, (answer) => {
        if (answer?.ok === true) this.acknowledged += 1;
      });
      this.sent += 1;
      if (everyMs > 0 || this.sent % 50 === 0) await delay(everyMs);
    }
  }

  /** Waits until it has sent all that it is to send. */
  async done() {
    await this.#sending;
  }

  /**
   * Stops it, waits until the receivers have what will come, and accounts for every message. Returns what became of them, by
   * receiver in the order in which they stand.
   */
  async account(test, what, ...receivers) {
    this.#stopped = true;
    await this.#sending;
    await until("all are acknowledged", () => this.acknowledged === this.sent, ARRIVES_WITHIN_MS);
    await until("nothing waits", async () => (await metric(this.server, "gateway_adapter_queued_messages")) < 3, ARRIVES_WITHIN_MS);
    this.client.socket.emit("publish", this.room, "n", this.room, "last");
    const now = await counts(this.server);
    const not = Object.fromEntries(NOT.map((result) => [result, now[result] - this.#before[result]]));
    const lost = [];
    for (const receiver of receivers) {
      const numbers = receiver.of(this.room);
      await until(`the last message arrives at ${receiver.client.name}`, () => numbers.includes("last"), ARRIVES_WITHIN_MS);
      const got = numbers.slice(0, numbers.indexOf("last"));
      test.diagnostic(`${what}: sent ${this.sent}, acknowledged ${this.acknowledged}, received at ${receiver.client.name} ${got.length}; ${JSON.stringify(not)}`);
      assert.ok(got.every((number, index) => index === 0 || number > got[index - 1]), `in order, none twice, at ${receiver.client.name}`);
      lost.push(this.sent - got.length);
    }
    return { ...not, lost };
  }
}

/** What a client receives, by the room of its sender. */
export class Receiver {
  #numbers = new Map();

  static async join(client, ...rooms) {
    const receiver = new Receiver(client);
    await client.join(...rooms);
    return receiver;
  }

  constructor(client) {
    this.client = client;
    client.socket.on("n", (room, number) => this.of(room).push(number));
  }

  /** The numbers that came from the sender of a room. */
  of(room) {
    if (!this.#numbers.has(room)) this.#numbers.set(room, []);
    return this.#numbers.get(room);
  }
}

const NOT = ["dropped", "refused", "unconfirmed"];

async function counts(server) {
  const entries = NOT.map(async (result) => [result, await messages(server, "out", result)]);
  return Object.fromEntries(await Promise.all(entries));
}
