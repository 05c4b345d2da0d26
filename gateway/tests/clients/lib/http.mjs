// Plain HTTP requests, each on a connection of its own unless an agent is given: what a session's requests do behind a balancer.
import { randomBytes } from "node:crypto";
import http from "node:http";
import { within } from "../../../../testkit/js/wait.mjs";

/**
 * Sends a request (a body that is an array goes out in chunks, its length unannounced) and resolves with its whole response, plus `arrivedAt` (the last byte, `performance.now()`).
 * The promise has `abort()`, which drops the connection, and `sent`, which resolves when the request has left.
 */
export function request(port, path, { method = "GET", headers = {}, body, agent = false, timeout = 15_000 } = {}) {
  let abort;
  let sent;
  const response = new Promise((resolve, reject) => {
    const outgoing = http.request({ host: "127.0.0.1", port, path, method, headers, agent }, (incoming) => {
      const chunks = [];
      incoming.on("data", (chunk) => chunks.push(chunk));
      incoming.once("error", reject);
      incoming.once("end", () => resolve(finished(incoming, Buffer.concat(chunks))));
    });
    outgoing.once("error", reject);
    outgoing.once("upgrade", (incoming, socket) => {
      socket.destroy();
      resolve(finished(incoming, Buffer.alloc(0)));
    });
    sent = new Promise((leave) => outgoing.once("finish", leave));
    abort = () => outgoing.destroy();
    for (const chunk of Array.isArray(body) ? body : []) outgoing.write(chunk);
    outgoing.end(Array.isArray(body) ? undefined : body);
  });
  return Object.assign(within(timeout, response, `${method} ${path}`), { abort, sent });
}

function finished(incoming, body) {
  return { status: incoming.statusCode, headers: incoming.headers, body, text: body.toString("utf8"), arrivedAt: performance.now() };
}

/** What a refused or accepted WebSocket handshake answers, without speaking WebSocket afterwards. */
export function requestUpgrade(port, path, headers = {}) {
  return request(port, path, {
    headers: {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": randomBytes(16).toString("base64"),
      ...headers,
    },
  });
}
