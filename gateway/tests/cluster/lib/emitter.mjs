// A redis-emitter in a process of its own.
import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

export class EmitterProcess {
  static async start(library, url) {
    // "advanced" lets binary through.
    const child = fork(join(import.meta.dirname, "emitter_process.mjs"), [library, url], { serialization: "advanced" });
    await once(child, "message");
    return new EmitterProcess(child);
  }

  #child;

  constructor(child) {
    this.#child = child;
  }

  /** Calls a method of the emitter, for those whom `whom` names. */
  call(method, whom, ...args) {
    this.#child.send({ method, whom, args });
  }

  emit(whom, ...args) {
    this.call("emit", whom, ...args);
  }

  async stop() {
    const ended = once(this.#child, "exit");
    this.#child.disconnect();
    await ended;
  }
}
