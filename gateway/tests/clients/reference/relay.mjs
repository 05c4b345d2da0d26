// The relay application on the Node server, with the flags of the gateway that the suites use.
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { parseArgs } from "node:util";
import { Server } from "socket.io";

const { values } = parseArgs({
  allowPositionals: true,
  options: {
    listen: { type: "string" },
    "internal-listen": { type: "string" },
    "engine-ping-interval": { type: "string", default: "25s" },
    "engine-ping-timeout": { type: "string", default: "20s" },
    "engine-upgrade-timeout": { type: "string", default: "10s" },
    "engine-connect-timeout": { type: "string", default: "45s" },
    "engine-max-payload": { type: "string", default: "1MB" },
    "engine-transports": { type: "string", default: "polling,websocket" },
    "cors-origins": { type: "string" },
    "cors-credentials": { type: "string", default: "false" },
    namespaces: { type: "string", default: "/" },
    "limits-rooms-per-socket": { type: "string", default: "1000" },
    "limits-outbox-bytes": { type: "string", default: "16MiB" },
    "limits-body-timeout": { type: "string", default: "30s" },
    "shutdown-drain": { type: "string" },
    "client-dir": { type: "string" },
    "limits-header-timeout": { type: "string", default: "30s" },
  },
});

const RESERVED = new Set(["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]);
const DEMO = process.env.DEMO_DIR ?? join(import.meta.dirname, "../../../assets/demo");
const CONTENT_TYPES = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml" };
/** The running number of this process begins at 0, and stays below 262,144. */
const SOCKET_ID = /^[A-Za-z0-9_-]{16}A[A-Za-z0-9_-]{3}$/;

class Refusal extends Error {
  constructor(code) {
    super(code);
    this.code = code;
  }
}

/** What each relay event does; the result is the acknowledgement. */
const calls = {
  join(socket, rooms) {
    const wanted = new Set([...socket.rooms, ...joinable(rooms)]);
    // The private room does not count.
    if (wanted.size - 1 > Number(values["limits-rooms-per-socket"])) throw new Refusal("too_many_rooms");
    socket.join([...wanted]);
    return [{ ok: true }];
  },
  leave(socket, rooms) {
    for (const room of joinable(rooms)) socket.leave(room);
    return [{ ok: true }];
  },
  publish(socket, rooms, event, ...args) {
    socket.to(named(rooms)).emit(sendable(event), ...args);
    return [{ ok: true }];
  },
  broadcast(socket, event, ...args) {
    socket.broadcast.emit(sendable(event), ...args);
    return [{ ok: true }];
  },
  echo: (_socket, ...args) => args,
};

function named(rooms) {
  const list = Array.isArray(rooms) ? rooms : [rooms];
  if (list.length === 0 || list.some((room) => typeof room !== "string" || room === "")) throw new Refusal("bad_room");
  return list;
}

function joinable(rooms) {
  const list = named(rooms);
  if (list.some((room) => SOCKET_ID.test(room))) throw new Refusal("forbidden_room");
  return list;
}

function sendable(event) {
  if (typeof event !== "string" || RESERVED.has(event)) throw new Refusal("bad_event");
  return event;
}

function relay(socket) {
  socket.onAny((event, ...args) => {
    const ack = typeof args.at(-1) === "function" ? args.pop() : () => {};
    try {
      if (!Object.hasOwn(calls, event)) throw new Refusal("unknown_event");
      ack(...calls[event](socket, ...args));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      ack({ ok: false, error: { code: error.code, message: error.message } });
    }
  });
}

/** Disconnects a client whose reader is behind by more than the limit. */
function boundOutbox(connection) {
  const limit = bytes(values["limits-outbox-bytes"]);
  connection.on("packetCreate", () => {
    const { socket } = connection.transport;
    const buffered = connection.writeBuffer.reduce((sum, { data }) => sum + (data?.length ?? 0), 0);
    if (buffered + (socket?.bufferedAmount ?? 0) <= limit) return;
    if (socket) socket.terminate();
    else connection.close(true);
  });
}

function milliseconds(text) {
  const [, number, unit] = /^(\d+)(ms|s)$/.exec(text);
  return Number(number) * (unit === "s" ? 1000 : 1);
}

function bytes(text) {
  const [, number, unit] = /^(\d+)(B|kB|KiB|MB|MiB)$/.exec(text);
  return Number(number) * { B: 1, kB: 1e3, KiB: 1024, MB: 1e6, MiB: 1024 ** 2 }[unit];
}

/** The demo page of the gateway, which fills in where Engine.IO is served. */
function page(request, response) {
  const [path] = request.url.split("?");
  const name = path === "/" ? "index.html" : /^\/demo\/([a-z]+\.[a-z]+)$/.exec(path)?.[1];
  if (!name || !existsSync(join(DEMO, name))) return response.writeHead(404).end();
  const content = readFileSync(join(DEMO, name), "utf8").replaceAll("{{engine_path}}", "/socket.io/");
  return response.writeHead(200, { "Content-Type": `${CONTENT_TYPES[extname(name)]}; charset=utf-8` }).end(content);
}

const headersTimeout = milliseconds(values["limits-header-timeout"]);
const requestTimeout = headersTimeout + milliseconds(values["limits-body-timeout"]);
const http = createServer({ headersTimeout, requestTimeout, connectionsCheckingInterval: 100 }, page);
const io = new Server(http, {
  pingInterval: milliseconds(values["engine-ping-interval"]),
  pingTimeout: milliseconds(values["engine-ping-timeout"]),
  upgradeTimeout: milliseconds(values["engine-upgrade-timeout"]),
  connectTimeout: milliseconds(values["engine-connect-timeout"]),
  maxHttpBufferSize: bytes(values["engine-max-payload"]),
  transports: values["engine-transports"].split(","),
  ...(values["cors-origins"] && {
    cors: { origin: values["cors-origins"] === "*" ? "*" : values["cors-origins"].split(","), credentials: values["cors-credentials"] === "true" },
  }),
});
io.engine.on("connection", boundOutbox);
for (const name of values.namespaces.split(",")) {
  const pattern = new RegExp(`^${name.replaceAll("*", ".*")}$`);
  io.of(name.includes("*") ? pattern : name).on("connection", relay);
}
// Node always has the main namespace.
if (!values.namespaces.split(",").includes("/")) io.use((_socket, next) => next(new Error("Invalid namespace")));

process.on("SIGTERM", () => {
  io.close();
  http.closeAllConnections();
  // Leaves the close frames the time to go out.
  setTimeout(() => process.exit(0), 100);
});

const [host, port] = values.listen.split(":");
http.listen(Number(port), host, () => console.log(`listening on ${values.listen}`));
