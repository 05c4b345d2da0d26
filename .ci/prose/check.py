"""Holds the prose against the rules of the house: python3 .ci/prose/check.py [repository]

Pages: every Markdown file. Code: the doc comments of the crates, which have fewer rules.
The rules are in rules.py. Why no Vale: its package on PyPI is a downloader of a program on GitHub, so that a machine without GitHub
could not check, and Vale does not read Rust.
"""

import subprocess
import sys
from pathlib import Path

import rules
from text import markdown, rust

CRATES = ["protocol", "adapter", "adapter-redis", "gateway", "loadtest"]


def files(repository):
    listed = subprocess.run(["git", "ls-files"], cwd=repository, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if not (repository / name).is_file():
            continue
        if name.endswith(".md"):
            yield name, "page"
        elif name.endswith(".rs") and any(name.startswith(f"{crate}/src/") for crate in CRATES):
            yield name, "code"


def faults(name, kind, text, forbidden):
    """What is wrong in a file: pairs of line and sentence."""
    if kind == "code":
        for it in rust(text):
            yield from rules.sentence(it, rules.CODE_WORDS, forbidden, False)
        return
    yield from rules.page(name, text)
    for it in markdown(text):
        yield from rules.sentence(it, rules.PAGE_WORDS, () if name == rules.GLOSSARY else forbidden, True)


def main(repository):
    pages = {name: (repository / name).read_text() for name, kind in files(repository) if kind == "page"}
    forbidden = rules.glossary((repository / rules.GLOSSARY).read_text())
    wrong, read = 0, 0
    for name, kind in files(repository):
        read += 1
        found = list(faults(name, kind, (repository / name).read_text(), forbidden))
        if kind == "page":
            found += rules.links(name, pages, lambda path: (repository / path).exists())
        for line, fault in found:
            print(f"{name}:{line}: {fault}")
            wrong += 1
    if read < 100:
        sys.exit(f"the prose was not checked: only {read} files found")
    if wrong:
        sys.exit(f"{wrong} faults in the prose; CONTRIBUTING.md has the rules")
    print(f"the prose of {read} files is in order")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2]))
