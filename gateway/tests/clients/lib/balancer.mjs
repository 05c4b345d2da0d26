// A balancer that asks its nodes whether they are ready and keeps a session on its node, as a real one would.
//
// It tells clients apart by the query parameter `client`, and takes each connection for one request: the JavaScript client makes a new
// one each time.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { request } from "./http.mjs";

const ASK_EVERY_MS = 250;

export class Balancer {
  /** In front of gateways that are running. */
  static async start(nodes) {
    const balancer = new Balancer(nodes);
    balancer.#server.listen(0, "127.0.0.1");
    await once(balancer.#server, "listening");
    return balancer;
  }

  #server;
  #nodes;
  #turn = 0;
  #asking;
  #sockets = new Set();
  /** The node of each client's session. */
  #homes = new Map();

  constructor(nodes) {
    this.#nodes = nodes.map((node) => ({ node, ready: true }));
    this.#server = createServer((client) => this.#serve(client));
    this.#asking = setInterval(() => this.#nodes.forEach((entry) => this.#ask(entry)), ASK_EVERY_MS);
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  async stop() {
    clearInterval(this.#asking);
    this.#sockets.forEach((socket) => socket.destroy());
    this.#server.close();
    await once(this.#server, "close");
  }

  async #ask(entry) {
    const answer = await request(entry.node.internalPort, "/ready", { timeout: 2_000 }).catch(() => undefined);
    entry.ready = answer?.status === 200;
  }

  #serve(client) {
    this.#keep(client);
    client.once("data", (head) => {
      const entry = this.#choose(head.toString("latin1"));
      const node = connect(entry.node.port, "127.0.0.1");
      this.#keep(node);
      node.write(head);
      client.pipe(node);
      node.pipe(client);
      client.once("close", () => node.destroy());
      node.once("close", () => client.destroy());
    });
  }

  #choose(head) {
    const client = /[?&]client=(\d+)/.exec(head)?.[1];
    const isHandshake = !head.slice(0, head.indexOf("\r\n")).includes("&sid=");
    if (isHandshake) {
      const ready = this.#nodes.filter(({ ready }) => ready);
      this.#turn += 1;
      this.#homes.set(client, ready[this.#turn % ready.length]);
    }
    return this.#homes.get(client);
  }

  #keep(socket) {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("error", () => {});
    socket.once("close", () => this.#sockets.delete(socket));
  }
}
