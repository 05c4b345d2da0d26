// A WebSocket client made of bytes, for frames that no library would send and for readers that stop reading.
import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { ENGINE } from "./engine.mjs";
import { Inbox, within } from "../../../../testkit/js/wait.mjs";

const HANDSHAKE_END = Buffer.from("\r\n\r\n");

/** A connection to `port` on which the client speaks WebSocket by hand. */
export class RawWebSocket {
  /** Resolves after the 101; `glued` bytes are sent together with the request. */
  static async open(port, url, { glued = Buffer.alloc(0) } = {}) {
    const socket = connect(port, "127.0.0.1");
    const raw = new RawWebSocket(socket);
    const request = [
      `GET ${url} HTTP/1.1`,
      `Host: 127.0.0.1:${port}`,
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}`,
    ].join("\r\n");
    socket.write(Buffer.concat([Buffer.from(request), HANDSHAKE_END, glued]));
    const status = await within(5_000, raw.#upgraded, "101");
    if (!status.startsWith("HTTP/1.1 101 ")) throw new Error(`WebSocket refused: ${status}`);
    return raw;
  }

  /** A new Engine.IO session, its open packet read. */
  static async session(port, path = ENGINE) {
    const raw = await RawWebSocket.open(port, `${path}?EIO=4&transport=websocket`);
    await raw.next();
    return raw;
  }

  static text(payload) {
    return RawWebSocket.frame({ opcode: 1, payload });
  }

  static frame({ opcode, payload, fin = true, masked = true, reserved = 0, encoding = "utf8" }) {
    const bytes = Buffer.isBuffer(payload) ? payload : Buffer.from(payload, encoding);
    const header = [(fin ? 0x80 : 0) | reserved | opcode];
    const maskBit = masked ? 0x80 : 0;
    if (bytes.length < 126) header.push(maskBit | bytes.length);
    else if (bytes.length < 65_536) header.push(maskBit | 126, bytes.length >> 8, bytes.length & 255);
    else header.push(maskBit | 127, 0, 0, 0, 0, ...uint32(bytes.length));
    if (!masked) return Buffer.concat([Buffer.from(header), bytes]);
    const mask = randomBytes(4);
    return Buffer.concat([Buffer.from(header), mask, bytes.map((byte, i) => byte ^ mask[i & 3])]);
  }

  #inbox = new Inbox();
  #pending = Buffer.alloc(0);
  #upgraded;
  #answered;
  #ended;

  constructor(socket) {
    this.socket = socket;
    this.#upgraded = new Promise((resolve, reject) => {
      this.#answered = (status) => {
        this.#answered = undefined;
        resolve(status);
      };
      socket.once("close", () => reject(new Error("connection closed before the handshake")));
    });
    this.#ended = new Promise((resolve) => socket.once("close", () => resolve(performance.now())));
    socket.on("error", () => {});
    socket.on("data", (chunk) => this.#read(chunk));
  }

  send(bytes) {
    this.socket.write(bytes);
  }

  /** The next frame from the server, control frames included. */
  next(milliseconds) {
    return this.#inbox.next(milliseconds, "a frame");
  }

  take(count, milliseconds) {
    return this.#inbox.take(count, milliseconds);
  }

  /** When the server ended the connection. */
  ended(milliseconds = 3_000) {
    return within(milliseconds, this.#ended, "end of the connection");
  }

  destroy() {
    this.socket.destroy();
  }

  #read(chunk) {
    this.#pending = Buffer.concat([this.#pending, chunk]);
    if (this.#answered) {
      const end = this.#pending.indexOf(HANDSHAKE_END);
      if (end < 0) return;
      this.#answered(this.#pending.toString("latin1", 0, end));
      this.#pending = this.#pending.subarray(end + HANDSHAKE_END.length);
    }
    for (let frame; (frame = parse(this.#pending)); ) {
      this.#pending = this.#pending.subarray(frame.size);
      this.#inbox.push(frame);
    }
  }
}

/**
 * Sends `chunks` over a plain connection, `pause` ms apart, and resolves when the server has closed it:
 * with all that it answered and how long that took. The client's own end stays open.
 */
export async function exchange(port, chunks, { pause = 0, timeout = 10_000 } = {}) {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  const began = performance.now();
  let answer = "";
  let over = false;
  socket.setEncoding("latin1");
  socket.on("data", (chunk) => {
    answer += chunk;
  });
  const closed = new Promise((resolve) => {
    for (const event of ["end", "close", "error"]) socket.once(event, resolve);
  }).then(() => {
    over = true;
  });
  const sending = (async () => {
    for (const chunk of chunks) {
      if (over) return;
      socket.write(chunk);
      if (pause > 0) await delay(pause);
    }
  })();
  try {
    await within(timeout, closed, "the server closes the connection");
    return { answer, lasted: performance.now() - began };
  } finally {
    over = true;
    await sending;
    socket.destroy();
  }
}

/** The first frame in `bytes`, if it is complete. A server does not mask. */
function parse(bytes) {
  if (bytes.length < 2) return undefined;
  const short = bytes[1] & 0x7f;
  const header = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (bytes.length < header) return undefined;
  const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  if (bytes.length < header + length) return undefined;
  return { opcode: bytes[0] & 15, fin: (bytes[0] & 0x80) !== 0, payload: bytes.subarray(header, header + length), size: header + length };
}

function uint32(number) {
  return [number >>> 24, (number >> 16) & 255, (number >> 8) & 255, number & 255];
}
