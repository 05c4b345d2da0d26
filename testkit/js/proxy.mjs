// A TCP proxy: one address whose server can change, and a link that can be slow.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

/** What may pass at once, as a time. */
const PIECE_MS = 10;
/** How much of what timers were late is made up for. */
const CATCH_UP_MS = 200;

export class Proxy {
  #server;
  #sockets = new Set();

  /** Bytes that came from the server so far. */
  received = 0;

  /**
   * `bytesPerSecond` is the pace in each direction, of all connections together. `answersLate` is a command and a time: once a connection
   * has sent the command, answers on it arrive so many milliseconds later, in their order; connections that never send it are not slowed down.
   */
  static async start(port, { bytesPerSecond = Infinity, answersLate } = {}) {
    const proxy = new Proxy(port, bytesPerSecond, answersLate);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  constructor(port, bytesPerSecond, answersLate) {
    /** Where new connections go; those that are there stay where they are. */
    this.target = port;
    const [up, down] = [new Pace(bytesPerSecond), new Pace(bytesPerSecond)];
    this.#server = createServer((client) => {
      const server = connect(this.target, "127.0.0.1");
      for (const one of [client, server]) {
        this.#sockets.add(one);
        one.setNoDelay(true);
        one.on("error", () => {});
        one.on("close", () => this.#sockets.delete(one));
      }
      let late = 0;
      const sent = pass(client, server, up, (piece) => {
        if (answersLate && piece.includes(answersLate.command)) late = answersLate.milliseconds;
        return written(server, piece);
      });
      const answered = pass(server, client, down, (piece) => {
        this.received += piece.length;
        if (late === 0) return written(client, piece);
        setTimeout(() => client.writable && client.write(piece), late);
      }).then(() => late && delay(late));
      // What one side has sent before its end arrives at the other, however slowly.
      sent.then(() => server.end());
      answered.then(() => client.end());
      client.on("close", () => sent.then(() => server.destroySoon()));
      server.on("close", () => answered.then(() => client.destroySoon()));
    });
  }

  get port() {
    return this.#server.address().port;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** The same for those who speak with Redis. */
  get redisUrl() {
    return `redis://127.0.0.1:${this.port}`;
  }

  stop() {
    this.#server.close();
    this.#sockets.forEach((socket) => socket.destroy());
  }
}

/** Passes on what `from` sends, at the pace of its way; what does not fit stays with the sender and in the kernel, as on a slow link. */
async function pass(from, to, pace, write) {
  try {
    for await (const chunk of from) {
      for (const piece of pace.pieces(chunk)) {
        await pace.take(piece.length);
        if (to.destroyed) return;
        await write(piece);
      }
    }
  } catch {
    // The connection broke: there is nothing more to pass on.
  }
}

/** Writes, and waits until more can be written. */
async function written(to, piece) {
  if (!to.write(piece)) await new Promise((done) => to.once("drain", done).once("close", done));
}

class Pace {
  #bytesPerSecond;
  #free = -Infinity;

  constructor(bytesPerSecond) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  *pieces(chunk) {
    if (this.#bytesPerSecond === Infinity) return yield chunk;
    const most = Math.max(1, Math.floor((this.#bytesPerSecond * PIECE_MS) / 1000));
    for (let at = 0; at < chunk.length; at += most) yield chunk.subarray(at, at + most);
  }

  async take(bytes) {
    if (this.#bytesPerSecond === Infinity) return;
    const now = performance.now();
    this.#free = Math.max(this.#free, now - CATCH_UP_MS) + (bytes / this.#bytesPerSecond) * 1000;
    if (this.#free > now) await delay(this.#free - now);
  }
}
