// Scripted Engine.IO clients that do exactly what a test says, one per transport.
import { setTimeout as delay } from "node:timers/promises";
import { WebSocket } from "ws";
import { request } from "./http.mjs";
import { Inbox, within } from "../../../../testkit/js/wait.mjs";

export const ENGINE = "/engine.io/";
export const SOCKET_IO = "/socket.io/";

const PARK_MS = 80;
const SEPARATOR = "\x1e";

/** A session over HTTP long-polling. Every request travels on a new connection. */
export class Polling {
  static async open(port, { path = ENGINE, query = "", headers = {} } = {}) {
    const requestedAt = performance.now();
    const response = await request(port, `${path}?EIO=4&transport=polling${query}`, { headers });
    if (response.status !== 200) throw new Error(`handshake refused with ${response.status}: ${response.text}`);
    return new Polling(port, path, response, requestedAt);
  }

  #unread = [];

  constructor(port, path, response, requestedAt) {
    this.port = port;
    this.path = path;
    /** What the open packet said. */
    this.opened = JSON.parse(response.text.split(SEPARATOR)[0].slice(1));
    this.sid = this.opened.sid;
    /** When the handshake request was started and when its response had arrived. */
    this.requestedAt = requestedAt;
    this.openedAt = response.arrivedAt;
  }

  get url() {
    return `${this.path}?EIO=4&transport=polling&sid=${this.sid}`;
  }

  get(options) {
    return request(this.port, this.url, options);
  }

  post(body, options) {
    return request(this.port, this.url, { method: "POST", headers: { "Content-Type": "text/plain;charset=UTF-8" }, body, ...options });
  }

  /** A GET that the server holds: it has left, and had the time to arrive (nothing on the wire shows that it did). */
  async park(options) {
    const response = this.get(options);
    response.catch(() => {});
    await response.sent;
    await delay(PARK_MS);
    return { response, abort: response.abort };
  }

  /** Polls until `count` packets other than pings have arrived; answers the pings. */
  async packets(count, options) {
    while (this.#unread.length < count) {
      const response = await this.get(options);
      if (response.status !== 200) throw new Error(`poll refused with ${response.status}: ${response.text}`);
      for (const packet of response.text.split(SEPARATOR)) {
        if (packet === "2") await this.post("3", options);
        else if (packet !== "6") this.#unread.push(packet);
      }
    }
    return this.#unread.splice(0, count);
  }

  async packet() {
    return (await this.packets(1))[0];
  }

  /** Whether the server still knows the session on this transport. */
  async alive() {
    // An empty message to the echo; a CONNECT that is refused to Socket.IO. Neither closes the session.
    return (await this.post(this.path === ENGINE ? "4" : "40/unknown,")).status === 200;
  }

  /** A WebSocket that is to take over this session. */
  probe(options = {}) {
    return Ws.open(this.port, { path: this.path, query: `&sid=${this.sid}`, ...options });
  }

  /** Takes the session over to a WebSocket. */
  async upgrade(options) {
    const websocket = await this.probe(options);
    websocket.send("2probe");
    const answer = await websocket.next();
    if (answer !== "3probe") throw new Error(`the probe was answered with ${answer}`);
    websocket.send("5");
    return websocket;
  }
}

/**
 * A test that gets a session from `open` and is over before its first ping. A failure on a machine too slow for that says nothing,
 * and the test is tried again with a new session.
 */
export function swiftly(open, act) {
  return async () => {
    for (let attempt = 1; ; attempt += 1) {
      const session = await open();
      try {
        return await act(session);
      } catch (error) {
        const beforePing = performance.now() - session.requestedAt < 0.9 * session.opened.pingInterval;
        if (beforePing || attempt === 5) throw error;
      }
    }
  };
}

/** A WebSocket connection: a session of its own, or one that probes another session. */
export class Ws {
  /** Resolves after the HTTP handshake; with `pong: false` pings arrive as messages and nobody answers them. */
  static async open(port, { path = ENGINE, query = "", headers = {}, protocols = [], pong = true } = {}) {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${path}?EIO=4&transport=websocket${query}`, protocols, {
      headers,
      perMessageDeflate: false,
    });
    const peer = new Ws(socket, pong);
    await within(
      5_000,
      new Promise((resolve, reject) => {
        socket.once("open", resolve);
        socket.once("error", reject);
      }),
      "WebSocket handshake",
    );
    return peer;
  }

  /** A session of its own, its open packet read. */
  static async session(port, options) {
    const peer = await Ws.open(port, options);
    peer.opened = JSON.parse((await peer.next()).slice(1));
    peer.openedAt = performance.now();
    return peer;
  }

  #inbox = new Inbox();

  constructor(socket, pong) {
    this.socket = socket;
    /** Resolves with the close code and reason. */
    this.closed = new Promise((resolve) => socket.once("close", (code, reason) => resolve({ code, reason: reason.toString(), at: performance.now() })));
    socket.on("error", () => {});
    socket.on("message", (data, binary) => {
      if (pong && !binary && data.toString() === "2") socket.send("3");
      else this.#inbox.push(binary ? data : data.toString());
    });
  }

  /** How many messages wait unread. */
  get unread() {
    return this.#inbox.size;
  }

  send(message) {
    this.socket.send(message);
  }

  next(milliseconds) {
    return this.#inbox.next(milliseconds);
  }

  take(count, milliseconds) {
    return this.#inbox.take(count, milliseconds);
  }

  /** How the server closed the connection. */
  closing(milliseconds = 3_000) {
    return within(milliseconds, this.closed, "WebSocket close");
  }

  close() {
    this.socket.terminate();
  }
}
