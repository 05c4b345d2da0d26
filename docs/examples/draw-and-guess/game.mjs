// The rules. One draws a word that only this program and the drawer know; the first to write it in the chat gets a point.
// All of it is in the memory of one process: a second one would need a store that both share.

const WORDS = ["anchor", "balloon", "bridge", "cactus", "candle", "castle", "guitar", "house", "island", "ladder", "lighthouse", "mushroom", "octopus", "rocket", "snail", "windmill"];

const MAX = { name: 24, text: 300, rooms: 1_000, strokes: 2_000, points: 400 };

/** By name: people by socket, the strokes so far, and the round while there is one. */
const rooms = new Map();

export function connect({ auth, socket }) {
  const name = clean(auth?.name, MAX.name);
  const room = clean(auth?.room ?? "lobby", MAX.name);
  if (!name || !room) return { refuse: { message: "a name is needed", data: { code: "no_name" } } };
  if (!rooms.has(room) && rooms.size >= MAX.rooms) return { refuse: { message: "too many rooms", data: { code: "full" } } };
  if (!rooms.has(room)) rooms.set(room, { people: new Map(), strokes: [], round: null });
  const game = rooms.get(room);
  game.people.set(socket.id, { name, score: 0 });
  return {
    data: { room },
    actions: [
      { join: [room] },
      // Who comes late sees the board as it is.
      { emit: { rooms: [socket.id], event: "board", args: [game.strokes, shown(game)] } },
      people(room, game),
    ],
  };
}

export function disconnect({ socket }) {
  const { room } = socket.data;
  const game = rooms.get(room);
  if (!game?.people.delete(socket.id)) return {};
  if (game.people.size === 0) rooms.delete(room);
  const isOver = game.round?.drawer === socket.id;
  if (isOver) game.round = null;
  return { actions: [people(room, game), ...(isOver ? [toRoom(room, "over", null)] : [])] };
}

export function event(call) {
  const { room } = call.socket.data;
  const game = rooms.get(room);
  const player = game?.people.get(call.socket.id);
  // The backend was started anew: the client connects again and is in the game.
  if (!player) return { actions: [{ disconnect: true }] };
  const handler = Object.hasOwn(EVENTS, call.event) ? EVENTS[call.event] : () => fault("unknown_event");
  return handler({ room, game, player, id: call.socket.id }, ...call.args);
}

const EVENTS = {
  start({ room, game, player, id }) {
    if (game.round) return fault("running");
    game.round = { drawer: id, name: player.name, word: WORDS[Math.floor(Math.random() * WORDS.length)] };
    game.strokes = [];
    return { ack: [{ ok: true, word: game.round.word }], actions: [toRoom(room, "round", shown(game))] };
  },

  stroke({ room, game, id }, stroke) {
    if (!mayDraw(game, id)) return fault("not_yours");
    if (!isStroke(stroke)) return fault("bad_stroke");
    if (game.strokes.length >= MAX.strokes) return fault("full");
    const { colour, points } = stroke;
    game.strokes.push({ colour, points });
    return { actions: [toOthers(room, id, "stroke", { colour, points })] };
  },

  clear({ room, game, id }) {
    if (!mayDraw(game, id)) return fault("not_yours");
    game.strokes = [];
    return { ack: [{ ok: true }], actions: [toRoom(room, "board", [], shown(game))] };
  },

  say({ room, game, player, id }, said) {
    const text = clean(said, MAX.text);
    if (!text) return fault("bad_text");
    const { round } = game;
    const isGuess = round && round.drawer !== id && text.toLowerCase() === round.word;
    if (round?.drawer === id && text.toLowerCase().includes(round.word)) return fault("no_hints");
    const actions = [toOthers(room, id, "said", player.name, text)];
    if (isGuess) {
      player.score += 1;
      game.round = null;
      actions.push(toRoom(room, "over", { winner: player.name, word: round.word }), people(room, game));
    }
    return { ack: [{ ok: true }], actions };
  },
};

const mayDraw = (game, id) => !game.round || game.round.drawer === id;

/** What everybody may know of a round. */
const shown = ({ round }) => round && { drawer: round.drawer, name: round.name, letters: round.word.length };

function isStroke(stroke) {
  const { colour, points } = stroke ?? {};
  const isNumber = (it) => Number.isInteger(it) && it >= 0 && it <= 1_000;
  return Number.isInteger(colour) && colour >= 0 && colour < 6 && Array.isArray(points) && points.length % 2 === 0 && points.length <= MAX.points && points.every(isNumber);
}

const clean = (value, max) => (typeof value === "string" ? value.trim().slice(0, max) : "");
const fault = (code) => ({ ack: [{ ok: false, error: { code } }] });
const toRoom = (room, event, ...args) => ({ emit: { rooms: [room], event, args } });
const toOthers = (room, id, event, ...args) => ({ emit: { rooms: [room], except: [id], event, args } });
const people = (room, { people }) => toRoom(room, "people", [...people.values()]);
