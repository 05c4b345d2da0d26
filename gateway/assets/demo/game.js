// The rounds. The word never leaves the drawer's page before somebody has guessed it or the time
// is up; the drawer's page judges the guesses and announces the result.

import { ROUND_MS, randomKey } from "./wire.js";
import { pickWord, maskOf, isHit, isNear } from "./words.js";

const WINNER_POINTS = 2;
const DRAWER_POINTS = 1;
/** How long after the end the others wait for a drawer who does not announce it. */
const GRACE_MS = 4_000;
/** Two rounds that began within this time began at once. */
const AT_ONCE_MS = 3_000;

export class Game {
  #me;
  #people;
  #send;
  #on;
  #round = null;
  #lastWord = "";
  #lastNear = new Map();

  /** `send(event, body)`; `on`: begun(round), ended(), told(text), changed(). */
  constructor(people, send, on) {
    this.#me = people.me;
    this.#people = people;
    this.#send = send;
    this.#on = on;
  }

  /** `{key, drawer, drawerName, mask, endsAt}`, in the drawer's page also `word`; or null. */
  get round() {
    return this.#round;
  }

  get isDrawer() {
    return this.#round?.drawer === this.#me.id;
  }

  /** Whether this one may draw and clear now. */
  mayDraw(id) {
    return !this.#round || this.#round.drawer === id;
  }

  start() {
    if (this.#round) return;
    const word = pickWord(this.#lastWord);
    this.#adopt({ key: randomKey(), drawer: this.#me.id, drawerName: this.#me.name, mask: maskOf(word), left: ROUND_MS }, word);
    this.#announce();
  }

  /** Another word for the same round; the clock starts again. */
  reroll() {
    if (!this.isDrawer) return;
    const word = pickWord(this.#round.word);
    this.#round.word = word;
    this.#round.mask = maskOf(word);
    this.#lastWord = word;
    this.#announce();
    this.#on.changed();
  }

  giveUp() {
    if (this.isDrawer) this.#finish("You gave up");
  }

  /** The round as others may know it. */
  shared() {
    if (!this.#round) return null;
    const { key, drawer, drawerName, mask, endsAt } = this.#round;
    const left = Math.max(0, Math.min(ROUND_MS, Math.round(endsAt - Date.now())));
    return { key, drawer, drawerName, mask, left };
  }

  /** To be called about once a second. */
  tick() {
    if (!this.#round) return;
    const over = Date.now() - this.#round.endsAt;
    if (this.isDrawer && over >= 0) this.#finish("Time is up");
    else if (over > GRACE_MS) this.#end("The round is over: the drawer went silent.");
  }

  /** Back in the room after a lost connection. */
  resume() {
    if (this.isDrawer) this.#announce();
  }

  reset() {
    this.#round = null;
    this.#lastNear.clear();
  }

  handleGuess(from, text) {
    if (!this.isDrawer || from.id === this.#me.id) return;
    const { key, word } = this.#round;
    if (isHit(text, word)) {
      this.#send("hit", { round: key, winner: from, word });
      this.#score(from, word);
    } else if (isNear(text, word) && Date.now() - (this.#lastNear.get(from.id) ?? 0) > 1_000) {
      this.#lastNear.set(from.id, Date.now());
      this.#send("near", { to: from.id, round: key });
    }
  }

  handleRound(from, round) {
    if (round.drawer !== from.id) return;
    if (this.#round && this.#round.key !== round.key && this.#outranks(round)) {
      if (this.isDrawer) this.#announce();
      return;
    }
    this.#adopt(round);
  }

  /** What a newcomer is told; it may come from anyone. */
  handleState(round) {
    if (this.isDrawer) return;
    if (round && round.drawer !== this.#me.id) this.#adopt(round);
    else if (!round && this.#round) this.#end("The round is over.");
  }

  handleNear({ to, round }) {
    if (round === this.#round?.key && to === this.#me.id) this.#on.told("Close! Try again.");
  }

  handleHit(from, { round, winner, word }) {
    if (round === this.#round?.key && from.id === this.#round.drawer) this.#score(winner, word);
  }

  handleOver(from, { round, word }) {
    if (round !== this.#round?.key || from.id !== this.#round.drawer) return;
    this.#end(`Nobody guessed it: ${from.name} drew “${word}”.`);
  }

  handleGone(id) {
    if (this.#round?.drawer === id) this.#end(`${this.#round.drawerName} left, so the round is over.`);
  }

  #announce() {
    this.#send("round", { round: this.shared() });
  }

  #adopt({ left, ...round }, word) {
    const known = this.#round?.key === round.key;
    this.#round = { ...round, endsAt: Date.now() + left };
    if (word) {
      this.#round.word = word;
      this.#lastWord = word;
    }
    this.#lastNear.clear();
    if (known) this.#on.changed();
    else this.#on.begun(this.#round);
  }

  /** Whether the round that runs here stands against another one: the older, else the smaller. */
  #outranks({ drawer, left }) {
    const mine = this.shared();
    if (Math.abs(mine.left - left) > AT_ONCE_MS) return mine.left < left;
    return mine.drawer < drawer;
  }

  #score(winner, word) {
    const { drawer, drawerName } = this.#round;
    const isMe = winner.id === this.#me.id;
    this.#people.seen(winner);
    this.#people.award(winner.id, WINNER_POINTS);
    this.#people.award(drawer, DRAWER_POINTS);
    this.#end(
      `${isMe ? "You" : winner.name} guessed “${word}” (+${WINNER_POINTS}), ` +
        `+${DRAWER_POINTS} for ${this.#me.id === drawer ? "you" : drawerName}.`,
      "hit",
    );
  }

  #finish(why) {
    const { key, word } = this.#round;
    this.#send("over", { round: key, word });
    this.#end(`${why}: it was “${word}”.`);
  }

  #end(text, kind) {
    this.#round = null;
    this.#on.told(text, kind);
    this.#on.ended();
  }
}
