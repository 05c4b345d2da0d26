// Installs what the examples need and runs their tests: node run.mjs [suite...]
//
// GATEWAY_BIN names the program. A suite is a file of tests/ without .test.mjs; without any, all are run.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { debianPackage, fail, npmPackages, once } from "../../gateway/tests/clients/lib/install.mjs";

const FOLDER = import.meta.dirname;
const VENV = resolve(FOLDER, "../../target/examples-venv");
const PYTHON = process.env.EXAMPLES_PYTHON ?? join(VENV, "bin/python");
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const REDIS_SERVER = process.env.REDIS_SERVER ?? "redis-server";
const TEST_TIMEOUT_MS = 240_000;

const bin = process.env.GATEWAY_BIN && resolve(process.env.GATEWAY_BIN);
if (!bin || !existsSync(bin)) fail("examples: GATEWAY_BIN names no program; build one with cargo build -p gateway");

const all = readdirSync(join(FOLDER, "tests")).filter((name) => name.endsWith(".test.mjs")).map((name) => name.slice(0, -".test.mjs".length));
const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !all.includes(name));
if (unknown) fail(`examples: there is no suite ${unknown}; there are ${all.join(", ")}`);

npmPackages(FOLDER, "the examples' libraries");
if (!process.env.EXAMPLES_PYTHON) {
  once(join(VENV, ".installed"), join(FOLDER, "requirements.txt"), "the examples' libraries from PyPI (it needs python3 with venv)", () => {
    execFileSync("python3", ["-m", "venv", VENV], { stdio: "inherit" });
    execFileSync(PYTHON, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", join(FOLDER, "requirements.txt")], { stdio: "inherit" });
  });
}
if (!existsSync(CHROMIUM)) debianPackage("chromium", "Chromium from Debian (or set CHROMIUM to a browser that is there)");
if (spawnSync(REDIS_SERVER, ["--version"]).status !== 0) debianPackage("redis-server", "Redis from Debian (or set REDIS_SERVER to a program that is there)");

const files = (wanted.length === 0 ? all : wanted).map((name) => join("tests", `${name}.test.mjs`));
const reporter = process.env.TEST_REPORTER ?? "spec";
const { status } = spawnSync(process.execPath, ["--test", "--test-concurrency=1", `--test-timeout=${TEST_TIMEOUT_MS}`, `--test-reporter=${reporter}`, ...files], {
  cwd: FOLDER,
  env: { ...process.env, GATEWAY_BIN: bin, EXAMPLES_PYTHON: PYTHON, CHROMIUM, REDIS_SERVER },
  stdio: "inherit",
});
process.exit(status ?? 1);
