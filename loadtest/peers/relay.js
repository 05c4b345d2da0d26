// The relay events that every server under test speaks, for servers with the interface of `socket.io`.
"use strict";

const OK = { ok: true };
const nothing = () => {};

function acknowledge(args) {
  return typeof args[args.length - 1] === "function" ? args.pop() : nothing;
}

function relay(socket) {
  socket.on("join", (rooms, done = nothing) => {
    const joined = socket.join(rooms);
    if (joined) joined.then(() => done(OK));
    else done(OK);
  });
  socket.on("leave", (rooms, done = nothing) => {
    for (const room of [].concat(rooms)) socket.leave(room);
    done(OK);
  });
  socket.on("publish", (rooms, event, ...args) => {
    const done = acknowledge(args);
    socket.to(rooms).emit(event, ...args);
    done(OK);
  });
  socket.on("broadcast", (event, ...args) => {
    const done = acknowledge(args);
    socket.broadcast.emit(event, ...args);
    done(OK);
  });
  socket.on("echo", (...args) => {
    const done = acknowledge(args);
    done(...args);
  });
}

module.exports = { relay };
