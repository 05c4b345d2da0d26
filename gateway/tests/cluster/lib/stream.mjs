// What nodes wrote to backend.stream.
import { createClient } from "redis";

export const KEY = "events";

/** All entries, read as one consumer of a group reads them. */
export async function consume(url, socket = {}) {
  const redis = createClient({ url, socket });
  redis.on("error", () => {});
  await redis.connect();
  await redis.xGroupCreate(KEY, "all", "0", { MKSTREAM: true }).catch((error) => {
    if (!error.message.startsWith("BUSYGROUP")) throw error;
  });
  const entries = [];
  for (;;) {
    const streams = await redis.xReadGroup("all", "one", { key: KEY, id: ">" }, { COUNT: 500 });
    if (!streams) break;
    for (const { id, message } of streams[0].messages) {
      entries.push({ ...message, body: JSON.parse(message.body) });
      await redis.xAck(KEY, "all", id);
    }
  }
  await redis.close();
  return entries;
}

/** Without what stands there again. */
export function distinct(entries) {
  const seen = new Set();
  return entries.filter(({ id }) => !seen.has(id) && seen.add(id));
}

/** Those of a socket. */
export function of(entries, socket) {
  return entries.filter(({ body }) => body.socket.id === socket);
}

/** The first argument of each event. */
export function numbers(entries) {
  return entries.filter(({ type }) => type === "event").map(({ body }) => body.args[0]);
}
