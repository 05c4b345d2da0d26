// Waiting with an end: no test may hang.
import { setTimeout as delay } from "node:timers/promises";

/** How long something may take that is expected to happen: much longer than it does on a machine that is busy with other things. */
const PATIENCE_MS = 60_000;
const LOOK_AGAIN_MS = 10;

/** The result of `promise`, or a failure that says what did not happen. */
export async function within(milliseconds, promise, what) {
  let timer;
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${milliseconds} ms: ${what}`)), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Looks until `condition` returns something true, and returns that. */
export async function until(what, condition, milliseconds = PATIENCE_MS) {
  const deadline = performance.now() + milliseconds;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`not within ${milliseconds} ms: ${what}`);
    await delay(LOOK_AGAIN_MS);
  }
}

/** A queue that is filled by a peer's events and emptied by a test. */
export class Inbox {
  #items = [];
  #waiting = [];

  push(item) {
    const waiter = this.#waiting.shift();
    if (waiter) waiter(item);
    else this.#items.push(item);
  }

  /** How many items nobody has taken yet. */
  get size() {
    return this.#items.length;
  }

  /** The oldest item, as soon as there is one. */
  next(milliseconds = 5_000, what = "a message") {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    let waiter;
    const item = new Promise((resolve) => {
      waiter = resolve;
      this.#waiting.push(waiter);
    });
    return within(milliseconds, item, what).catch((error) => {
      this.#waiting = this.#waiting.filter((other) => other !== waiter);
      throw error;
    });
  }

  /** The oldest `count` items. */
  async take(count, milliseconds = 5_000) {
    const taken = [];
    while (taken.length < count) taken.push(await this.next(milliseconds, `message ${taken.length + 1} of ${count}`));
    return taken;
  }
}
