// Clients that come back by themselves, behind an address that leads to any node, and an exact record of what each must have.
import { connect, createServer } from "node:net";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { io } from "socket.io-client";
import { until } from "../../../../testkit/js/wait.mjs";

/** One address for several nodes, each connection to the next one that takes it. */
export class RoundRobin {
  #server;
  #sockets = new Set();
  #turn = 0;

  static async start(nodes) {
    const balancer = new RoundRobin(nodes);
    balancer.#server.listen(0, "127.0.0.1");
    await once(balancer.#server, "listening");
    return balancer;
  }

  constructor(nodes) {
    this.nodes = nodes;
    this.#server = createServer((client) => this.#serve(client, this.nodes.length));
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  #serve(client, tries) {
    this.#turn += 1;
    const node = this.nodes[this.#turn % this.nodes.length];
    const server = connect(node.port, "127.0.0.1");
    const refused = () => (tries > 1 ? this.#serve(client, tries - 1) : client.destroy());
    server.once("error", refused);
    server.once("connect", () => {
      server.off("error", refused);
      for (const one of [client, server]) {
        this.#sockets.add(one);
        one.setNoDelay(true);
        one.on("error", () => {});
        one.on("close", () => this.#sockets.delete(one));
      }
      client.pipe(server);
      server.pipe(client);
      client.on("close", () => server.destroy());
      server.on("close", () => client.destroy());
    });
    client.on("error", () => {});
  }

  /** The connections go on, and nothing passes any more: nobody is told. */
  silence() {
    for (const one of this.#sockets) {
      one.unpipe();
      one.pause();
    }
  }

  stop() {
    this.#server.close();
    this.#sockets.forEach((socket) => socket.destroy());
  }
}

const OPTIONS = { transports: ["websocket"], forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 300, timeout: 5_000 };

/** Members of rooms, and publishers whose events carry numbers. */
export class Crowd {
  members = [];
  publishers = [];
  /** By room and publisher: the numbers that were acknowledged. */
  promised = new Map();
  /** By room and publisher: the number that was sent last. */
  sent = new Map();
  notRecovered = 0;
  recovered = 0;
  #over = false;

  constructor(url) {
    this.url = url;
  }

  /** `count` members of each room. */
  async join(rooms, count, options = {}) {
    const arriving = rooms.flatMap((room) => Array.from({ length: count }, () => this.#member(room, options)));
    await Promise.all(arriving);
  }

  async #member(room, options) {
    const socket = io(this.url, { ...OPTIONS, ...options });
    const member = { room, socket, lives: [] };
    this.members.push(member);
    let first = true;
    const begin = async () => {
      const life = { id: socket.id, got: new Map(), since: undefined };
      member.lives.push(life);
      while (!this.#over && life.since === undefined && socket.id === life.id) {
        const answer = await socket.timeout(20_000).emitWithAck("join", room).catch(() => undefined);
        if (answer?.ok) life.since = new Map(this.sent);
      }
    };
    socket.on("n", (publisher, number, offset, ...rest) => {
      const life = member.lives.at(-1);
      const key = `${room} ${publisher}`;
      if (!life.got.has(key)) life.got.set(key, []);
      life.got.get(key).push(number);
      if (typeof offset !== "string" || rest.length > 0) throw new Error(`an event without an offset: ${[offset, ...rest]}`);
    });
    const arrived = new Promise((resolve) => {
      socket.on("connect", async () => {
        if (first) {
          first = false;
          await begin();
          return resolve();
        }
        if (socket.recovered) {
          this.recovered += 1;
        } else {
          this.notRecovered += 1;
          await begin();
        }
      });
    });
    await arrived;
  }

  /** Publishes to each room every `milliseconds`, until `stop`. */
  async publish(rooms, milliseconds) {
    for (const room of rooms) {
      const socket = io(this.url, OPTIONS);
      await once(socket, "connect");
      const publisher = this.publishers.length;
      const key = `${room} ${publisher}`;
      this.promised.set(key, []);
      const loop = (async () => {
        for (let number = 0; !this.#over; number += 1) {
          this.sent.set(key, number);
          const answer = await socket.timeout(3_000).emitWithAck("publish", room, "n", publisher, number).catch(() => undefined);
          if (answer?.ok) this.promised.get(key).push(number);
          await delay(milliseconds);
        }
      })();
      this.publishers.push({ socket, loop });
    }
  }

  /** Waits until everybody is connected. */
  everybody() {
    return until("everybody is back", () => this.members.every(({ socket }) => socket.connected), 30_000);
  }

  /** Cuts each member's connection once. */
  cut() {
    for (const { socket } of this.members) socket.io.engine?.close();
  }

  get published() {
    return [...this.promised.values()].reduce((sum, numbers) => sum + numbers.length, 0);
  }

  /** Ends publishing, waits until everybody has everything, and says what is wrong. */
  async stop() {
    this.#over = true;
    await Promise.all(this.publishers.map(({ loop }) => loop));
    await this.everybody();
    const faults = () => this.members.flatMap((member) => this.#faults(member));
    const end = performance.now() + 10_000;
    while (faults().some((it) => it.startsWith("lost")) && performance.now() < end) await delay(50);
    const found = faults();
    this.close();
    return found;
  }

  close() {
    for (const { socket } of [...this.members, ...this.publishers]) socket.disconnect();
  }

  #faults({ room, lives, socket }) {
    const found = [];
    for (const [place, life] of lives.entries()) {
      for (const [key, numbers] of life.got) {
        const sorted = numbers.toSorted((a, b) => a - b);
        if (new Set(numbers).size < numbers.length) found.push(`twice: ${key} at ${life.id}: ${numbers.filter((it, i) => numbers.indexOf(it) !== i)}`);
        else if (numbers.some((it, i) => it !== sorted[i])) found.push(`out of order: ${key} at ${life.id}`);
      }
      // A life that ended was told so.
      if (place < lives.length - 1 || life.since === undefined) continue;
      for (const [key, promised] of this.promised) {
        if (!key.startsWith(`${room} `)) continue;
        // What was on its way when the member joined may have been put in order before that.
        const begin = life.since.get(key) ?? -1;
        const got = new Set(life.got.get(key));
        const lost = promised.filter((number) => number > begin && !got.has(number));
        if (lost.length > 0) found.push(`lost: ${key} at ${life.id} (${socket.id}): ${lost.slice(0, 5)} and ${Math.max(0, lost.length - 5)} more`);
      }
    }
    return found;
  }
}
