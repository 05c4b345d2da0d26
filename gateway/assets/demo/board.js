// The drawing: a bounded list of strokes in fixed units, a canvas that shows it, and the pointer.

import { WIDTH, HEIGHT, LIMITS, randomKey } from "./wire.js";

/** The last one erases. */
export const INK_COLOURS = ["#1d2430", "#c8374a", "#e07a2f", "#e3b522", "#2f8a57", "#2866b0", "#7a4a94", "#8a5a3c"];
export const INK_NAMES = ["Black", "Red", "Orange", "Yellow", "Green", "Blue", "Purple", "Brown"];
export const ERASER = INK_COLOURS.length;
export const LINE_WIDTHS = [6, 14, 32];
export const LINE_NAMES = ["Thin", "Medium", "Thick"];

const MAX_NUMBERS = 40_000;
const MAX_STROKES = 1_500;
/** Points that are closer than this are not worth sending. */
const STEP = 7;
/** Pieces that are drawn one by one look rough where they meet: a while later all is drawn anew. */
const POLISH_MS = 120;

export class Board {
  pen = { ink: 0, size: 1 };
  /** By key, in the order of drawing. */
  #strokes = new Map();
  #numbers = 0;
  /** Keys of the strokes that grew since `expectReplay`. */
  #fresh = new Set();
  #canvas;
  #paint;
  #enabled = false;
  #drawing = null;
  #pending = [];
  #polish;

  constructor(canvas) {
    this.#canvas = canvas;
    this.#paint = canvas.getContext("2d");
    new ResizeObserver(() => this.#resize()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(end, (event) => this.#up(event));
    }
  }

  get empty() {
    return this.#strokes.size === 0;
  }

  enable(enabled) {
    this.#enabled = enabled;
    this.#canvas.classList.toggle("mine", enabled);
    if (!enabled) this.#drawing = null;
  }

  /** Takes the pieces of own lines that nobody has been told yet. */
  takePending() {
    const pieces = this.#pending;
    this.#pending = [];
    return pieces;
  }

