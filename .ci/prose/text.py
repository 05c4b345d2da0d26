"""Takes sentences out of Markdown and out of Rust's doc comments."""

import re
from typing import NamedTuple

CODE = "CODE"

ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|cf|No)\.$")
END = re.compile(r"(?<=[.!?])[)\"']?(?:\*\*)?\s+(?=(?:\*\*)?[\"'(\[]?[A-Z0-9])")


class Sentence(NamedTuple):
    line: int
    text: str
    kind: str  # "prose", "item", "cell", "heading"

    def words(self):
        return re.findall(r"[\w'’./+-]*\w[\w'’./+-]*", self.text)


def plain(text):
    """Without code, marks and addresses: what a reader says aloud."""
    text = re.sub(r"``.+?``|`[^`]+`", CODE, text)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", text)
    text = re.sub(r"<https?://[^>]+>|https?://\S+", CODE, text)
    text = re.sub(r"<[^>]+>", "", text)
    return re.sub(r"\*\*|__|(?<!\w)[*_]|[*_](?!\w)", "", text).strip()


def split(text):
    parts, start = [], 0
    for end in END.finditer(text):
        if not ABBREVIATION.search(text[start : end.start()]):
            parts.append((start, text[start : end.end()].strip()))
            start = end.end()
    parts.append((start, text[start:].strip()))
    return [part for part in parts if part[1]]


def paragraph(lines, kind):
    """Sentences of lines that belong together: pairs of number and text."""
    whole, starts = "", []
    for number, line in lines:
        starts.append((len(whole), number))
        whole += line.strip() + " "
    # Code is masked first, so that a full stop in it ends nothing; offsets are those of the masked text.
    masked, at, places = "", 0, []
    for piece in re.split(r"(``.+?``|`[^`]+`)", whole):
        places.append((len(masked), at))
        masked += CODE if piece.startswith("`") and piece.endswith("`") and len(piece) > 1 else piece
        at += len(piece)
    for start, text in split(masked):
        place, real = [it for it in places if it[0] <= start][-1]
        offset = real + start - place
        number = [line for begin, line in starts if begin <= offset][-1]
        yield Sentence(number, plain(text), kind)


def markdown(text, first=1):
    """All sentences of a page."""
    block, kind, fence = [], "prose", None

    def flush():
        nonlocal block, kind
        if block:
            yield from paragraph(block, kind)
        block, kind = [], "prose"

    for number, line in enumerate(text.splitlines(), first):
        bare = line.strip()
        mark = re.match(r"(`{3,}|~{3,})", bare)
        if fence:
            if bare.startswith(fence) and not bare.strip("`~"):
                fence = None
            continue
        if mark:
            yield from flush()
            fence = mark.group(1)
        elif not bare or bare.startswith("<!--"):
            yield from flush()
        elif bare.startswith("#"):
            yield from flush()
            yield Sentence(number, plain(bare.lstrip("#")), "heading")
        elif bare.startswith("|"):
            yield from flush()
            if not re.fullmatch(r"[|\s:-]+", bare):
                for cell in re.split(r"(?<!\\)\|", bare.strip("|")):
                    yield from paragraph([(number, cell)], "cell")
        elif item := re.match(r"(?:[-*+]|\d+\.)\s+(.*)", bare):
            yield from flush()
            block, kind = [(number, item.group(1))], "item"
        else:
            block.append((number, bare.lstrip("> ")))
    yield from flush()


def rust(text):
    """All sentences of doc comments, but for those of tests."""
    block, last = [], None
    lines = text.splitlines()
    tests = next((number for number, line in enumerate(lines) if line.startswith("#[cfg(test)]")), len(lines))
    for number, line in enumerate([*lines[:tests], ""], 1):
        comment = re.match(r"\s*(//[/!])(?!/) ?(.*)", line)
        if block and (not comment or comment.group(1) != last):
            yield from markdown("\n".join(it for _, it in block), block[0][0])
            block = []
        if comment:
            last = comment.group(1)
            block.append((number, comment.group(2)))
