"""Holds the names in the source against docs/glossary.md: python3 .ci/names/check.py [repository]

The page says which words are not used for its terms, and where: a type, function, module, constant or field that is named so is an
error. It also lists the public types that share a name, with the reason: a further one is an error, and so is one that is gone.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "rooms"))

from imports import plain

NAMED = re.compile(r"\b(?:struct|enum|trait|union|type|fn|mod|const|static)\s+(?:r#)?(\w+)")
FIELD = re.compile(r"^\s*(?:pub(?:\([^)]*\))?\s+)?(\w+):\s", re.M)
PUBLIC = re.compile(r"^\s*pub\s+(?:struct|enum|trait|union|type)\s+(\w+)", re.M)
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

ANY = "what it is or does"


class Glossary:
    """What the page settles."""

    def __init__(self, text):
        self.terms, self.barred, self.shared = set(), [], {}
        for head, rows in tables(text):
            if head[0] in ("word", "verb"):
                self.terms.update(term.strip() for row in rows for term in re.split(r",", row[0]))
            elif head[:2] == ["not", "but"]:
                for words, instead, where in rows:
                    places = quoted(where)
                    self.barred += [(word, instead, places) for word in quoted(words)]
            elif head[0] == "name":
                for name, types, reason in rows:
                    self.shared[quoted(name)[0]] = (set(quoted(types)), reason)

    def faults(self):
        """What is wrong with the page itself."""
        for word, instead, _ in self.barred:
            if instead != ANY and not set(quoted(instead)) & self.terms:
                yield f"docs/glossary.md: in place of {word!r} it says {instead}, which is no term of the page"
        for name, (_, reason) in self.shared.items():
            if not reason:
                yield f"docs/glossary.md: there is no reason why several types are called {name}"


def tables(text):
    """The tables of a page: cells of the head, and cells of each row."""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if line.startswith("|---"):
            rows = []
            for row in lines[at + 1 :]:
                if not row.startswith("|"):
                    break
                rows.append(cells(row))
            yield cells(lines[at - 1]), rows


def cells(row):
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def quoted(text):
    return re.findall(r"`([^`]+)`", text)


def words(name):
    return [word.lower() for word in WORD.findall(name)]


def faults(glossary, files):
    """What is wrong with the source, a sentence each; `files` are texts by their paths."""
    public = defaultdict(set)
    for path, text in sorted(files.items()):
        text = plain(text)
        for found in [*NAMED.finditer(text), *FIELD.finditer(text)]:
            said = words(found.group(1))
            for barred, instead, places in glossary.barred:
                if places and not any(path.startswith(place) for place in places):
                    continue
                if barred in said or barred + "s" in said:
                    line = text.count("\n", 0, found.start(1)) + 1
                    yield f"{path}:{line}: {found.group(1)}: the word for {barred!r} is {instead}"
        for found in PUBLIC.finditer(text):
            public[found.group(1)].add(path)
    for name, paths in sorted(public.items()):
        listed, _ = glossary.shared.get(name, (set(), ""))
        if len(paths) > 1 and paths != listed:
            yield f"{len(paths)} public types are called {name}: {', '.join(sorted(paths))}; rename one, or list them in docs/glossary.md with the reason"
    for name, (listed, _) in sorted(glossary.shared.items()):
        if len(public.get(name, ())) < 2:
            yield f"docs/glossary.md lists {name} for several types, and there are none: take it out"


def main(repository):
    glossary = Glossary((repository / "docs/glossary.md").read_text())
    sources = [path for crate in repository.glob("*/Cargo.toml") for path in (crate.parent / "src").rglob("*.rs")]
    files = {str(path.relative_to(repository)): path.read_text() for path in sources}
    wrong = [*glossary.faults(), *faults(glossary, files)]
    for fault in wrong:
        print(fault)
    if wrong:
        sys.exit(f"names are not those of the glossary: {len(wrong)} faults")
    print("the names are those of the glossary")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2]))
