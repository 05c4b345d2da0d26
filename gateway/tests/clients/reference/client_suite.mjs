// The application that the tests of the JavaScript client expect, on the Node server.
import { createServer } from "node:http";
import { Server } from "socket.io";

const UTF8 = ["てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"];
const BYTES = Buffer.from("asdfasdf");

const http = createServer((_request, response) => response.writeHead(404).end());
const io = new Server(http, { pingInterval: 2000, allowRequest: (_request, decide) => setTimeout(() => decide(null, true), 10) });

io.use((socket, next) => next(socket.handshake.query.fail ? new Error("Auth failed (main namespace)") : undefined));
io.of("/no").use((_socket, next) => next(new Error("Auth failed (custom namespace)")));
io.of("/foo").on("connection", (socket) => socket.on("getId", (ack) => ack(socket.id)));
for (const name of ["/timeout_socket", "/valid", "/asd"]) io.of(name);
io.of("/abc").on("connection", (socket) => socket.emit("handshake", socket.handshake));

io.on("connection", (socket) => {
  socket.on("hi", () => socket.emit("hi"));
  socket.on("echo", (argument, ack) => ack(argument));
  socket.on("ack", () => {
    socket.emit("ack", (a, b) => {
      if (a === 5 && b.test) socket.emit("got it");
    });
  });
  socket.on("getAckDate", (_argument, ack) => ack(new Date()));
  socket.on("getDate", () => socket.emit("takeDate", new Date()));
  socket.on("getDateObj", () => socket.emit("takeDateObj", { date: new Date() }));
  socket.on("getUtf8", () => UTF8.forEach((text) => socket.emit("takeUtf8", text)));
  socket.on("false", () => socket.emit("false", false));
  socket.on("doge", () => socket.emit("doge", BYTES));
  socket.on("getbin", () => socket.emit("takebin", BYTES));
  socket.on("buffa", (bytes) => {
    if (Buffer.isBuffer(bytes)) socket.emit("buffack");
  });
  socket.on("jsonbuff", ({ hello, message, goodbye }) => {
    if (hello === "lol" && Buffer.isBuffer(message) && goodbye === "gotcha") socket.emit("jsonbuff-ack");
  });
  let first;
  socket.on("abuff1", (bytes) => {
    first = bytes;
  });
  socket.on("abuff2", (text) => {
    if (Buffer.isBuffer(first) && typeof text === "string") socket.emit("abuff2-ack");
  });
  socket.on("getHandshake", (ack) => ack(socket.handshake));
  socket.on("getId", (ack) => ack(socket.id));
});

http.listen(Number(process.env.PORT), "127.0.0.1");
