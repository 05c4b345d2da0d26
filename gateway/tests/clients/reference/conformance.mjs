// The two applications of the official conformance suites, on the Node server: a raw Engine.IO echo at /engine.io/ and Socket.IO at /socket.io/.
import { Server as Engine } from "engine.io";
import { createServer } from "node:http";
import { Server } from "socket.io";

const timers = { pingInterval: 300, pingTimeout: 200 };
const http = createServer((_request, response) => response.writeHead(404).end());

const engine = new Engine({ ...timers, maxHttpBufferSize: 1e6 });
engine.attach(http, { path: "/engine.io/" });
engine.on("connection", (socket) => socket.on("message", (message) => socket.send(message)));

const io = new Server(http, { ...timers, connectTimeout: 1000, serveClient: false });
const greet = (socket) => socket.emit("auth", socket.handshake.auth);
io.on("connection", (socket) => {
  greet(socket);
  socket.on("message", (...args) => socket.emit("message-back", ...args));
  socket.on("message-with-ack", (...args) => {
    const ack = args.pop();
    if (typeof ack === "function") ack(...args);
  });
});
io.of("/custom").on("connection", greet);

http.listen(Number(process.env.PORT), "127.0.0.1");
