// A way to a gateway that can be cut off.
import { once } from "node:events";
import { connect, createServer } from "node:net";

export class Door {
  static async start(server) {
    const door = new Door(server);
    door.#server.listen(0, "127.0.0.1");
    await once(door.#server, "listening");
    return door;
  }

  #server;
  #sockets = new Set();

  constructor({ port }) {
    this.#server = createServer((client) => {
      const node = connect(port, "127.0.0.1");
      for (const [socket, other] of [
        [client, node],
        [node, client],
      ]) {
        this.#sockets.add(socket);
        socket.on("error", () => {});
        socket.once("close", () => {
          this.#sockets.delete(socket);
          other.destroy();
        });
        socket.pipe(other);
      }
    });
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  /** Ends all connections; new ones are let in. */
  cut() {
    this.#sockets.forEach((socket) => socket.destroy());
  }

  async stop() {
    this.#server.close();
    this.cut();
    await once(this.#server, "close");
  }
}
