// The admin page: a scripted one, and the files of the official one.
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { io } from "socket.io-client";
import { until } from "../../../../testkit/js/wait.mjs";

/** Of the password `s3cret`, with the least work that there is. */
export const HASH = "$2b$04$abcdefghijklmnopqrstuuLZYjhNQAOdpbzt4WxWlUHjv1wsyH5DG";

export const LOGIN = { username: "admin", password: "s3cret" };

/** A page of no browser, which keeps what it is told as the official one does. */
export class Page {
  static async open(server, auth = LOGIN, options = {}) {
    const page = new Page(io(`${server.url}/admin`, { auth, transports: ["websocket"], forceNew: true, reconnection: false, ...options }));
    await until("the page is connected or refused", () => page.socket.connected || page.error !== undefined);
    if (page.error) throw page.error;
    return page;
  }

  /** By the id of the server. */
  servers = new Map();
  /** By their ids; undefined before the first list. */
  sockets;
  lists = 0;
  /** All that is told of sockets, the name of the event first. */
  events = [];
  bytes = 0;

  constructor(socket) {
    this.socket = socket;
    socket.on("connect_error", (error) => (this.error = error));
    socket.on("session", (id) => (this.session = id));
    socket.on("config", ({ supportedFeatures }) => (this.features = supportedFeatures));
    socket.on("server_stats", (stats) => this.servers.set(stats.serverId, stats));
    socket.on("all_sockets", (sockets) => {
      this.lists += 1;
      this.sockets = new Map(sockets.map((socket) => [socket.id, socket]));
    });
    socket.on("socket_connected", (socket) => this.sockets?.set(socket.id, socket));
    socket.on("socket_disconnected", (_nsp, id) => this.sockets?.delete(id));
    socket.onAny((event, ...args) => {
      if (!["server_stats", "all_sockets", "session", "config"].includes(event)) this.events.push([event, ...args]);
    });
    socket.io.engine.on("packet", ({ data }) => (this.bytes += data?.length ?? 0));
  }

  /** Sockets of a namespace, as all servers count them. */
  count(namespace) {
    const counts = [...this.servers.values()].map(({ namespaces }) => namespaces.find(({ name }) => name === namespace)?.socketsCount ?? 0);
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** Whether it was told this of a socket; `args` are the first ones. */
  heard(event, ...args) {
    return this.events.some(([name, ...rest]) => name === event && args.every((arg, i) => JSON.stringify(arg) === JSON.stringify(rest[i])));
  }

  emit(...args) {
    this.socket.emit(...args);
  }

  close() {
    this.socket.disconnect();
  }
}

/** A folder with the official page and its icons, as `admin.ui_dir` wants it. */
export class OfficialPage {
  dir = mkdtempSync(join(tmpdir(), "gateway-admin-ui-"));

  constructor() {
    const modules = join(import.meta.dirname, "../node_modules");
    cpSync(join(modules, "@socket.io/admin-ui/ui/dist"), this.dir, { recursive: true });
    cpSync(join(modules, "@mdi/font"), join(this.dir, "mdi"), { recursive: true });
  }

  remove() {
    rmSync(this.dir, { recursive: true, force: true });
  }
}
