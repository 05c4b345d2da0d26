// Installs what the examples need and runs their tests: node run.mjs [suite...]
//
// GATEWAY_BIN names the program, EXAMPLES_BIN the folder of the library's examples. A suite is a file of tests/ without .test.mjs, or the beginning of one, and -SUITE leaves it out; without
// any, all are run. INSTALL_ONLY=1 ends before the tests.
import { join, resolve } from "node:path";
import { debianProgram, npmPackages, pythonPackages, redis } from "../../testkit/js/install.mjs";
import { all, chosen, programs, run } from "../../testkit/js/suites.mjs";

const FOLDER = import.meta.dirname;
const VENV = resolve(FOLDER, "../../target/examples-venv");
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const PHP = "/usr/bin/php";
const TEST_TIMEOUT_MS = 480_000;

const suites = chosen(all(join(FOLDER, "tests")));
const env = programs(["GATEWAY_BIN", "EXAMPLES_BIN"]);

npmPackages(FOLDER, "the libraries of the examples' tests");
for (const example of ["vue-chat", "node-webhook", "draw-and-guess", "redis-emitter"]) npmPackages(join(FOLDER, example), `the libraries of ${example}`);
env.EXAMPLES_PYTHON ??= pythonPackages(VENV, FOLDER, "the examples' libraries");
debianProgram(CHROMIUM, "chromium", "Chromium from Debian (or set CHROMIUM to a browser that is there)");
env.CHROMIUM = CHROMIUM;
debianProgram(PHP, "php-cli", "PHP from Debian");
redis();
run(join(FOLDER, "tests"), suites, { env, timeout: TEST_TIMEOUT_MS });
