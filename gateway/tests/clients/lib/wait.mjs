// Waiting with an end: nothing in these suites may hang.

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
