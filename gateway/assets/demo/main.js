// The page: joins a room of the relay and connects the parts with each other.

import { Board } from "./board.js";
import { Chat } from "./chat.js";
import { CLIENT_MISSING, loadClient } from "./client.js";
import { Game } from "./game.js";
import { Link } from "./link.js";
import { HELLO_EVERY_MS, People } from "./people.js";
import { $, buildTools, showDetail, showNotice, showPeople, showRound, showStatus, showTimer } from "./view.js";
import { clean, EVENT_NAMES, LIMITS, randomKey, read } from "./wire.js";

/** Keeps the rooms of this page apart from those of other applications. */
const ROOM_PREFIX = "draw:";
const REJOIN_MS = 2_000;
const STROKE_EVERY_MS = 40;
const STROKE_SLOWEST_MS = 400;
/** Who does not draw lets the drawer answer a newcomer first. */
const ANSWER_AFTER_MS = 600;

const me = { id: randomKey(), name: "", score: 0 };
const people = new People(me);
const board = new Board($("board"));
const chat = new Chat($("messages"));
const game = new Game(people, tellRoom, {
  begun(round) {
    board.clear();
    chat.tell(game.isDrawer ? "You draw. The others guess in the chat." : `${round.drawerName} draws. Guess in the chat!`);
    showAll();
  },
  ended: showAll,
  told: (text, kind) => chat.tell(text, kind),
  changed: showAll,
});

let link = null;
/** The room that this page is in or wants to be in, and whether the gateway has confirmed it. */
let room = null;
let inRoom = false;
/** Whether it was confirmed when the connection was lost. */
let wasInRoom = false;
/** While a room's past comes: the round of that time, if there was one. */
let past = null;
let strokeEvery = STROKE_EVERY_MS;
/** Newcomers that wait for an answer, with the timer of ours. */
const asking = new Map();

start();

async function start() {
  fillLobby();
  buildTools(board.pen, (change) => Object.assign(board.pen, change));
  listenToPage();
  const path = document.querySelector("meta[name=engine-path]").content;
  try {
    const io = await loadClient(path, () => showNotice(`This takes long. ${CLIENT_MISSING}`));
    showNotice("");
    link = new Link(io, path, { status: showStatus, detail: showDetail, up: connected, down: disconnected, problem: showNotice });
    for (const event of EVENT_NAMES) link.listen(event, (value) => receive(event, value));
  } catch {
    showStatus("offline", "Offline");
    showNotice(CLIENT_MISSING);
  }
}

// Entering and leaving

function fillLobby() {
  $("room-input").value = roomInAddress() || "lobby";
  $("name-input").value = remembered();
  if (!$("name-input").value) $("name-input").focus();
}

async function enter(wanted) {
  room = wanted;
  inRoom = false;
  people.clear();
  game.reset();
  board.clear();
  chat.clear();
  if (roomInAddress() !== room) history.replaceState(null, "", `#${encodeURIComponent(room)}`);
  document.title = `${room} · Gateway`;
  $("room-name").textContent = room;
  await joinRoom();
}

/** Joins, also `again` after a lost connection. */
async function joinRoom(again = false) {
  const wanted = room;
  try {
    past = { round: null };
    await link.join(ROOM_PREFIX + wanted, again);
  } catch (error) {
    if (room !== wanted || !link.connected) return;
    showNotice(`The room “${wanted}” cannot be joined. ${error.message}`);
    if (again && (error.code === null || error.code === "rate_limited")) {
      setTimeout(() => room === wanted && link.connected && !inRoom && joinRoom(true), REJOIN_MS);
    } else {
      showLobby();
    }
    return;
  } finally {
    if (room === wanted) past = null;
  }
  if (room !== wanted || inRoom) return;
  showStatus("online", "Connected");
  showNotice("");
  inRoom = true;
  if (again) chat.tell("Connected again.");
  document.body.dataset.view = "room";
  board.expectReplay();
  tellRoom("hello", { ask: true });
  game.resume();
  showAll();
}

