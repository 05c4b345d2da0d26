// Socket.IO servers with connection state recovery, each with one fault planted, so that loadtest can be seen to tell it.
//
//   node faulty-server.js
//
// Prints "listening PORT". Each fault has a path of its own: /lose/, /twice/ and so on. When stdin ends, prints how often
// each was done.
"use strict";

const { createServer } = require("node:http");
const { createRequire } = require("node:module");
const path = require("node:path");
const peer = createRequire(path.join(__dirname, "../peers/node/"));
const { Server } = peer("socket.io");
const { SessionAwareAdapter } = createRequire(peer.resolve("socket.io"))("socket.io-adapter");

const OK = { ok: true };
const EVENT = 2;
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// Every so many-th publish is the one that goes wrong: once a second at 20 per second.
const EVERY = 20;

const counts = { denied_messages: 0 };

// What a fault may change: how a publish reaches its room, the session that is restored, and a socket that connects.
const faults = {
  none: {},

  // A member does not get a message. It is not in the replay either.
  lose: {
    publish({ socket, io, room, emit }, nth) {
      const victim = nth % EVERY === 0 && someone(io, room);
      emit(victim ? socket.to(room).except(victim) : socket.to(room));
      if (victim) counts.lose += 1;
    },
  },

  // A member gets a message again.
  twice: {
    publish({ socket, io, room, emit }, nth) {
      emit(socket.to(room));
      const victim = nth % EVERY === 0 && someone(io, room);
      if (!victim) return;
      emit(io.to(victim));
      counts.twice += 1;
    },
  },

  // A message overtakes the one before it.
  swap: {
    publish({ socket, room, emit, state }, nth) {
      const held = state.held[room];
      delete state.held[room];
      if (nth % EVERY === 0) {
        const send = () => emit(socket.to(room));
        const timer = setTimeout(() => {
          if (state.held[room]?.send !== send) return;
          delete state.held[room];
          send();
        }, 1000);
        state.held[room] = { send, timer };
        return;
      }
      emit(socket.to(room));
      if (!held) return;
      clearTimeout(held.timer);
      held.send();
      counts.swap += 1;
    },
  },

  // A client is told that it is recovered, and one of its missed messages is not in the replay, however often it asks.
  part: {
    restore(session, _offset, state) {
      const kept = (state.dropped[session.sid] ??= new Set());
      const offset = (packet) => packet[packet.length - 1];
      if (session.missedPackets.length > 1 && !session.missedPackets.some((packet) => kept.has(offset(packet)))) {
        kept.add(offset(session.missedPackets[0]));
        counts.part += 1;
      }
      session.missedPackets = session.missedPackets.filter((packet) => !kept.has(offset(packet)));
      return session;
    },
  },

  // Every third client that comes back gets another session, and is told so.
  deny: {
    restore(session, _offset, state) {
      state.restores += 1;
      if (state.restores % 3 !== 0) return session;
      counts.denied_messages += session.missedPackets.length;
      return null;
    },
    connected({ socket }) {
      if (socket.handshake.auth.pid && !socket.recovered) counts.deny += 1;
    },
  },

  // A client is told that it is recovered, but is in no room any more.
  roomless: {
    restore(session) {
      session.rooms = [session.sid];
      counts.roomless += 1;
      return session;
    },
  },

  // A client is told that it is recovered, but its socket has another id.
  rename: {
    restore(session) {
      counts.rename += 1;
      return { ...session, sid: `renamed-${counts.rename}` };
    },
  },

  // Every fifth client that comes back is refused.
  refuse: {
    options: { connectionStateRecovery: { skipMiddlewares: false } },
    created(io, state) {
      io.use((socket, next) => {
        if (!socket.handshake.auth.pid) return next();
        state.restores += 1;
        if (state.restores % 5 !== 0) return next();
        counts.refuse += 1;
        next(new Error("full"));
      });
    },
  },

  // A member is sent away by the server, now and then.
  dismiss: {
    publish({ socket, io, room, emit }, nth) {
      emit(socket.to(room));
      const victim = nth % EVERY === 0 && someone(io, room);
      if (!victim) return;
      io.sockets.sockets.get(victim).disconnect();
      counts.dismiss += 1;
    },
  },

  // The server ends the connections of a room right behind an event, so that both reach the client at once.
  vanish: {
    publish({ socket, io, room, emit }, nth) {
      emit(socket.to(room));
      if (nth % EVERY !== 0) return;
      for (const id of io.of("/").adapter.rooms.get(room) ?? []) {
        const member = io.sockets.sockets.get(id);
        if (!member) continue;
        member.conn.transport.socket._socket.end();
        counts.vanish += 1;
      }
    },
  },

  // The server falls silent for a client, now and then: no event, no heartbeat, no end. It lets the client come back.
  silence: {
    options: { pingInterval: 300, pingTimeout: 300 },
    publish({ socket, io, room, emit }, nth) {
      emit(socket.to(room));
      const victim = nth % EVERY === 0 && someone(io, room);
      if (!victim) return;
      const { conn } = io.sockets.sockets.get(victim);
      conn.transport.socket.send = () => {};
      conn.transport.socket._sender.sendFrame = () => {};
      counts.silence += 1;
    },
  },

  // Every tenth handshake, once all are there, is answered with an HTTP error.
  forbid: {
    options: {
      allowRequest(_request, done) {
        const state = faults.forbid.state;
        state.restores += 1;
        const refused = state.restores > 30 && state.restores % 10 === 0;
        if (refused) counts.forbid += 1;
        done(refused ? "no" : null, !refused);
      },
    },
  },

  // Every tenth publish is refused.
  reject: {
    publish({ socket, room, emit, done }, nth) {
      if (nth % 10 === 0) {
        counts.reject += 1;
        return done({ ok: false, error: { code: "unavailable", message: "not now" } });
      }
      emit(socket.to(room));
    },
  },

  // The replay takes a while, in front of the answer to CONNECT.
  slow: {
    async wait() {
      await pause(300);
    },
  },

  // The replay comes behind the answer to CONNECT, and takes a while; what is live waits for it.
  behind: {
    restore(session, _offset, state) {
      state.missed.set(session.sid, session.missedPackets);
      session.missedPackets = [];
      return session;
    },
    async connected({ socket, state }) {
      const missed = state.missed.get(socket.id);
      state.missed.delete(socket.id);
      if (!missed?.length) return;
      const live = [];
      socket.client.writeToEngine = (...args) => live.push(args);
      await pause(300);
      delete socket.client.writeToEngine;
      for (const data of missed) socket.packet({ type: EVENT, data });
      for (const args of live) socket.client.writeToEngine(...args);
      counts.behind += 1;
    },
  },

  // No recovery at all.
  without: { options: { connectionStateRecovery: undefined } },
};

