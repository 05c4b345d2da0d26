// Clients that send as fast as they can, in a process of their own: node flood.mjs '{"port":..,"clients":4,"packet":"42[..]"}'
// It says `flooding` when all are connected, and stops with its parent.
import { SOCKET_IO } from "./engine.mjs";
import { RawWebSocket } from "./raw.mjs";

const PACKETS = 500;

const { port, clients, packet } = JSON.parse(process.argv[2]);
const frames = Buffer.concat(Array.from({ length: PACKETS }, () => RawWebSocket.text(packet)));

for (let i = 0; i < clients; i += 1) {
  const raw = await RawWebSocket.session(port, SOCKET_IO);
  raw.send(RawWebSocket.text("40"));
  await raw.next();
  raw.socket.removeAllListeners("data");
  raw.socket.resume();
  const flood = () => {
    while (raw.socket.writable && raw.socket.write(frames));
  };
  raw.socket.on("drain", flood);
  flood();
}
process.send({ flooding: true });
process.on("disconnect", () => process.exit(0));
