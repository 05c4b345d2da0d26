// Chooses the suites of a folder and runs them.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { fail } from "./install.mjs";

/** Told so, a run only installs what it needs. */
export const INSTALL_ONLY = process.env.INSTALL_ONLY === "1";

/** The names of all suites in `folder`: those of its files, without `.test.mjs`. */
export function all(folder) {
  return readdirSync(folder).filter((name) => name.endsWith(".test.mjs")).map((name) => name.slice(0, -".test.mjs".length));
}

/** Those that the arguments of the program name, or whose names they begin: `-NAME` leaves some out. */
export function chosen(suites) {
  // A whole name is that suite alone, though another may begin with it.
  const named = (name) => (suites.includes(name) ? [name] : suites.filter((suite) => suite.startsWith(name)));
  const given = process.argv.slice(2);
  for (const name of given) {
    if (named(name.replace(/^-/, "")).length === 0) fail(`there is no suite ${name}; there are ${suites.join(", ")}`);
  }
  const without = given.filter((name) => name.startsWith("-")).flatMap((name) => named(name.slice(1)));
  const wanted = given.filter((name) => !name.startsWith("-")).flatMap(named);
  return suites.filter((suite) => (wanted.length === 0 || wanted.includes(suite)) && !without.includes(suite));
}

/** The environment with the whole paths of programs under test, or a failure that names the variable. */
export function programs(names) {
  const env = { ...process.env };
  if (INSTALL_ONLY) return env;
  for (const name of new Set(names)) {
    if (!env[name]) fail(`${name} is not set; it names a program under test`);
    env[name] = resolve(env[name]);
    if (!existsSync(env[name])) fail(`${name}: there is no ${env[name]}`);
  }
  return env;
}

/** Runs suites one after the other, and ends with their status. A whole file counts as one test as well, and has as long as one. */
export function run(folder, suites, { env, timeout }) {
  if (INSTALL_ONLY) process.exit(0);
  const reporter = process.env.TEST_REPORTER ?? "spec";
  const args = ["--test", "--test-concurrency=1", `--test-timeout=${timeout}`, `--test-reporter=${reporter}`];
  const { status } = spawnSync(process.execPath, [...args, ...suites.map((suite) => join(folder, `${suite}.test.mjs`))], { cwd: folder, env, stdio: "inherit" });
  process.exit(status ?? 1);
}
