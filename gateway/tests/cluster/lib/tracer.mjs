// A reader of GET /api/v1/trace, and tokens for users whom it may follow.
import { createHmac } from "node:crypto";
import http from "node:http";
import { until } from "../../../../testkit/js/wait.mjs";

export class Tracer {
  /** All lines so far. */
  lines = [];
  /** Whether the node ended the stream. */
  ended = false;
  #request;

  /** Opens a trace, and waits until so many nodes follow. */
  static async open(node, key, query, nodes) {
    const tracer = new Tracer(node, key, query);
    await until(`${nodes} nodes trace ${query}`, () => tracer.of("tracing").length === nodes);
    return tracer;
  }

  constructor(node, key, query) {
    const options = { host: "127.0.0.1", port: node.internalPort, path: `/api/v1/trace?${query}`, headers: { Authorization: `Bearer ${key}` }, agent: false };
    this.#request = http.get(options, (response) => {
      let rest = "";
      response.setEncoding("utf8");
      response.on("data", (text) => {
        const lines = (rest + text).split("\n");
        rest = lines.pop();
        for (const line of lines) this.lines.push(JSON.parse(line));
      });
      response.once("close", () => (this.ended = true));
      response.on("error", () => {});
    });
    this.#request.on("error", () => (this.ended = true));
  }

  of(what) {
    return this.lines.filter((line) => line.what === what);
  }

  close() {
    this.#request.destroy();
  }
}

/** A token of a user, with what else it says. */
export function token(secret, user, claims = {}) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, exp: 4_000_000_000, ...claims })}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}
