// node backend_process.mjs PORT FILE: acknowledges every event, and appends its socket and its number to the file. What has no number is sent
// back and not kept.
import { appendFileSync } from "node:fs";
import { createServer } from "node:http";

const [port, file] = process.argv.slice(2);

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const call = JSON.parse(Buffer.concat(chunks));
  if (call.type !== "event") return response.end("{}");
  if (typeof call.args[0] !== "number") return response.end(JSON.stringify({ ack: call.args }));
  appendFileSync(file, `${call.socket.id} ${call.args[0]}\n`);
  response.end(JSON.stringify({ ack: [{ ok: true, number: call.args[0] }] }));
});
server.keepAliveTimeout = 60_000;
server.listen(Number(port), "127.0.0.1");
