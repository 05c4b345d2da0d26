// Clients of languages that these tests cannot run, as their sources have them: what they ask for, send, and take for the end of a session.
import { setTimeout as delay } from "node:timers/promises";
import { WebSocket } from "ws";
import { request } from "./http.mjs";
import { Inbox, until, within } from "../../../../testkit/js/wait.mjs";

const OPEN_WITHIN_MS = 20_000;
const AGAIN_AFTER_MS = 200;
/** Java and Dart read the length of a packet as UTF-16 counts it, Swift as characters: with ASCII all of them agree. */
const ASCII = /^[\x00-\x7f]*$/;

/** What each asks for on polling and on WebSocket, which revision it speaks, and what it does in its own way. */
export const SCRIPTED = {
  "Java 1.x": { revision: 3, polling: "EIO=3", websocket: "EIO=3" },
  "Java 2.x": { revision: 4, polling: "EIO=4", websocket: "EIO=4" },
  // It names no revision, pings when it opens, and tells the old session that it closes before it opens another.
  "Swift 12 to 15": { revision: 3, polling: "b64=1", websocket: "", pingsAtOnce: true, closesFirst: true },
  "Swift 16 with .version(.two)": { revision: 3, polling: "EIO=3&b64=1", websocket: "EIO=3", pingsAtOnce: true, closesFirst: true },
  "Swift 16": { revision: 4, polling: "EIO=4", websocket: "EIO=4", closesFirst: true },
  "Dart 1.x": { revision: 3, polling: "EIO=3", websocket: "EIO=3" },
  "Dart 2 and 3": { revision: 4, polling: "EIO=4", websocket: "EIO=4" },
};

/** A client that joins a room whenever it is connected, and comes back until it is stopped. */
export class ScriptedClient {
  /** How often it has joined. */
  joins = 0;
  /** What it took for the ends of its sessions. */
  ends = [];
  heard = new Inbox();
  /** It stands still: it reads nothing and sends nothing. */
  frozen = false;
  #stopped = false;

  constructor(port, transport, client) {
    Object.assign(this, { port, transport, client });
    this.running = this.#run();
  }

  async #run() {
    while (!this.#stopped) {
      try {
        await (this.transport === "polling" ? this.#polls() : this.#websocket());
      } catch (error) {
        this.ends.push(error.message);
      }
      await delay(AGAIN_AFTER_MS);
    }
  }

  async #polls() {
    const { polling, revision, pingsAtOnce, closesFirst } = this.client;
    const path = `/socket.io/?transport=polling&${polling}`;
    const [open] = this.#packets(await this.#ask(path));
    const { sid } = JSON.parse(open.slice(1));
    const session = `${path}&sid=${sid}`;
    // Posts go one after the other.
    let posted = Promise.resolve();
    const post = (packet) => {
      const body = revision === 3 ? `${packet.length}:${packet}` : packet;
      posted = posted.then(() => this.#ask(session, { method: "POST", headers: { "Content-Type": "text/plain;charset=UTF-8" }, body }));
      posted.catch(() => {});
    };
    try {
      if (revision === 4) post("40");
      if (pingsAtOnce) post("2");
      while (!this.#stopped) {
        for (const packet of this.#packets(await this.#ask(session))) {
          if (packet === "1") throw new Error("close packet");
          this.#handle(packet, post);
        }
        await this.#thawed();
      }
    } catch (error) {
      if (closesFirst) await request(this.port, session, { method: "POST", headers: { "Content-Type": "text/plain;charset=UTF-8" }, body: revision === 3 ? "1:1" : "1" }).catch(() => {});
      throw error;
    }
    post("1");
    await posted;
  }

  async #websocket() {
    const { websocket, revision, pingsAtOnce } = this.client;
    const socket = new WebSocket(`ws://127.0.0.1:${this.port}/socket.io/?transport=websocket&${websocket}`);
    this.socket = socket;
    const inbox = new Inbox();
    socket.on("message", (data) => inbox.push(data.toString()));
    socket.on("error", () => {});
    socket.once("close", () => inbox.push(undefined));
    const send = (packet) => socket.send(packet);
    for (let first = true; ; first = false) {
      const packet = await inbox.next(first ? OPEN_WITHIN_MS : 600_000);
      await this.#thawed();
      if (packet === undefined) throw new Error("WebSocket closed");
      if (first && revision === 4) send("40");
      if (first && pingsAtOnce) send("2");
      this.#handle(packet, send);
    }
  }

  async #thawed() {
    await until("it goes on", () => !this.frozen, 600_000);
  }

  /** The answer to a request, which must be one that the client reads. */
  async #ask(path, options) {
    const response = await within(60_000, request(this.port, path, { timeout: 60_000, ...options }), path);
    if (response.status !== 200) throw new Error(`status ${response.status}`);
    // Java does not look whether there is one.
    if (!response.headers["content-type"]) this.heard.push(["no Content-Type"]);
    return response;
  }

  #packets({ text }) {
    if (this.client.revision === 4) return text.split("\x1e");
    if (!ASCII.test(text)) this.heard.push([`not ASCII: ${text}`]);
    const packets = [];
    for (let rest = text; rest; ) {
      const colon = rest.indexOf(":");
      const length = Number(rest.slice(0, colon));
      packets.push(rest.slice(colon + 1, colon + 1 + length));
      rest = rest.slice(colon + 1 + length);
    }
    return packets;
  }

  #handle(packet, send) {
    if (packet === "2" && this.client.revision === 4) send("3");
    if (packet.startsWith("40")) send('420["join","room"]');
    if (packet === '430[{"ok":true}]') this.joins += 1;
    if (packet.startsWith("42")) this.heard.push(JSON.parse(packet.slice(packet.indexOf("["))));
  }

  async stop() {
    this.#stopped = true;
    this.frozen = false;
    this.socket?.terminate();
    await Promise.race([this.running, delay(2_000)]);
  }
}
