// A process with @socket.io/redis-emitter: node emitter_process.mjs LIBRARY URL. Each message from the parent is one call.
import { Emitter } from "@socket.io/redis-emitter";
import { connectRedis } from "./node_server.mjs";

const [library, url] = process.argv.slice(2);
const emitter = new Emitter(await connectRedis(library, url));

process.on("message", ({ method, whom = {}, args }) => {
  let to = emitter;
  for (const room of whom.rooms ?? []) to = to.to(room);
  for (const room of whom.except ?? []) to = to.except(room);
  if (whom.volatile) to = to.volatile;
  to[method](...args);
});
process.on("disconnect", () => process.exit(0));
process.send("ready");
