"""The licences of all libraries that the program holds, as one text."""

import json
import pathlib
import re
import subprocess
import sys

# Files of a library that say under which terms it is given.
TERMS = re.compile(r"^(licen[cs]e|copying|copyright|notice|unlicense)", re.I)
# What gcc links into a static program on Linux besides the crates.
BESIDES = """\
The program is linked with the GNU C Library (LGPL-2.1-or-later, https://www.gnu.org/software/libc) and with Rust's standard library
(MIT OR Apache-2.0, https://www.rust-lang.org). Its own sources are open, so that it can be linked with another version of either.
"""

# The scripts that the node serves to browsers, whose licence stands beside them.
CLIENT = "gateway/assets/client"


def text(root, target, features=("dist",)):
    """All licences, each once, with the libraries that it is of."""
    libraries = sorted(held(root, target, features), key=lambda it: (it["name"], it["version"]))
    lines = ["Libraries in the program, and their licences.\n", BESIDES]
    lines += [f"{it['name']} {it['version']}: {it['license'] or 'see its files'}" for it in libraries]
    version = re.search(r"Socket\.IO v(\S+)", (root / CLIENT / "socket.io.js").read_text())[1]
    lines.append(f"socket.io-client {version} (JavaScript, served to browsers): MIT")
    by_terms = {(root / CLIENT / "LICENSE").read_text().strip(): [f"socket.io-client {version} (LICENSE)"]}
    for library in libraries:
        # Some libraries of one repository have the file in one of them alone.
        beside = (it for it in libraries if it["repository"] and it["repository"] == library["repository"])
        found = files(library) or next(filter(None, map(files, beside)), None)
        if not found and "MIT" in re.split(r" OR |/", library["license"] or ""):
            # The licence by its name alone; its terms ask for a copy of them, with who gives it.
            by_terms.setdefault(mit(root, library["authors"]), []).append(f"{library['name']} {library['version']} (MIT)")
            continue
        if not found:
            raise SystemExit(f"licences: {library['name']} {library['version']} has no file with its terms")
        for path in found:
            terms = path.read_text(errors="replace").replace("\r\n", "\n").strip()
            by_terms.setdefault(terms, []).append(f"{library['name']} {library['version']} ({path.name})")
    for terms, of in by_terms.items():
        lines += ["", "=" * 100, *of, "-" * 100, terms]
    return "\n".join(lines) + "\n"


def mit(root, authors):
    """The terms of MIT, given by these."""
    return re.sub(r"Copyright .*", f"Copyright (c) {', '.join(authors)}", (root / "LICENSE-MIT").read_text().strip(), count=1)


def held(root, target, features):
    """The packages that are compiled into the program: those of normal dependencies, and the C code that build scripts compile."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target, "--manifest-path", root / "gateway/Cargo.toml"]
    command += ["--features", ",".join(features)]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, waiting = set(), [package["id"] for package in metadata["packages"] if package["name"] == "gateway"]
    while waiting:
        package = waiting.pop()
        if package in found or is_macro(packages[package]):
            continue
        found.add(package)
        waiting += [it["pkg"] for it in nodes[package]["deps"] if any(kind["kind"] is None for kind in it["dep_kinds"])]
    members = set(metadata["workspace_members"])
    return [packages[package] for package in found - members]


def is_macro(package):
    """Whether it runs in the compiler only."""
    return any("proc-macro" in target["kind"] for target in package["targets"])


def files(library):
    """Its files of terms, those of C sources that it brings along among them."""
    folder = pathlib.Path(library["manifest_path"]).parent
    near = [path for path in folder.iterdir() if path.is_file() and TERMS.match(path.name)]
    brought = [path for name in ("c_src", "aws-lc", "jemalloc") for path in (folder / name).rglob("*") if path.is_file() and TERMS.match(path.name) and path.suffix in ("", ".txt", ".md")]
    return sorted(near) + sorted(brought)


if __name__ == "__main__":
    print(text(pathlib.Path(__file__).resolve().parent.parent.parent, sys.argv[1]))
