// A TCP proxy that lets so many bytes pass in a second, each way and for each connection.
import { once } from "node:events";
import { connect, createServer } from "node:net";

const TICK_MS = 10;

/** Starts a proxy to `port`; `close` ends it and its connections. */
export async function throttle(port, bytesPerSecond) {
  const sockets = new Set();
  const server = createServer((client) => {
    const upstream = connect(port, "127.0.0.1");
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ]) {
      sockets.add(from);
      from.on("error", () => {});
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
      trickle(from, to, bytesPerSecond);
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: server.address().port,
    url: `http://127.0.0.1:${server.address().port}`,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Reads no more than may pass, so that what is too much stays with the sender. */
function trickle(from, to, bytesPerSecond) {
  const most = Math.max(1, Math.floor((bytesPerSecond * TICK_MS) / 1000));
  const timer = setInterval(() => {
    const chunk = from.read(Math.min(most, from.readableLength)) ?? undefined;
    if (chunk) to.write(chunk);
  }, TICK_MS);
  from.on("readable", () => {});
  from.once("end", () => to.end());
  from.once("close", () => clearInterval(timer));
}
