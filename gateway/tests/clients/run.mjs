// Installs what the suites need and runs them: node run.mjs [suite...]
//
// GATEWAY_BIN, CONFORMANCE_BIN and CLIENT_SUITE_BIN name the programs under test; REFERENCE=1 takes the Node servers in their place.
// A suite is a file name without .test.mjs, or the beginning of one, and -SUITE leaves it out; without any, all are run.
// INSTALL_ONLY=1 ends before the tests.
import { join, resolve } from "node:path";
import { debianProgram, fail, npmPackages, pythonPackages, rustProgram } from "../../../testkit/js/install.mjs";
import { all, chosen, programs, run } from "../../../testkit/js/suites.mjs";

const FOLDER = import.meta.dirname;
const VENV = resolve(FOLDER, "../../../target/clients-venv");
const OLD_VENV = resolve(FOLDER, "../../../target/clients-old-venv");
const RUST = resolve(FOLDER, "../../../target/clients-rust");
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
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
  old_clients: ["GATEWAY_BIN"],
  wire_old: ["GATEWAY_BIN"],
  msgpack: ["GATEWAY_BIN"],
  relay_calls: ["GATEWAY_BIN"],
  relay_server: ["GATEWAY_BIN"],
  client_suite: ["CLIENT_SUITE_BIN"],
  python: ["GATEWAY_BIN"],
  comebacks: ["GATEWAY_BIN"],
  browser: ["GATEWAY_BIN"],
  hostile: ["GATEWAY_BIN", "CONFORMANCE_BIN"],
  slow_reader: ["GATEWAY_BIN"],
  bursts: ["GATEWAY_BIN"],
  heartbeats: ["GATEWAY_BIN"],
  drain: ["GATEWAY_BIN"],
  recovery: ["GATEWAY_BIN"],
  history: ["GATEWAY_BIN"],
  tls: ["GATEWAY_BIN"],
  webtransport: ["GATEWAY_BIN"],
};

const unlisted = all(FOLDER).filter((suite) => !PROGRAMS[suite]);
if (unlisted.length > 0) fail(`run.mjs does not know ${unlisted.join(", ")}`);
const suites = chosen(Object.keys(PROGRAMS));
const env = programs(process.env.REFERENCE === "1" ? [] : suites.flatMap((suite) => PROGRAMS[suite]));

npmPackages(FOLDER, "the JavaScript clients");
if (["python", "comebacks"].some((suite) => suites.includes(suite))) {
  env.CLIENTS_PYTHON ??= pythonPackages(VENV, FOLDER, "the Python client");
  env.CLIENTS_OLD_PYTHON ??= pythonPackages(OLD_VENV, join(FOLDER, "python/old"), "the old Python client");
}
if (suites.includes("comebacks")) env.CLIENTS_RUST ??= rustProgram(RUST, join(FOLDER, "rust"), "comeback", "the Rust client");
if (["browser", "webtransport"].some((suite) => suites.includes(suite))) {
  debianProgram(CHROMIUM, "chromium", "Chromium from Debian (or set CHROMIUM to a browser that is there)");
  env.CHROMIUM = CHROMIUM;
}
run(FOLDER, suites, { env, timeout: TEST_TIMEOUT_MS });