async function leaveRoom() {
  const left = room;
  tellRoom("bye", {});
  inRoom = false;
  room = null;
  await link.request("leave", ROOM_PREFIX + left).catch(() => {});
}

function showLobby() {
  room = null;
  inRoom = false;
  if (link?.connected) showStatus("online", "Connected");
  game.reset();
  document.body.dataset.view = "lobby";
  document.title = "Gateway: draw and guess";
  $("join-button").disabled = !link?.connected;
}

function connected(recovered) {
  showNotice("");
  $("join-button").disabled = false;
  if (!room) return;
  if (recovered && wasInRoom) {
    inRoom = true;
    chat.tell("Connected again. What you missed follows.");
    tellRoom("hello", { ask: false });
    game.resume();
    showAll();
    return;
  }
  const again = document.body.dataset.view === "room";
  if (again) showStatus("waiting", "Rejoining…");
  joinRoom(again);
}

function disconnected(words) {
  wasInRoom = inRoom;
  inRoom = false;
  $("join-button").disabled = true;
  if (room) chat.tell(`${words} Trying again…`, "trouble");
  showAll();
}

// Sending

/** Publishes to the others in the room; this page shows its own doings itself. */
function tellRoom(event, body) {
  if (!inRoom) return Promise.resolve(false);
  const message = { room, from: { ...me }, ...body };
  return link.request("publish", ROOM_PREFIX + room, event, message).then(
    () => true,
    (error) => {
      if (error.code === "rate_limited") strokeEvery = Math.min(2 * strokeEvery, STROKE_SLOWEST_MS);
      if (inRoom) showNotice(error.message);
      return false;
    },
  );
}

function sendMessage() {
  const input = $("message-input");
  const text = clean(input.value, LIMITS.text);
  if (!text) return;
  if (!inRoom) {
    showNotice("Not connected at the moment: nothing was sent.");
    return;
  }
  input.value = "";
  chat.say(me, text, true);
  tellRoom("chat", { text });
}

function sendStrokes() {
  for (const stroke of board.takePending()) tellRoom("stroke", { stroke });
  setTimeout(sendStrokes, strokeEvery);
}

/** Tells a newcomer, unless somebody else does it first. */
function answer(newcomer) {
  const first = game.isDrawer ? 0 : ANSWER_AFTER_MS * (1 + Math.random());
  clearTimeout(asking.get(newcomer));
  const timer = setTimeout(() => {
    asking.delete(newcomer);
    tellRoom("state", { to: newcomer, round: game.shared() });
    for (const strokes of board.portions()) tellRoom("strokes", { to: newcomer, strokes });
  }, first);
  asking.set(newcomer, timer);
}

// Receiving

function receive(event, value) {
  const message = room && read(event, room, value);
  if (!message || message.from.id === me.id) return;
  const { from } = message;
  if (past) {
    PAST[event]?.(from, message);
    return;
  }
  if (event === "bye") {
    forget(people.drop(from.id), "left");
    return;
  }
  const { changed, isNew } = people.seen(from);
  if (isNew && event === "hello" && message.ask) chat.tell(`${from.name} is here.`);
  if (changed || isNew) showAll();
  HANDLERS[event]?.(from, message);
}

const HANDLERS = {
  hello(from, { ask }) {
    if (!ask) return;
    tellRoom("hello", { ask: false });
    answer(from.id);
  },
  chat(from, { text }) {
    chat.say(from, text, false);
    game.handleGuess(from, text);
  },
  stroke(from, { stroke }) {
    if (!game.mayDraw(from.id)) return;
    const wasEmpty = board.empty;
    board.extend(stroke);
    if (wasEmpty) showAll();
  },
  clear(from) {
    if (!game.mayDraw(from.id)) return;
    board.clear();
    showAll();
  },
  state(_, { to, round }) {
    clearTimeout(asking.get(to));
    asking.delete(to);
    if (to !== me.id || game.isDrawer) return;
    game.handleState(round);
    board.beginReplay();
    showAll();
  },
  strokes(_, { to, strokes }) {
    if (to !== me.id || game.isDrawer) return;
    board.replay(strokes);
    showAll();
  },
  round: (from, { round }) => game.handleRound(from, round),
  near: (_, message) => game.handleNear(message),
  hit: (from, message) => game.handleHit(from, message),
  over: (from, message) => game.handleOver(from, message),
};

