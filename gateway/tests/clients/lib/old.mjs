// Clients of Socket.IO 1 and 2, which speak Engine.IO 3.
import twoFive from "socket.io-client-2-5";
import twoThree from "socket.io-client-2-3";
import twoOne from "socket.io-client-2-1";
import twoZero from "socket.io-client-2-0";
import oneSeven from "socket.io-client-1-7";
import { Inbox, until, within } from "../../../../testkit/js/wait.mjs";

/** The clients by version. */
export const OLD_CLIENTS = { "2.5.0": twoFive, "2.3.1": twoThree, "2.1.1": twoOne, "2.0.4": twoZero, "1.7.4": oneSeven };

/** Sockets of one test, closed together. */
export class OldClients {
  #sockets = [];

  constructor(url) {
    this.url = url;
  }

  /** A socket that may not be connected yet; it does not reconnect unless asked to. */
  socket({ io = twoFive, namespace = "/", ...options } = {}) {
    const socket = io(`${this.url}${namespace}`, { forceNew: true, reconnection: false, ...options });
    this.#sockets.push(socket);
    return socket;
  }

  /** A connected socket; one that may upgrade has done so. */
  async connect({ upgraded = true, ...options } = {}) {
    const socket = this.socket(options);
    await joined(socket);
    if (upgraded && !options.transports) await until("it upgrades", () => transport(socket) === "websocket");
    return socket;
  }

  close() {
    for (const socket of this.#sockets.splice(0)) {
      socket.disconnect();
      socket.io.engine?.close();
    }
  }
}

/** Resolves when the socket is connected. */
export function joined(socket) {
  if (socket.connected) return Promise.resolve();
  const outcome = new Promise((resolve, reject) => {
    socket.once("connect", resolve);
    for (const event of ["connect_error", "error"]) socket.once(event, (error) => reject(error instanceof Error ? error : new Error(JSON.stringify(error))));
  });
  return within(20_000, outcome, "connect");
}

/** What the server answers in place of a connection. */
export function refused(socket) {
  return within(10_000, new Promise((resolve) => socket.once("error", resolve)), "error");
}

export function transport(socket) {
  return socket.io.engine.transport.name;
}

/** Everything that `socket` hears from now on, as `[event, ...args]`. It answers what wants an answer with its own `answer`. */
export function heardByOld(socket, answer) {
  const inbox = new Inbox();
  const onevent = socket.onevent;
  socket.onevent = function (packet) {
    const [event, ...args] = packet.data;
    inbox.push([event, ...args]);
    if (packet.id !== undefined && packet.id !== null) this.ack(packet.id)(...answer(...args));
    onevent.call(this, packet);
  };
  return inbox;
}
