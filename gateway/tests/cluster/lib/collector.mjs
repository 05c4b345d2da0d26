// A collector of spans, which reads them by OpenTelemetry's own library for Python.
import { readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../../../testkit/js/ports.mjs";
import { Program } from "../../../../testkit/js/program.mjs";
import { until } from "../../../../testkit/js/wait.mjs";

const PROGRAM = join(import.meta.dirname, "../python/collector.py");
/** A node sends its spans every second. */
const SENT_WITHIN_MS = 30_000;

export class Collector {
  #program;
  #file;

  static async start() {
    const collector = new Collector();
    const port = await freePort();
    collector.url = `http://127.0.0.1:${port}`;
    collector.#file = join(tmpdir(), `gateway-collector-${process.pid}-${port}`);
    collector.#program = await Program.listening(port, process.env.COLLECTOR_PYTHON, [PROGRAM, `${port}`, collector.#file]);
    return collector;
  }

  /** All spans so far, without a last line that is not whole yet. */
  spans() {
    const text = readFileSync(this.#file, "utf8");
    return text.slice(0, text.lastIndexOf("\n") + 1).split("\n").filter(Boolean).map((line) => JSON.parse(line));
  }

  /** Those of a trace. */
  of(trace) {
    return this.spans().filter((span) => span.trace === trace);
  }

  /** Waits until a trace has so many spans of a name. */
  async has(trace, name, count) {
    const found = () => this.of(trace).filter((span) => span.name === name);
    await until(`${count} spans ${name}`, () => found().length >= count, SENT_WITHIN_MS);
    return found();
  }

  async stop() {
    await this.#program.kill();
    rmSync(this.#file, { force: true });
  }
}
