// A proxy in front of Redis: one address whose server can change, and a link that can be slow.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

export class Proxy {
  #server;
  #sockets = new Set();

  /** `bytesPerSecond` is the pace in each direction, of all connections together. */
  static async start(port, { bytesPerSecond = Infinity } = {}) {
    const proxy = new Proxy(port, bytesPerSecond);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  constructor(port, bytesPerSecond) {
    /** Where new connections go; those that are there stay where they are. */
    this.target = port;
    const [up, down] = [new Pace(bytesPerSecond), new Pace(bytesPerSecond)];
    this.#server = createServer((client) => {
      const redis = connect(this.target, "127.0.0.1");
      copy(client, redis, up);
      copy(redis, client, down);
      for (const [one, other] of [[client, redis], [redis, client]]) {
        this.#sockets.add(one);
        one.setNoDelay(true);
        one.on("error", () => {});
        one.on("close", () => {
          this.#sockets.delete(one);
          other.destroy();
        });
      }
    });
  }

  get url() {
    return `redis://127.0.0.1:${this.#server.address().port}`;
  }

  stop() {
    this.#server.close();
    this.#sockets.forEach((socket) => socket.destroy());
  }
}

/** Passes on what `from` sends, at the pace of its way; what does not fit stays in the kernel, as on a slow link. */
async function copy(from, to, pace) {
  try {
    for await (const chunk of from) {
      await pace.take(chunk.length);
      if (!to.write(chunk)) await once(to, "drain");
    }
    to.end();
  } catch {
    to.destroy();
  }
}

class Pace {
  #bytesPerSecond;
  #free = 0;

  constructor(bytesPerSecond) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  async take(bytes) {
    if (this.#bytesPerSecond === Infinity) return;
    const now = performance.now();
    this.#free = Math.max(this.#free, now) + (bytes / this.#bytesPerSecond) * 1000;
    await delay(this.#free - now);
  }
}
