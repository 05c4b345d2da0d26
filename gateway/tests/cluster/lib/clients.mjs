// Clients that keep what they hear and answer what wants an answer.
import { io } from "socket.io-client";
import { connected } from "../../clients/lib/clients.mjs";
import { Inbox } from "../../../../testkit/js/wait.mjs";

const HEARS_WITHIN_MS = 20_000;
/** Longer than the relay holds a join back. */
const ANSWERS_WITHIN_MS = 30_000;

/** A connected client of a server. */
export class Client {
  /** `transport` is "polling" or "websocket". */
  static async open(server, transport, { namespace = "/", ...options } = {}) {
    const socket = io(server.url + namespace, { transports: [transport], forceNew: true, reconnection: false, ...options });
    const client = new Client(`${server.id}/${transport}`, server, socket);
    await connected(socket);
    return client;
  }

  constructor(name, server, socket) {
    this.name = name;
    this.server = server;
    this.socket = socket;
    /** All that came and was not taken, as `[event, ...args]`. */
    this.inbox = new Inbox();
    socket.onAny((event, ...args) => {
      const answer = args.at(-1);
      this.inbox.push([event, ...args.filter((value) => typeof value !== "function")]);
      if (typeof answer === "function" && event !== "silent") answer(event === "binary?" ? Buffer.from(this.name) : this.name);
    });
  }

  get id() {
    return this.socket.id;
  }

  next() {
    return this.inbox.next(HEARS_WITHIN_MS, `an event at ${this.name}`);
  }

  /** Joins rooms, on whichever kind of server it is; resolves when it misses nothing any more. */
  async join(...rooms) {
    const answer = await this.call(this.server.relay ? "join" : "enter", rooms);
    if (answer !== true && answer?.ok !== true) throw new Error(`${this.name} cannot join: ${JSON.stringify(answer)}`);
  }

  /** Emits, and returns the first value of the acknowledgement. */
  call(event, ...args) {
    return this.socket.timeout(ANSWERS_WITHIN_MS).emitWithAck(event, ...args);
  }

  close() {
    this.socket.disconnect();
  }
}
