// A client that publishes without pause.
import { setTimeout as delay } from "node:timers/promises";

const EVERY_MS = 5;
const AT_A_TIME = 3;

export class Load {
  #stopped = false;
  #sent = 0;
  #sending;

  /** Publishes the events `n, room, 0..` to `room`, some hundred per second. */
  constructor(client, room) {
    this.#sending = this.#send(client, room);
  }

  async #send(client, room) {
    while (!this.#stopped && client.socket.connected) {
      for (let number = 0; number < AT_A_TIME; number += 1) {
        client.socket.emit("publish", room, "n", room, this.#sent);
        this.#sent += 1;
      }
      await delay(EVERY_MS);
    }
  }

  /** Ends it, and says how many it has published. */
  async stop() {
    this.#stopped = true;
    await this.#sending;
    return this.#sent;
  }
}
