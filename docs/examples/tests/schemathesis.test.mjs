// The OpenAPI file against two live nodes, by schemathesis: no 5xx, nothing that the file does not say.
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { startCluster } from "./lib/programs.mjs";

const KEY = "a-key-of-the-examples";
const EXAMPLES_PER_CALL = process.env.SCHEMATHESIS_EXAMPLES ?? "25";
const CHECKS = [
  "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
  "response_schema_conformance", "negative_data_rejection", "positive_data_acceptance", "missing_required_header", "unsupported_method", "ignored_auth",
];
/**
 * What is wrong with one call of a batch is told in its place among the results, whose status is 200.
 * A trace answers until its time is over, so its time is short here. That it is of exactly one thing is more than
 * OpenAPI can say of parameters.
 */
const SPECIAL_CALLS = `[[operations]]
include-path = "/api/v1/batch"
checks.negative_data_rejection.expected-statuses = [200, "4xx"]

[[operations]]
include-path = "/api/v1/trace"
parameters = { "query.for" = "20ms" }
checks.positive_data_acceptance.expected-statuses = [200, 400]
`;
const folder = mkdtempSync(join(tmpdir(), "examples-schemathesis-"));
let cluster;

before(async () => (cluster = await startCluster({ GATEWAY_API_KEY: KEY })));
after(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test("every call keeps to its description", async () => {
  const [one, two] = cluster.nodes;
  for (const node of [one, two]) await node.connect().emitWithAck("join", "lobby");
  const config = join(folder, "schemathesis.toml");
  writeFileSync(config, SPECIAL_CALLS);
  const args = [
    "--config-file", config, "run", `${one.internal}/api/v1/openapi.json`, "--url", one.internal,
    "--header", `Authorization: Bearer ${KEY}`, "--checks", CHECKS.join(","), "--phases", "examples,coverage,fuzzing",
    "--max-examples", EXAMPLES_PER_CALL, "--seed", "1", "--generation-database", "none", "--request-timeout", "60", "--no-color",
  ];
  const program = join(dirname(process.env.EXAMPLES_PYTHON), "schemathesis");
  try {
    const { stdout } = await promisify(execFile)(program, args, { cwd: folder, maxBuffer: 1 << 26, timeout: 220_000 });
    console.log(stdout.split("\n").slice(-40).join("\n"));
  } catch (error) {
    throw new Error(`schemathesis: ${error.stdout?.slice(-20_000)}\n${error.stderr?.slice(-2000)}`);
  }
});
