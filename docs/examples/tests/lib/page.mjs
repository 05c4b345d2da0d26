// What a page tells its reader to do, in its order.
//
// - A block of `console` has commands behind `$ `, lines that end with `\` going on in the next, and below a command what it prints.
// - A block whose paragraph ends with a file's name and a colon (`chat.mjs`:) is that file.
// - A block of `js` that imports something and is no file is a program of its own. What it prints stands in comments behind `console.log`.
// - A comment before a block, <!-- not run: reason -->, says that its commands are not run, and why.
// - A comment before a block, <!-- beside what runs -->, says that servers of earlier blocks go on when this one starts another.
// - All other blocks are to be read, not to be done.

import { stripVTControlCharacters } from "node:util";

const NOT_RUN = /^<!-- not run: (.+) -->$/;
const BESIDE = "<!-- beside what runs -->";
const NAMED = /`([\w./-]+\.(?:mjs|js|json|toml|env|sh))`[^`]*:$/;
const FILES = ["js", "json", "toml", "sh", "ini"];
const PRINTED = /console\.log\(.*\);\s*\/\/ (.+)$/;

/** The steps of a page: `{kind, line, ..}`, where a line counts from 1. */
export function steps(text) {
  const found = [];
  for (const block of blocks(text)) {
    const { language, line, lines, before } = block;
    const [, reason] = before.match(NOT_RUN) ?? [];
    const [, name] = (FILES.includes(language) && before.match(NAMED)) || [];
    if (language === "console") {
      const commands = commandsOf(lines, line);
      found.push(reason ? { kind: "left out", line, reason, commands } : { kind: "console", line, commands, ...(before === BESIDE ? { beside: true } : {}) });
    } else if (reason) found.push({ kind: "left out", line, reason, commands: [] });
    else if (name) found.push({ kind: "file", line, name, content: `${lines.join("\n")}\n` });
    else if (language === "js" && lines.some((it) => it.startsWith("import "))) {
      found.push({ kind: "program", line, content: `${lines.join("\n")}\n`, output: lines.flatMap((it) => it.match(PRINTED)?.[1] ?? []) });
    }
  }
  return found;
}

/** Fenced blocks, each with the last line that stands before it. */
function* blocks(text) {
  let before = "";
  let block;
  for (const [index, line] of text.split("\n").entries()) {
    const [, indent, fence, language] = line.match(/^(\s*)(`{3,})(\w*)/) ?? [];
    if (block) {
      if (line.trim() === block.fence) {
        yield block;
        [block, before] = [undefined, ""];
      } else block.lines.push(line.startsWith(block.indent) ? line.slice(block.indent.length) : line);
    } else if (fence) block = { fence, indent, language, line: index + 1, lines: [], before };
    else if (line.trim()) before = line.trim();
  }
}

function commandsOf(lines, first) {
  const commands = [];
  let goesOn = false;
  for (const [index, line] of lines.entries()) {
    if (goesOn) commands.at(-1).command += `\n${line}`;
    else if (line.startsWith("$ ")) commands.push({ line: first + index + 1, command: line.slice(2), output: [] });
    else if (commands.length === 0) throw new Error(`line ${first + index + 1}: a block of console begins with a command`);
    else if (line.trim()) commands.at(-1).output.push(line);
    goesOn = line.endsWith("\\") && (goesOn || line.startsWith("$ "));
  }
  return commands;
}

/** Without colours, which a page never has: what runs the tests may ask all programs for them (FORCE_COLOR). */
export const plain = (printed) => stripVTControlCharacters(printed);

/** What changes from run to run. */
const CHANGES = [
  [/"sid":"[\w-]{20,}"/g, '"sid":"*"'],
  [/\b\d+\.\d+\.\d+\b/g, "VERSION"],
  [/ \(\d+m?s\)/g, ""],
];

const settled = (line) => CHANGES.reduce((text, [what, instead]) => text.replace(what, instead), line.trim().replace(/\s+/g, " "));

/**
 * The first line of a page that is not in what was printed, or undefined. The page's lines come in their order, and others may stand between
 * them; `..` in a line of the page stands for anything.
 */
export function missing(expected, printed) {
  const lines = plain(printed).split("\n").map(settled);
  let from = 0;
  for (const line of expected) {
    const pattern = settled(line).split(/\.{2,}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    const matches = new RegExp(`^${pattern.join(".*")}$`);
    const at = lines.findIndex((it, index) => index >= from && matches.test(it));
    if (at < 0) return line;
    from = at + 1;
  }
  return undefined;
}

/** The same for texts that stand somewhere in what was printed. */
export function missingText(expected, printed) {
  const text = plain(printed).replace(/\s+/g, " ");
  let from = 0;
  for (const part of expected) {
    const at = text.indexOf(part.replace(/\s+/g, " ").trim(), from);
    if (at < 0) return part;
    from = at + 1;
  }
  return undefined;
}
