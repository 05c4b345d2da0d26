// The refusals of an Engine.IO server, as they stand on the wire.
import assert from "node:assert/strict";

const MESSAGES = ["Transport unknown", "Session ID unknown", "Bad handshake method", "Bad request", "Forbidden", "Unsupported protocol version"];

/** The response refuses an HTTP request with `code`. */
export function refused(response, code) {
  assert.equal(response.text, `{"code":${code},"message":"${MESSAGES[code]}"}`);
  assert.equal(response.status, code === 4 ? 403 : 400);
  assert.equal(response.headers["content-type"], "application/json");
}

/** The response refuses a WebSocket handshake with `code`. */
export function upgradeRefused(response, code) {
  assert.equal(response.text, MESSAGES[code]);
  assert.equal(response.status, 400);
  assert.equal(response.headers["content-type"], "text/html");
  assert.equal(response.headers.connection.toLowerCase(), "close");
}

/** The response has this status and neither content type nor body. */
export function bare(response, status) {
  assert.equal(response.status, status);
  assert.equal(response.text, "");
  assert.equal(response.headers["content-type"], undefined);
}
