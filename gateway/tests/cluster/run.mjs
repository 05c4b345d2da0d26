// Installs what the suites need and runs them: node run.mjs [suite...]
//
// GATEWAY_BIN names the program, CLUSTER_NODE_BIN the example cluster_node. A suite is a file name without .test.mjs, or the beginning of
// one, and -SUITE leaves it out; without any, all are run. CLUSTER_FULL=1 makes outages and loads as long as they are meant to be.
// INSTALL_ONLY=1 ends before the tests.
import { join, resolve } from "node:path";
import { debianProgram, npmPackages, pythonPackages, redis } from "../../../testkit/js/install.mjs";
import { all, chosen, programs, run } from "../../../testkit/js/suites.mjs";

const FOLDER = import.meta.dirname;
const TEST_TIMEOUT_MS = 300_000;

const suites = chosen(all(FOLDER));
const env = programs(["GATEWAY_BIN", "CLUSTER_NODE_BIN"]);

npmPackages(join(FOLDER, "../clients"), "the JavaScript clients");
npmPackages(FOLDER, "Node's servers and emitters");
if (suites.includes("msgpack")) env.CLIENTS_PYTHON ??= pythonPackages(resolve(FOLDER, "../../../target/clients-venv"), join(FOLDER, "../clients"), "the Python client");
if (suites.includes("otel")) env.COLLECTOR_PYTHON ??= pythonPackages(resolve(FOLDER, "../../../target/collector-venv"), join(FOLDER, "python"), "OpenTelemetry's messages");
redis();
if (suites.includes("admin")) debianProgram(process.env.CHROMIUM ?? "/usr/bin/chromium", "chromium", "Chromium from Debian (or set CHROMIUM to a browser that is there)");
debianProgram("/usr/sbin/nginx", "nginx-light", "nginx from Debian (or install it yourself)");
debianProgram("/usr/sbin/haproxy", "haproxy", "HAProxy from Debian (or install it yourself)");
run(FOLDER, suites, { env, timeout: TEST_TIMEOUT_MS });
