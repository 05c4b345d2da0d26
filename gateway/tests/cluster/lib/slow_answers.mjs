// A proxy in front of Redis that holds back what a connection is answered after it sent a certain command.
import { once } from "node:events";
import { connect, createServer } from "node:net";

/** Answers after `command` arrive `delay_ms` late, in their order; connections that never send it are not slowed down. */
export async function slowAnswers(port, command, delay_ms) {
  const sockets = new Set();
  const server = createServer((client) => {
    const redis = connect(port, "127.0.0.1");
    let isSlow = false;
    client.on("data", (data) => {
      isSlow ||= data.includes(command);
      redis.write(data);
    });
    redis.on("data", (data) => {
      if (isSlow) setTimeout(() => client.writable && client.write(data), delay_ms);
      else client.write(data);
    });
    for (const [one, other] of [[client, redis], [redis, client]]) {
      sockets.add(one);
      one.on("error", () => {});
      one.on("close", () => {
        sockets.delete(one);
        other.destroy();
      });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `redis://127.0.0.1:${server.address().port}`,
    stop() {
      server.close();
      sockets.forEach((socket) => socket.destroy());
    },
  };
}
