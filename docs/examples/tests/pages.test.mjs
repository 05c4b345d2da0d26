// Every command of the pages is run as it stands there; lib/page.mjs says how a page is read, lib/reader.mjs by whom.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, test } from "node:test";
import { missing, missingText, steps } from "./lib/page.mjs";
import { EXAMPLES } from "./lib/programs.mjs";
import { Reader } from "./lib/reader.mjs";

const ROOT = resolve(EXAMPLES, "../..");
const folders = readdirSync(EXAMPLES).filter((name) => existsSync(join(EXAMPLES, name, "README.md")));
const PAGES = [
  join(ROOT, "README.md"),
  join(ROOT, "docs/getting-started.md"),
  ...["cookbook", "tokens", "api"].map((name) => join(ROOT, `docs/${name}.md`)),
  join(EXAMPLES, "README.md"),
  ...folders.map((name) => join(EXAMPLES, name, "README.md")),
];
/** Pages mostly wait: for registries, for servers that start and stop. */
const AT_A_TIME = 3;

describe("the pages", { concurrency: AT_A_TIME }, () => {
  for (const page of PAGES) {
    const name = relative(ROOT, page);
    test(name, async (t) => {
      const folder = dirname(page);
      const reader = await Reader.start(folders.some((it) => folder === join(EXAMPLES, it)) ? folder : undefined);
      try {
        await reader.read(readFileSync(page, "utf8"));
      } catch (error) {
        throw new Error(`${name}, ${error.message}`);
      } finally {
        await reader.stop();
      }
      t.diagnostic(`${name}: ${reader.done} commands and programs run`);
      for (const command of reader.leftOut) t.diagnostic(`${name}: not run: ${command}`);
    });
  }
});

test("an example without a page, or a page without commands, is none", () => {
  const NO_EXAMPLES = ["node_modules", "tests"];
  const all = readdirSync(EXAMPLES, { withFileTypes: true }).filter((it) => it.isDirectory() && !NO_EXAMPLES.includes(it.name));
  assert.deepEqual(all.map(({ name }) => name).sort(), folders.sort());
  for (const page of PAGES) assert.ok(steps(readFileSync(page, "utf8")).some(({ kind }) => kind === "console"), page);
});

test("a page is read as it is meant", () => {
  const page = [
    "`a.mjs`:", "```js", "import x;", "```", "", "Text.", "```js", "const not = `run`;", "```",
    "```console", "$ first \\", "  goes on", "out", "$ second", "```",
    "<!-- not run: needs a moon -->", "```console", "$ rocket", "```",
    "```js", 'import y from "y";', "console.log(y); // { ok: true }", "```",
  ].join("\n");
  assert.deepEqual(steps(page), [
    { kind: "file", line: 2, name: "a.mjs", content: "import x;\n" },
    { kind: "console", line: 10, commands: [{ line: 11, command: "first \\\n  goes on", output: ["out"] }, { line: 14, command: "second", output: [] }] },
    { kind: "left out", line: 17, reason: "needs a moon", commands: [{ line: 18, command: "rocket", output: [] }] },
    { kind: "program", line: 20, content: 'import y from "y";\nconsole.log(y); // { ok: true }\n', output: ["{ ok: true }"] },
  ]);
  assert.throws(() => steps("```console\nno command\n```"), /line 2/);
});

test("what a page shows is compared with what is printed", () => {
  assert.equal(missing(["a 0.1.0", 'b"sid":"GOpfB6YCRxCrpCPb_uOQ"', "c..e"], 'a 0.2.0\nmore\nb"sid":"xOpfB6YCRxCrpCPb_uOQ"\nc d e'), undefined);
  assert.equal(missing(["a", "b"], "b\na"), "b");
  assert.equal(missing(["ab"], "a b"), "ab");
  assert.equal(missing(["a.c"], "abc"), "a.c");
  assert.equal(missing(["one ok"], "\x1b[1mone\x1b[0m  \x1b[32mok\x1b[39m"), undefined);
  assert.equal(missingText(["one ok"], "\x1b[1mone\x1b[0m  \x1b[32mok\x1b[39m"), undefined);
});

test("a server that prints colours is seen to listen", async () => {
  const reader = await Reader.start();
  const server = "printf '\\033[32mlisten\\033[1ming\\033[0m\\n'; exec sleep 600";
  await reader.read(["```console", `$ ${server}`, "listening", "$ echo on", "on", "```"].join("\n")).finally(() => reader.stop());
});

test("what is not there at once is looked for again, and what changes something is done once", async () => {
  const server = `import { createServer } from "node:http";
    let asked = 0, done = 0;
    const answer = (request) => (request.method === "POST" ? ++done : ++asked > 2 && "ready");
    createServer((request, response) => response.end("answer " + answer(request))).listen(3000, () => console.log("listening"));`;
  const reader = await Reader.start();
  const page = [
    "`server.mjs`:", "```js", server, "```",
    "```console", "$ node server.mjs", "listening", "$ curl -s http://127.0.0.1:3000/", "answer ready", "$ curl -s -X POST http://127.0.0.1:3000/", "answer 1", "```",
  ].join("\n");
  await reader.read(page).finally(() => reader.stop());
});

for (const [what, page, fault] of [
  ["prints something else", "```console\n$ echo one\ntwo\n```", /line 2: \$ echo one\ndoes not print two/],
  ["fails", "```console\n$ true\n$ false\n```", /line 3: \$ false\nended with status 1/],
  ["is not there", "```console\n$ gatewy --help\n```", /line 2: .*\n?ended with status 127/],
  ["is a wrong setting", "```console\n$ gateway --no-such-setting 1\n```", /line 2: .*\n?ended with status 2/],
  ["is a program that prints something else", '```js\nimport "node:fs";\nconsole.log(1 + 1); // 3\n```', /line 1: the program does not print 3/],
  ["wants the network", "```console\n$ curl -sS --max-time 5 http://192.0.2.1/\n```", /line 2: .*\n?ended with status 7/],
]) {
  test(`a command that ${what} fails its page`, async () => {
    const reader = await Reader.start();
    await assert.rejects(reader.read(page), fault).finally(() => reader.stop());
  });
}
