// Real Socket.IO clients of three generations.
import { once } from "node:events";
import { io as latest } from "socket.io-client";
import three from "socket.io-client-3";
import { io as fourFour } from "socket.io-client-4-4";
import { Inbox, within } from "../../../../testkit/js/wait.mjs";

/** The parser for clients and servers that speak msgpack. */
export { default as msgpack } from "socket.io-msgpack-parser";

/** The clients by version. All of them speak Engine.IO 4 and Socket.IO protocol 5. */
export const CLIENTS = { "4.8.4": latest, "4.4.1": fourFour, "3.1.3": three.io };

/** How a client reaches the server. */
export const TRANSPORTS = {
  "polling only": { transports: ["polling"] },
  "websocket only": { transports: ["websocket"] },
  upgrade: {},
};

export const OK = { ok: true };

/** Sockets of one test or suite, closed together. */
export class Clients {
  #sockets = [];

  constructor(url) {
    this.url = url;
  }

  /** A socket that may not be connected yet; it does not reconnect unless asked to. */
  socket({ io = latest, namespace = "/", ...options } = {}) {
    const socket = io(`${this.url}${namespace}`, { forceNew: true, reconnection: false, ...options });
    this.#sockets.push(socket);
    return socket;
  }

  /** A connected socket. */
  async connect(options) {
    const socket = this.socket(options);
    await connected(socket);
    return socket;
  }

  close() {
    for (const socket of this.#sockets.splice(0)) socket.disconnect();
  }
}

export function connected(socket) {
  if (socket.connected) return Promise.resolve();
  const outcome = new Promise((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("connect_error", reject);
  });
  return within(10_000, outcome, "connect");
}

/** The error with which the server refuses the socket. */
export async function refusal(socket) {
  const [error] = await within(5_000, once(socket, "connect_error"), "connect_error");
  return error;
}

/** Emits an event and resolves with all arguments of its acknowledgement. */
export function call(socket, event, ...args) {
  const answer = new Promise((resolve) => socket.emit(event, ...args, (...values) => resolve(values)));
  return within(10_000, answer, `ack of ${String(event).slice(0, 40)}`);
}

/** The arguments of the next `event`. */
export function next(socket, event, milliseconds = 5_000) {
  return within(milliseconds, new Promise((resolve) => socket.once(event, (...args) => resolve(args))), event);
}

/** Everything that `socket` hears from now on, as `[event, ...args]`. */
export function heard(socket) {
  const inbox = new Inbox();
  // Clients before 4.0 have it as well.
  socket.onAny((event, ...args) => inbox.push([event, ...args]));
  return inbox;
}

/** The reason with which the socket is disconnected. */
export function disconnected(socket, milliseconds = 10_000) {
  return next(socket, "disconnect", milliseconds).then(([reason]) => reason);
}