function someone(io, room) {
  const members = [...(io.of("/").adapter.rooms.get(room) ?? [])].filter((id) => io.sockets.sockets.has(id));
  return members[Math.floor(Math.random() * members.length)];
}

function create(name, server) {
  const fault = faults[name];
  const state = { held: {}, published: {}, dropped: {}, restores: 0, missed: new Map() };
  fault.state = state;
  counts[name] = 0;

  class Adapter extends SessionAwareAdapter {
    async restoreSession(pid, offset) {
      await fault.wait?.();
      const session = await super.restoreSession(pid, offset);
      return session && fault.restore ? fault.restore(session, offset, state) : session;
    }
  }

  const options = {
    path: `/${name}/`,
    destroyUpgrade: false,
    connectionStateRecovery: { maxDisconnectionDuration: 120_000 },
    ...fault.options,
  };
  if (options.connectionStateRecovery) options.adapter = Adapter;
  const io = new Server(server, options);
  fault.created?.(io, state);
  io.on("connection", (socket) => {
    fault.connected?.({ socket, state });
    socket.on("join", (room, done) => {
      socket.join(room);
      // Node recovers only clients that got an event: each has an offset from here on.
      socket.emit("welcome");
      done(OK);
    });
    socket.on("echo", (payload, done) => done(payload));
    socket.on("publish", (room, event, payload, done) => {
      const nth = (state.published[room] = (state.published[room] ?? 0) + 1);
      const emit = (to) => to.emit(event, payload);
      let answered = false;
      const answer = (result) => {
        answered = true;
        done(result);
      };
      if (fault.publish) fault.publish({ socket, io, room, emit, state, done: answer }, nth);
      else emit(socket.to(room));
      if (!answered) done(OK);
    });
    socket.on("broadcast", (event, payload, done) => {
      socket.broadcast.emit(event, payload);
      done(OK);
    });
  });
}

const server = createServer();
// Each of the servers listens to it.
server.setMaxListeners(0);
for (const name of Object.keys(faults)) create(name, server);
server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => {
  process.stdout.write(`listening ${server.address().port}\n`);
});
process.stdin.resume();
process.stdin.on("end", () => {
  process.stdout.write(JSON.stringify(counts) + "\n");
  process.exit(0);
});
