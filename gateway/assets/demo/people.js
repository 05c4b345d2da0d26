// Who is in the room. Nobody keeps a list: every page says hello now and then, and is forgotten
// when it has been silent for long.

export const HELLO_EVERY_MS = 20_000;
/** Hidden tabs run their timers once a minute. */
const SILENT_MS = 100_000;
const MAX_PEOPLE = 50;

export class People {
  #others = new Map();

  constructor(me) {
    this.me = me;
  }

  /** Whether anything changed, and whether this one is new. */
  seen({ id, name, score }) {
    if (id === this.me.id) return { changed: false, isNew: false };
    const known = this.#others.get(id);
    if (!known && this.#others.size >= MAX_PEOPLE) return { changed: false, isNew: false };
    this.#others.set(id, { id, name, score, at: Date.now() });
    return { changed: known?.name !== name || known?.score !== score, isNew: !known };
  }

  find(id) {
    return id === this.me.id ? this.me : this.#others.get(id);
  }

  award(id, points) {
    const person = this.find(id);
    if (person) person.score = Math.min(9999, person.score + points);
  }

  drop(id) {
    const person = this.#others.get(id);
    this.#others.delete(id);
    return person;
  }

  /** Forgets who has been silent, and says who. */
  expire() {
    const before = Date.now() - SILENT_MS;
    const gone = [...this.#others.values()].filter((person) => person.at < before);
    for (const { id } of gone) this.#others.delete(id);
    return gone;
  }

  clear() {
    this.#others.clear();
  }

  ranked() {
    const order = (a, b) => b.score - a.score || a.name.localeCompare(b.name) || (a.id < b.id ? -1 : 1);
    return [this.me, ...this.#others.values()].sort(order);
  }
}
