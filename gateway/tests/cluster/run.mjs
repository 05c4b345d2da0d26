// Installs what the suites need and runs them: node run.mjs [suite...]
//
// GATEWAY_BIN names the program, CLUSTER_NODE_BIN the example cluster_node. A suite is a file name without .test.mjs, or the beginning of
// one; without any, all are run. CLUSTER_FULL=1 makes outages and loads as long as they are meant to be.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { debianPackage, fail, npmPackages, redis } from "../clients/lib/install.mjs";

const FOLDER = import.meta.dirname;
/** A whole file counts as one test as well. */
const TEST_TIMEOUT_MS = 300_000;

/** A program, the Debian package that has it, and how to see that it is there. */
const PROGRAMS = [
  ["/usr/sbin/nginx", "nginx-light", "-v"],
  ["/usr/sbin/haproxy", "haproxy", "-v"],
];

const all = readdirSync(FOLDER).filter((name) => name.endsWith(".test.mjs"));
const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !all.some((suite) => suite.startsWith(name)));
if (unknown) fail(`there is no suite ${unknown}; there are ${all.join(", ")}`);
const suites = wanted.length === 0 ? all : all.filter((suite) => wanted.some((name) => suite.startsWith(name)));

const env = { ...process.env };
for (const name of ["GATEWAY_BIN", "CLUSTER_NODE_BIN"]) {
  if (!env[name]) fail(`${name} is not set; it names a program that these suites run`);
  env[name] = resolve(env[name]);
  if (!existsSync(env[name])) fail(`${name}: there is no ${env[name]}`);
}

npmPackages(join(FOLDER, "../clients"), "the JavaScript clients");
npmPackages(FOLDER, "Node's servers and emitters");
redis();
for (const [program, debian, version] of PROGRAMS) {
  const isThere = () => spawnSync(program, [version]).status === 0;
  if (isThere()) continue;
  debianPackage(debian, `${program} from Debian (or install it yourself)`);
  if (!isThere()) fail(`${debian} was installed, but ${program} cannot be run`);
}

const { status } = spawnSync(
  process.execPath,
  ["--test", "--test-concurrency=1", `--test-timeout=${TEST_TIMEOUT_MS}`, `--test-reporter=${process.env.TEST_REPORTER ?? "spec"}`, ...suites],
  { cwd: FOLDER, env, stdio: "inherit" },
);
process.exit(status ?? 1);
