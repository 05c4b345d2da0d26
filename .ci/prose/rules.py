"""The rules of the prose. Each fault says what to do."""

import posixpath
import re

GLOSSARY = "docs/glossary.md"

# A piece of code or an address counts as one word.
PAGE_WORDS = 25
CODE_WORDS = 30
LINE = 120

# Pages that begin in another way: lists of links, and those that tools write.
NO_OPENING = {"docs/README.md", "docs/glossary.md"}

PARTICIPLE = (
    r"(?:\w{2,}ed|done|made|sent|read|held|told|said|kept|lost|taken|given|written|known|seen|found|cut|put|shown|met|let|drawn|chosen"
    r"|begun|brought|bound|driven|forgotten|hidden|laid|paid|spent|split|thrown|understood|heard|meant|got|shut|left)"
)
PASSIVE = re.compile(
    r"\b(?:is|are|was|were|be|been|being)\s+(?:(?:not|never|also|then|only|always|still|all|both|each|\w+ly)\s+)*(" + PARTICIPLE + r")\b"
)
# These say a state, not something that somebody did.
STATES = {"called", "needed", "required", "allowed", "limited", "bounded", "reached", "nested", "named", "left", "shared"}
SUBJECT = 6

RIDDLE = re.compile(r"(?:What|Who|Whoever|Whatever|Whom|Whose|Whichever)\b")
CHAIN = re.compile(r"\bof (?:[\w'’-]+ ){1,3}of (?:[\w'’-]+ ){1,3}of\b")

WORDS = {
    "whoever": "name the actor",
    "whom": "name the actor",
    "whose turn": "name the actor",
    "thereby": "begin a new sentence",
    "hereby": "leave it out",
    "thus": "so",
    "hence": "so",
    "wherein": "in which",
    "simply": "leave it out",
    "easily": "leave it out",
    "obviously": "leave it out",
    "of course": "leave it out",
    "basically": "leave it out",
    "seamless": "say what happens",
    "seamlessly": "say what happens",
    "leverage": "use",
    "utilize": "use",
    "please": "leave it out",
    "in order to": "to",
    "note that": "leave it out",
    "be it": "or",
    "due to": "because of",
    "prior to": "before",
    "in case of": "if",
    "in the case of": "if",
    "with regard to": "about",
    "make use of": "use",
    "makes use of": "use",
    "is able to": "can",
    "are able to": "can",
    "has the ability": "can",
    "the fact that": "that",
    "as is the case": "as",
    "blazing": "give a number",
    "cutting-edge": "give a number",
}


def glossary(text):
    """The words that the glossary does not use for a term: word to term."""
    words = {}
    things = text.partition("## Things")[2].partition("\n## ")[0]
    for line in things.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")] if line.startswith("| ") else []
        if len(cells) < 3 or cells[0] == "word":
            continue
        for word in filter(None, (word.strip() for word in cells[2].split(","))):
            words[word.lower()] = cells[0]
    return words


def has(word, text):
    return re.search(rf"(?<![\w-]){re.escape(word)}s?(?![\w-])", text, re.IGNORECASE)


def sentence(it, most, forbidden, strict):
    """What is wrong with a sentence. Strict: it says who does it. A comment need not: what it stands on is its subject."""
    said = f"“{it.text[:70]}{'..' if len(it.text) > 70 else ''}”"
    if it.kind != "heading":
        for part in it.text.split(";") if it.kind == "cell" else [it.text]:
            words = len(re.findall(r"\w[\w'’./+-]*", part))
            if words > most:
                yield it.line, f"a sentence of {words} words, {most} at most: split it: {said}"
    # A cell may begin with a condition: "a node is killed".
    if it.kind != "heading" and strict and not (it.kind == "cell" and it.text[:1].islower()):
        passive = PASSIVE.search(it.text)
        if passive and passive.group(1) not in STATES:
            subject = it.text[: passive.start()]
            relative = re.search(r"\b(?:that|which|who|if|when|what|as|because|since|how|where|until)\b|[,:(]", subject, re.IGNORECASE)
            if len(subject.split()) <= SUBJECT and not relative:
                yield it.line, f"begins with a passive, “{passive.group()}”: say who does it: {said}"
        if RIDDLE.match(it.text) and "?" not in it.text:
            yield it.line, f"begins with a riddle: name the thing: {said}"
    if CHAIN.search(it.text):
        yield it.line, f"a chain of three “of”: use a verb: {said}"
    for word, instead in WORDS.items():
        if has(word, it.text):
            yield it.line, f"“{word}”: {instead}: {said}"
    for word, term in dict(forbidden).items():
        if has(word, it.text):
            yield it.line, f"“{word}” is “{term}” in the glossary: {said}"


def page(name, text):
    """What is wrong with the shape of a page."""
    fence, titles, opening, block = None, 0, None, []
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r"\s*(`{3,})(\w*)", line)
        if fence:
            if line.strip() == fence[0]:
                fence = None
            elif fence[1] == "console" and fence[2] and not line.strip().startswith("$ "):
                yield number, "a block of `console` begins with a command: $ .."
            if fence:
                fence = (fence[0], fence[1], False)
            continue
        if mark:
            fence = (mark.group(1), mark.group(2), True)
            continue
        if line.startswith("# "):
            titles += 1
            if titles > 1:
                yield number, "a second title: use ##"
        elif titles and opening is None and line.strip() and not line.startswith(("!", "<")):
            opening = number, line
        if len(line) > LINE and not line.lstrip().startswith("|") and " " in line.strip()[20:]:
            yield number, f"a line of {len(line)} characters, {LINE} at most"
    if name.startswith("docs/") and name.count("/") == 1 and name not in NO_OPENING:
        if opening is None or not opening[1].startswith("After this page you "):
            yield opening[0] if opening else 1, "a page begins with what the reader can do then: After this page you .."


LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(text):
    """The names by which links come to the headings of a page."""
    prose = re.sub(r"(?ms)^\s*(`{3,}).*?^\s*\1", "", text)
    for heading in re.findall(r"(?m)^#+ (.*)$", prose):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        yield re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")


def links(name, pages, exists):
    """Links that lead nowhere. `pages` has the text of each page; `exists` tells of other files."""
    fence = False
    for number, line in enumerate(pages[name].splitlines(), 1):
        if line.strip().startswith("```"):
            fence = not fence
        if fence:
            continue
        for target in LINK.findall(re.sub(r"``.+?``|`[^`]+`", "CODE", line)):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            path = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
            if not exists(path):
                yield number, f"a link to {target}: there is no {path}"
            elif anchor and path in pages and anchor not in anchors(pages[path]):
                yield number, f"a link to {target}: {path} has no such heading"
