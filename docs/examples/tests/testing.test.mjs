// The examples for mocha, jest and tape, run as a user would.
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { EXAMPLES } from "./lib/programs.mjs";

const run = promisify(execFile);
const options = { cwd: EXAMPLES, timeout: 200_000 };

for (const [name, args, env] of [
  ["mocha", ["node_modules/mocha/bin/mocha.js", "testing/chat.mocha.mjs"], {}],
  ["jest", ["--experimental-vm-modules", "node_modules/jest/bin/jest.js", "--config", "testing/jest.config.json"], {}],
  ["tape", ["testing/chat.tape.mjs"], {}],
]) {
  // A run that fails ends with another status than 0, which rejects.
  test(name, async () => void (await run(process.execPath, args, { ...options, env: { ...process.env, ...env, NODE_TEST_CONTEXT: undefined } })));
}
