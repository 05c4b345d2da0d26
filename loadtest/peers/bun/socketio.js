// The Bun peer: `socket.io` on Bun's own engine, speaking the relay events that every server under test speaks.
//
//   bun socketio.js PORT
"use strict";

const { Server: Engine } = require("@socket.io/bun-engine");
const { Server } = require("socket.io");

const { relay } = require("../relay.js");

const io = new Server();
const engine = new Engine({ path: "/socket.io/" });
io.bind(engine);
io.on("connection", relay);

const { fetch, websocket, maxRequestBodySize } = engine.handler();
const server = Bun.serve({ hostname: "127.0.0.1", port: Number(process.argv[2]), idleTimeout: 30, maxRequestBodySize, fetch, websocket });
console.log(`listening ${server.port}`);