/** What is shown of the room's past: who was there may be gone, and rounds are over, or told of by those who play. */
const PAST = {
  chat: (from, { text }) => chat.say(from, text, false),
  stroke(from, { stroke }) {
    if (!past.round || past.round.drawer === from.id) board.extend(stroke);
  },
  clear(from) {
    if (!past.round || past.round.drawer === from.id) board.clear();
  },
  round(from, { round }) {
    if (round.drawer !== from.id || round.key === past.round?.key) return;
    past.round = round;
    board.clear();
  },
  hit: endPastRound,
  over: endPastRound,
};

function endPastRound(from, { round }) {
  if (round === past.round?.key && from.id === past.round.drawer) past.round = null;
}

function forget(person, how) {
  if (!person) return;
  chat.tell(`${person.name} ${how}.`);
  game.handleGone(person.id);
  showAll();
}

// Showing

function showAll() {
  if (!room) return;
  showPeople(people, game.round?.drawer);
  showRound(game, inRoom, board.empty);
  showTimer(game.round);
  board.enable(inRoom && game.mayDraw(me.id));
}

function listenToPage() {
  on("join-form", "submit", () => {
    const wanted = clean($("room-input").value, LIMITS.room);
    me.name = clean($("name-input").value, LIMITS.name);
    if (!wanted || !me.name || !link?.connected) return;
    remember(me.name);
    enter(wanted);
  });
  on("message-form", "submit", sendMessage);
  on("leave-button", "click", () => {
    leaveRoom();
    showLobby();
  });
  on("invite-button", "click", invite);
  on("start-round-button", "click", () => game.start());
  on("reroll-button", "click", () => game.reroll());
  on("stop-button", "click", () => game.giveUp());
  on("notice-close", "click", () => showNotice(""));
  on("clear-button", "click", () => {
    board.clear();
    tellRoom("clear", {});
    showAll();
  });
  $("board").addEventListener("pointerdown", () => showAll());
  addEventListener("hashchange", async () => {
    const wanted = roomInAddress();
    if (!wanted || wanted === room) return;
    $("room-input").value = wanted;
    if (!room) return;
    await leaveRoom();
    enter(wanted);
  });
  addEventListener("pagehide", () => tellRoom("bye", {}));
  addEventListener("pageshow", (event) => event.persisted && tellRoom("hello", { ask: true }));
  document.addEventListener("visibilitychange", () => document.hidden || tellRoom("hello", { ask: false }));
  setInterval(() => tellRoom("hello", { ask: false }), HELLO_EVERY_MS);
  setInterval(() => {
    for (const person of people.expire()) forget(person, "went silent");
    game.tick();
    showTimer(game.round);
  }, 500);
  sendStrokes();
}

function on(id, event, handler) {
  $(id).addEventListener(event, (happened) => {
    happened.preventDefault();
    handler();
  });
}

async function invite() {
  const button = $("invite-button");
  try {
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Invite"), 2_000);
  } catch {
    showNotice(`Send this link: ${location.href}`);
  }
}

// The room in the address, the name between visits

function roomInAddress() {
  try {
    return clean(decodeURIComponent(location.hash.slice(1)), LIMITS.room);
  } catch {
    return "";
  }
}

function remembered() {
  try {
    return clean(localStorage.getItem("name") ?? "", LIMITS.name);
  } catch {
    return "";
  }
}

function remember(name) {
  try {
    localStorage.setItem("name", name);
  } catch {
    // A browser may forbid storage; the name is then asked for again.
  }
}
