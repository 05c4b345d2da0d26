"""What the files of a Rust crate import from each other. Tests are left out, and so is what stands in comments and strings."""

import re
from pathlib import Path

USE = re.compile(r"(?<![\w])(?:pub(?:\([^)]*\))?\s+)?use\s+([^;]+);")
PATH = re.compile(r"(?<![\w:$])((?:crate|super|self)(?:::(?:r#)?\w+)+)")
ALIAS = re.compile(r"\s+as\s+\w+$")


def plain(text):
    """The source without comments, strings, characters and test modules, of the same lines."""
    out, at = [], 0
    token = re.compile(r'//[^\n]*|/\*|b?r(#*)"|b?"|b?\'(?:\\.[^\']*|[^\\\'\n])\'', re.S)
    while found := token.search(text, at):
        out.append(text[at : found.start()])
        start, piece = found.start(), found.group()
        if piece == "/*":
            depth, at = 1, found.end()
            while depth and (edge := re.compile(r"/\*|\*/").search(text, at)):
                depth += 1 if edge.group() == "/*" else -1
                at = edge.end()
            if depth:
                at = len(text)
        elif piece.endswith('"') and "r" in piece:
            end = text.find('"' + found.group(1), found.end())
            at = len(text) if end < 0 else end + 1 + len(found.group(1))
        elif piece.endswith('"'):
            end = re.compile(r'(?:[^"\\]|\\.)*"', re.S).match(text, found.end())
            at = len(text) if end is None else end.end()
        else:
            at = found.end()
        out.append(re.sub(r"[^\n]", " ", text[start:at]))
    out.append(text[at:])
    return without_tests("".join(out))


def without_tests(text):
    while found := re.search(r"#\[cfg\(test\)\]\s*((?:#\[[^\]]*\]\s*)*)(pub(\([^)]*\))?\s+)?", text):
        end, depth = found.end(), 0
        while end < len(text):
            char = text[end]
            end += 1
            if char == "{":
                depth += 1
            elif char == "}":
                depth -= 1
                if depth == 0:
                    break
            elif char == ";" and depth == 0:
                break
        text = text[: found.start()] + re.sub(r"[^\n]", " ", text[found.start() : end]) + text[end:]
    return text


def leaves(tree):
    """The paths of a use tree: `a::{b, c::{d}}` has `a::b` and `a::c::d`."""
    tree = tree.strip()
    brace = tree.find("{")
    if brace < 0:
        yield ALIAS.sub("", tree)
        return
    head, depth, start = tree[:brace], 0, brace + 1
    for index in range(brace, len(tree)):
        char = tree[index]
        depth += (char == "{") - (char == "}")
        if (char == "," and depth == 1) or depth == 0:
            for leaf in leaves(tree[start:index]) if tree[start:index].strip() else ():
                yield head + leaf
            start = index + 1
        if depth == 0:
            return


class Crate:
    """The modules of a source folder, each by its path of names, and what each imports."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.files = {}
        for file in sorted(self.folder.rglob("*.rs")):
            name = file.relative_to(self.folder).with_suffix("").parts
            if name[-1] in ("tests", "test_support") or "tests" in name:
                continue
            module = () if name in (("lib",), ("main",)) else name
            self.files.setdefault(module, []).append(file)
        self.texts = {module: "\n".join(plain(file.read_text()) for file in files) for module, files in self.files.items()}
        self.again = {module: self._exports(module, text) for module, text in self.texts.items()}
        self.imports = {module: self._imports(module, text) for module, text in self.texts.items()}

    def _uses(self, text):
        for found in USE.finditer(text):
            for leaf in leaves(re.sub(r"\s+", " ", found.group(1))):
                yield found.group(0), leaf.replace(" ", "")

    def _absolute(self, module, path):
        parts = [part.removeprefix("r#") for part in path.split("::")]
        here = list(module)
        if parts[0] == "crate":
            return parts[1:]
        if parts[0] == "self":
            return here + parts[1:]
        if parts[0] == "super":
            while parts and parts[0] == "super":
                here, parts = here[:-1], parts[1:]
            return here + parts
        if (*module, parts[0]) in self.files:
            return here + parts
        return None

    def _exports(self, module, text):
        """Names that a module hands on: by name, and those of whole modules."""
        named = {}
        for whole, leaf in self._uses(text):
            if whole.lstrip().startswith("pub") and (path := self._absolute(module, leaf)):
                name = re.search(rf"{re.escape(leaf.split('::')[-1])}\s+as\s+(\w+)", whole)
                named[name.group(1) if name else path[-1]] = path
        return named

    def resolve(self, path, patience=8):
        """The module in which the thing of that path stands."""
        for length in range(len(path), -1, -1):
            module = tuple(path[:length])
            if module in self.files:
                rest = path[length:]
                again = self.again[module].get(rest[0]) if rest else None
                if again and patience and again != path:
                    return self.resolve(again + rest[1:], patience - 1)
                return module
        return ()

    def _imports(self, module, text):
        found = {}
        paths = [leaf for whole, leaf in self._uses(text) if not re.match(r"\s*pub", whole)]
        # What is handed on is imported, too, by the module that hands on, unless it is below that one.
        handed = [leaf for whole, leaf in self._uses(text) if re.match(r"\s*pub", whole)]
        rest = USE.sub(lambda it: re.sub(r"[^\n]", " ", it.group(0)), text)
        paths += PATH.findall(rest)
        for path in paths + handed:
            absolute = self._absolute(module, path)
            if absolute is None:
                continue
            target = self.resolve(absolute)
            if path in handed and target[: len(module)] == module:
                continue
            if target != module and target != ():
                found.setdefault(target, path)
        return found


def circles(graph):
    """The circles of a graph (strongly connected parts of more than one), the largest first."""
    index, low, stack, on, result, count = {}, {}, [], set(), [], 0
    for root in graph:
        if root in index:
            continue
        work = [(root, iter(graph[root]))]
        index[root] = low[root] = count
        count += 1
        stack.append(root)
        on.add(root)
        while work:
            node, edges = work[-1]
            for target in edges:
                if target not in graph:
                    continue
                if target not in index:
                    index[target] = low[target] = count
                    count += 1
                    stack.append(target)
                    on.add(target)
                    work.append((target, iter(graph[target])))
                    break
                if target in on:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    part = []
                    while True:
                        top = stack.pop()
                        on.discard(top)
                        part.append(top)
                        if top == node:
                            break
                    if len(part) > 1:
                        result.append(sorted(part))
    return sorted(result, key=len, reverse=True)
