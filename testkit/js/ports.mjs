// Ports of the loopback interface.
import { connect, createServer } from "node:net";

let last = 0;

/**
 * A port that nobody listens on, nor on the port 10,000 above it, which a Redis cluster needs. It is below those that the system gives to
 * outgoing connections, so that none takes it while its server is down, and processes that run at the same time begin at different ones.
 */
export async function freePort() {
  for (;;) {
    last += 1;
    const port = 10_000 + ((process.pid * 101 + last) % 12_000);
    if ((await isFree(port)) && (await isFree(port + 10_000))) return port;
  }
}

function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

/** True when somebody takes connections on the port. */
export function accepts(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