  /** Adds a piece of a line, own or received. */
  extend({ key, ink, size, points }) {
    let stroke = this.#strokes.get(key);
    if (!stroke) {
      stroke = { key, ink, size, points: [] };
      this.#strokes.set(key, stroke);
    }
    const from = stroke.points.length;
    const room = LIMITS.stroke - from;
    for (const number of points.slice(0, room)) stroke.points.push(number);
    this.#numbers += stroke.points.length - from;
    this.#fresh.add(key);
    if (this.#trim()) {
      this.#redraw();
      return;
    }
    this.#draw(stroke, from);
    clearTimeout(this.#polish);
    this.#polish = setTimeout(() => this.#redraw(), POLISH_MS);
  }

  clear() {
    this.#strokes.clear();
    this.#fresh.clear();
    this.#pending = [];
    this.#numbers = 0;
    this.#drawing = null;
    this.#redraw();
  }

  /** From now on strokes are news; a replay will replace the older ones. */
  expectReplay() {
    this.#fresh.clear();
  }

  /** A replay begins: only the news stays. */
  beginReplay() {
    for (const key of this.#strokes.keys()) {
      if (!this.#fresh.has(key)) this.#strokes.delete(key);
    }
    this.#recount();
  }

  /** A part of a replay: older than the news, but a stroke in both is taken where it is longer. */
  replay(strokes) {
    const merged = new Map();
    for (const [key, stroke] of this.#strokes) {
      if (!this.#fresh.has(key)) merged.set(key, stroke);
    }
    for (const stroke of strokes) {
      const known = this.#strokes.get(stroke.key);
      const longer = known && known.points.length > stroke.points.length ? known : stroke;
      merged.set(stroke.key, { ...longer, points: [...longer.points] });
    }
    for (const [key, stroke] of this.#strokes) {
      if (!merged.has(key)) merged.set(key, stroke);
    }
    this.#strokes = merged;
    this.#recount();
  }

  /** The strokes in portions that fit a message. */
  *portions() {
    let portion = [];
    let numbers = 0;
    for (const stroke of this.#strokes.values()) {
      const full = numbers + stroke.points.length > LIMITS.replay;
      if (portion.length && (full || portion.length === LIMITS.strokesPerReplay)) {
        yield portion;
        [portion, numbers] = [[], 0];
      }
      portion.push(stroke);
      numbers += stroke.points.length;
    }
    if (portion.length) yield portion;
  }

  #recount() {
    this.#numbers = 0;
    for (const stroke of this.#strokes.values()) this.#numbers += stroke.points.length;
    this.#trim();
    this.#redraw();
  }

  /** Forgets the oldest strokes, a tenth at once, when there are too many. */
  #trim() {
    if (this.#numbers <= MAX_NUMBERS && this.#strokes.size <= MAX_STROKES) return false;
    for (const [key, stroke] of this.#strokes) {
      if (this.#numbers <= 0.9 * MAX_NUMBERS && this.#strokes.size <= 0.9 * MAX_STROKES) break;
      this.#strokes.delete(key);
      this.#fresh.delete(key);
      this.#numbers -= stroke.points.length;
    }
    return true;
  }

  #down(event) {
    if (!this.#enabled || !event.isPrimary || event.button !== 0) return;
    event.preventDefault();
    this.#canvas.setPointerCapture(event.pointerId);
    this.#drawing = { pointer: event.pointerId, key: randomKey(), ...this.pen, points: [] };
    this.#line([event]);
  }

  #move(event) {
    if (this.#drawing?.pointer !== event.pointerId) return;
    const all = event.getCoalescedEvents?.() ?? [];
    this.#line(all.length ? all : [event]);
  }

  #up(event) {
    if (this.#drawing?.pointer === event.pointerId) this.#drawing = null;
  }

  #line(events) {
    const drawing = this.#drawing;
    const box = this.#canvas.getBoundingClientRect();
    const added = [];
    for (const event of events) {
      const x = within(((event.clientX - box.left) / box.width) * WIDTH, WIDTH);
      const y = within(((event.clientY - box.top) / box.height) * HEIGHT, HEIGHT);
      const [lastX, lastY] = drawing.points.slice(-2);
      if (lastX !== undefined && Math.hypot(x - lastX, y - lastY) < STEP) continue;
      drawing.points.push(x, y);
      added.push(x, y);
    }
    if (!added.length) return;
    const piece = { key: drawing.key, ink: drawing.ink, size: drawing.size, points: added };
    this.extend(piece);
    const last = this.#pending.at(-1);
    if (last?.key === piece.key) last.points.push(...added);
    else this.#pending.push({ ...piece, points: [...added] });
    if (drawing.points.length > LIMITS.stroke - 600) {
      const end = drawing.points.slice(-2);
      this.#drawing = { ...drawing, key: randomKey(), points: end };
      const joint = { ...piece, key: this.#drawing.key, points: end };
      this.extend(joint);
      this.#pending.push({ ...joint, points: [...end] });
    }
  }

  #resize() {
    const scale = Math.min(devicePixelRatio || 1, 2);
    const width = Math.round(this.#canvas.clientWidth * scale);
    const height = Math.round(this.#canvas.clientHeight * scale);
    if (!width || !height) return;
    if (this.#canvas.width === width && this.#canvas.height === height) return;
    this.#canvas.width = width;
    this.#canvas.height = height;
    this.#redraw();
  }

  #redraw() {
    const { width, height } = this.#canvas;
    this.#paint.setTransform(1, 0, 0, 1, 0, 0);
    this.#paint.clearRect(0, 0, width, height);
    for (const stroke of this.#strokes.values()) this.#draw(stroke, 0);
  }

  /** Draws a stroke from the number at `from` on: curves through the middles between points. */
  #draw({ ink, size, points }, from) {
    const paint = this.#paint;
    const { width, height } = this.#canvas;
    paint.setTransform(width / WIDTH, 0, 0, height / HEIGHT, 0, 0);
    paint.globalCompositeOperation = ink === ERASER ? "destination-out" : "source-over";
    paint.strokeStyle = INK_COLOURS[ink] ?? "#000";
    paint.lineWidth = LINE_WIDTHS[size] * (ink === ERASER ? 2 : 1);
    paint.lineCap = "round";
    paint.lineJoin = "round";
    const middle = (i) => [(points[i - 2] + points[i]) / 2, (points[i - 1] + points[i + 1]) / 2];
    paint.beginPath();
    if (from <= 2) paint.moveTo(points[0], points[1]);
    else paint.moveTo(...middle(from - 2));
    for (let i = Math.max(from, 2); i < points.length; i += 2) {
      paint.quadraticCurveTo(points[i - 2], points[i - 1], ...middle(i));
    }
    paint.lineTo(points.at(-2), points.at(-1));
    paint.stroke();
  }
}

const within = (value, max) => Math.max(0, Math.min(max, Math.round(value)));
