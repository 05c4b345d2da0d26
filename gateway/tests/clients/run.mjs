// Installs what the suites need and runs them: node run.mjs [suite...]
//
// GATEWAY_BIN, CONFORMANCE_BIN and CLIENT_SUITE_BIN name the programs under test; REFERENCE=1 takes the Node servers in their place.
// A suite is a file name without .test.mjs, or the beginning of one; without any, all are run.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { debianPackage, fail, npmPackages, once } from "./lib/install.mjs";

const FOLDER = import.meta.dirname;
const VENV = resolve(FOLDER, "../../../target/clients-venv");
const PYTHON = process.env.CLIENTS_PYTHON ?? join(VENV, "bin/python");
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
/** A whole file counts as one test as well. */
const TEST_TIMEOUT_MS = 180_000;

/** What a suite runs against. */
const PROGRAMS = {
  wire_requests: ["CONFORMANCE_BIN"],
  wire_polling: ["CONFORMANCE_BIN"],
  wire_websocket: ["CONFORMANCE_BIN"],
  wire_upgrade: ["CONFORMANCE_BIN", "GATEWAY_BIN"],
  wire_socketio: ["CONFORMANCE_BIN"],
  wire_cors: ["GATEWAY_BIN"],
  races: ["CONFORMANCE_BIN"],
  timers: ["CONFORMANCE_BIN"],
  relay_clients: ["GATEWAY_BIN"],
  relay_calls: ["GATEWAY_BIN"],
  relay_server: ["GATEWAY_BIN"],
  client_suite: ["CLIENT_SUITE_BIN"],
  python: ["GATEWAY_BIN"],
  browser: ["GATEWAY_BIN"],
  hostile: ["GATEWAY_BIN", "CONFORMANCE_BIN"],
  slow_reader: ["GATEWAY_BIN"],
  bursts: ["GATEWAY_BIN"],
  heartbeats: ["GATEWAY_BIN"],
  drain: ["GATEWAY_BIN"],
  tls: ["GATEWAY_BIN"],
};

const reference = process.env.REFERENCE === "1";
const suites = chosen(process.argv.slice(2));
const env = { ...process.env, CLIENTS_PYTHON: PYTHON, CHROMIUM };
for (const name of new Set(suites.flatMap((suite) => PROGRAMS[suite]))) {
  if (reference) continue;
  if (!env[name]) fail(`${name} is not set; it names the program that these suites run against: ${suites.filter((suite) => PROGRAMS[suite].includes(name)).join(", ")}`);
  env[name] = resolve(env[name]);
  if (!existsSync(env[name])) fail(`${name}: there is no ${env[name]}`);
}

npmPackages(FOLDER, "the JavaScript clients");
if (suites.includes("python")) installPython();
if (suites.includes("browser")) installChromium();

const files = suites.map((suite) => `${suite}.test.mjs`);
const { status } = spawnSync(
  process.execPath,
  // One file after the other: the suites that measure time want the machine for themselves.
  ["--test", "--test-concurrency=1", `--test-timeout=${TEST_TIMEOUT_MS}`, `--test-reporter=${process.stdout.isTTY ? "spec" : (process.env.TEST_REPORTER ?? "spec")}`, ...files],
  { cwd: FOLDER, env, stdio: "inherit" },
);
process.exit(status ?? 1);

function chosen(wanted) {
  const unlisted = readdirSync(FOLDER).filter((name) => name.endsWith(".test.mjs") && !PROGRAMS[name.slice(0, -".test.mjs".length)]);
  if (unlisted.length > 0) fail(`run.mjs does not know ${unlisted.join(", ")}`);
  const all = Object.keys(PROGRAMS);
  const unknown = wanted.find((name) => !all.some((suite) => suite.startsWith(name)));
  if (unknown) fail(`there is no suite ${unknown}; there are ${all.join(", ")}`);
  return wanted.length === 0 ? all : all.filter((suite) => wanted.some((name) => suite.startsWith(name)));
}

function installPython() {
  if (process.env.CLIENTS_PYTHON) return;
  once(join(VENV, ".installed"), join(FOLDER, "requirements.txt"), "the Python client from PyPI (it needs python3 with venv)", () => {
    execFileSync("python3", ["-m", "venv", VENV], { stdio: "inherit" });
    execFileSync(PYTHON, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", join(FOLDER, "requirements.txt")], { stdio: "inherit" });
  });
}

function installChromium() {
  if (existsSync(CHROMIUM)) return;
  debianPackage("chromium", "Chromium from Debian (or set CHROMIUM to a browser that is there)");
  if (!existsSync(CHROMIUM)) fail(`Chromium was installed, but not as ${CHROMIUM}; set CHROMIUM to where it is`);
}
