// What the pages of a room publish to each other, and the checks on what arrives. Peers may send
// anything: whatever does not fit its shape exactly is dropped, and everything has a bound.

export const WIDTH = 1200;
export const HEIGHT = 900;
export const INKS = 8;
export const SIZES = 3;
export const ROUND_MS = 90_000;

export const LIMITS = {
  name: 24,
  room: 40,
  text: 300,
  word: 40,
  /** Numbers (two per point) in one stroke, and in one message of a replay. */
  stroke: 3_000,
  replay: 6_000,
  strokesPerReplay: 500,
};

const BAD = Symbol("bad");

/** Control and direction-changing characters would let a text pretend to be something else. */
const HIDDEN = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+/gu;

export const clean = (value, max) =>
  value.slice(0, 4 * max).replace(HIDDEN, " ").trim().slice(0, max).replace(/[\ud800-\udbff]$/, "");

const text = (max) => (value) => (typeof value === "string" && clean(value, max)) || BAD;
const key = (value) => (typeof value === "string" && /^[a-z0-9]{1,24}$/.test(value) ? value : BAD);
const int = (max) => (value) => (Number.isInteger(value) && value >= 0 && value <= max ? value : BAD);
const flag = (value) => value === true;
const maybe = (shape) => (value) => (value === undefined || value === null ? null : shape(value));

const list = (shape, max) => (value) => {
  if (!Array.isArray(value) || value.length > max) return BAD;
  const items = value.map(shape);
  return items.includes(BAD) ? BAD : items;
};

const object = (shapes) => (value) => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return BAD;
  const result = {};
  for (const [name, shape] of Object.entries(shapes)) {
    const field = shape(Object.hasOwn(value, name) ? value[name] : undefined);
    if (field === BAD) return BAD;
    result[name] = field;
  }
  return result;
};

const points = (value) => {
  if (!Array.isArray(value) || value.length % 2 || !value.length) return BAD;
  if (value.length > LIMITS.stroke) return BAD;
  const fits = (n, i) => Number.isInteger(n) && n >= 0 && n <= (i % 2 ? HEIGHT : WIDTH);
  return value.every(fits) ? value : BAD;
};

const person = object({ id: key, name: text(LIMITS.name), score: int(9999) });
const stroke = object({ key, ink: int(INKS), size: int(SIZES - 1), points });
const strokes = list(stroke, LIMITS.strokesPerReplay);
const round = object({
  key,
  drawer: key,
  drawerName: text(LIMITS.name),
  mask: text(LIMITS.word),
  left: int(ROUND_MS),
});

/** Every message also carries the room and the sender, which `read` checks first. */
const EVENTS = {
  /** I am here; with `ask`, I am new: who has the board and the round, tell me. */
  hello: object({ ask: flag }),
  bye: object({}),
  chat: object({ text: text(LIMITS.text) }),
  /** A piece of a line, while it is drawn. */
  stroke: object({ stroke }),
  clear: object({}),
  /** The answer to `ask`, followed by the strokes so far. */
  state: object({ to: key, round: maybe(round) }),
  strokes: object({ to: key, strokes }),
  round: object({ round }),
  /** Drawer: your guess is close. */
  near: object({ to: key, round: key }),
  /** Drawer: this one has it. */
  hit: object({ round: key, winner: person, word: text(LIMITS.word) }),
  /** Drawer: the time is up, or I gave up. */
  over: object({ round: key, word: text(LIMITS.word) }),
};

export const EVENT_NAMES = Object.keys(EVENTS);

/** The checked message, or null. */
export function read(event, room, value) {
  const head = object({ room: text(LIMITS.room), from: person })(value);
  if (head === BAD || head.room !== room) return null;
  const body = EVENTS[event](value);
  return body === BAD ? null : { ...body, from: head.from };
}

export function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(10));
  return Array.from(bytes, (byte) => (byte % 36).toString(36)).join("");
}
