// Waiting for what can be observed.
import { setTimeout as delay } from "node:timers/promises";

const PATIENCE_MS = 30_000;

/** What `condition` returns as soon as that is true; fails after half a minute. */
export async function until(what, condition, milliseconds = PATIENCE_MS) {
  const deadline = performance.now() + milliseconds;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`not within ${milliseconds} ms: ${what}`);
    await delay(10);
  }
}
