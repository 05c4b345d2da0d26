// What a backend makes of presence events, and many users on raw WebSockets.
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import WebSocket from "ws";
import { request } from "../../clients/lib/http.mjs";
import { until, within } from "../../../../testkit/js/wait.mjs";

/** How long a user may take to connect on a busy machine. */
const PATIENCE_MS = 60_000;
/** How many users connect at the same time. */
const AT_A_TIME = 100;

/** A backend that keeps who is there as docs/presence.md says: by events alone, and by the API after a `reset`. */
export class Receiver {
  /** Users that are online, by what it was told. */
  users = new Set();
  /** Rooms that have members, by what it was told. */
  rooms = new Set();
  /** All events, those that came twice left out. */
  events = [];
  /** Events that came twice. */
  doubles = 0;
  requests = 0;
  /** Requests that no gateway with the secret can have sent. */
  forged = 0;
  /** While set, it answers so. */
  status;
  /** How long it takes for each request. */
  slowness = 0;
  #heard = new Map();
  #server;

  /** `pages` asks the API who is there. */
  static async start(secret, pages) {
    const receiver = new Receiver(secret, pages);
    receiver.#server.listen(0, "127.0.0.1");
    await once(receiver.#server, "listening");
    return receiver;
  }

  constructor(secret, pages) {
    this.pages = pages;
    this.#server = createServer(async (incoming, response) => {
      const chunks = [];
      for await (const chunk of incoming) chunks.push(chunk);
      const body = Buffer.concat(chunks);
      const [, time, signature] = /^t=(\d+),v1=([0-9a-f]+)$/.exec(incoming.headers["gateway-signature"] ?? "") ?? [];
      const expected = createHmac("sha256", secret).update(`${time}.`).update(body).digest("hex");
      if (signature !== expected) this.forged += 1;
      if (this.slowness > 0) await delay(this.slowness);
      this.requests += 1;
      if (this.status === undefined) {
        const call = JSON.parse(body);
        if (call.type === "presence") for (const event of call.events) await this.hear(event);
      }
      response.writeHead(this.status ?? 200, { "content-type": "application/json" });
      response.end("{}");
    });
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}/`;
  }

  async hear(event) {
    const [epoch] = event.id.split("-");
    if (event.number <= (this.#heard.get(epoch) ?? 0)) {
      this.doubles += 1;
      return;
    }
    this.#heard.set(epoch, event.number);
    this.events.push(event);
    if (event.event === "user_online") this.users.add(event.user);
    else if (event.event === "user_offline") this.users.delete(event.user);
    else if (event.event === "room_occupied") this.rooms.add(event.room);
    else if (event.event === "room_vacated") this.rooms.delete(event.room);
    else if (event.event === "reset") this.users = new Set(await this.pages());
  }

  of(event) {
    return this.events.filter((it) => it.event === event);
  }

  stop() {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

/** All users that a node says are there, with their sockets. */
export async function presence(node, key) {
  const users = new Map();
  let cursor = "";
  do {
    const answer = await request(node.internalPort, `/api/v1/presence?limit=1000${cursor && `&cursor=${encodeURIComponent(cursor)}`}`, { headers: { authorization: `Bearer ${key}` } });
    if (answer.status !== 200) throw new Error(answer.text);
    const page = JSON.parse(answer.text);
    for (const { user, sockets } of page.users) users.set(user, sockets);
    cursor = page.next;
  } while (cursor);
  return users;
}

/** A user on a raw WebSocket, which answers pings and does nothing else. */
export class RawUser {
  static async open(node, token) {
    const user = new RawUser(node, token);
    await within(PATIENCE_MS, user.connected, "a user connects");
    return user;
  }

  static async openAll(node, tokens) {
    const users = [];
    for (let first = 0; first < tokens.length; first += AT_A_TIME) {
      users.push(...(await Promise.all(tokens.slice(first, first + AT_A_TIME).map((token) => RawUser.open(node, token)))));
    }
    return users;
  }

  constructor(node, token) {
    this.socket = new WebSocket(`${node.url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
    this.connected = new Promise((resolve, reject) => {
      this.socket.on("message", (data) => {
        const text = data.toString();
        if (text.startsWith("0")) this.socket.send(`40${JSON.stringify({ token })}`);
        else if (text === "2") this.socket.send("3");
        else if (text.startsWith("40")) resolve();
        else if (text.startsWith("44")) reject(new Error(text));
      });
      this.socket.on("error", reject);
    });
    this.connected.catch(() => {});
  }

  close() {
    this.socket.close();
  }
}

/** Waits until a receiver was told what is there. */
export function knows(receiver, users) {
  const expected = [...users].sort();
  return until("the backend knows who is there", () => {
    const known = [...receiver.users].sort();
    return known.length === expected.length && known.every((user, place) => user === expected[place]);
  });
}
