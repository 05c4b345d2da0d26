"""What the chart takes, as three files made from helm/values.schema.yaml: its schema, its defaults, and the table of docs/helm.md."""

import copy
import json
import pathlib
import re
import textwrap

import yaml

DEPLOY = pathlib.Path(__file__).resolve().parent.parent
DOCS = DEPLOY.parent / "docs"
CHART = DEPLOY / "helm/gateway"
PAGE = DOCS / "helm.md"

# What each pod has of its own, and the ports that the chart's objects name.
OF_THE_CHART = {"listen", "internal_listen", "cluster.node_id", "cluster.advertise"}

# The last line of a setting whose value is a secret.
SECRET = re.compile(r"^- (?:.* )?Secret\b", re.M)

# Longer defaults stand in values.yaml only.
SHOWN = 60

BEGIN, END = "<!-- values: `make deploy-write` writes them -->", "<!-- the end of the values -->"
MADE = "Made from deploy/helm/values.schema.yaml by `make deploy-write`; do not change it here."


def files():
    source = complete()
    return {
        CHART / "values.schema.json": json.dumps(schema(source), indent=2) + "\n",
        CHART / "values.yaml": f"# {MADE}\n" + "".join(values_file(source, 0)),
        PAGE: page(source),
    }


def complete():
    """The source with what comes from other files."""
    text = (DEPLOY / "helm/values.schema.yaml").read_text()
    source = yaml.safe_load(text)
    secret = {variable for _, variable, entry in settings() if SECRET.search(entry)}
    properties = source["properties"]
    properties["secrets"]["properties"]["from"]["items"]["properties"]["variable"] = {"enum": sorted(secret)}
    values = properties["secrets"]["properties"]["values"]
    values["whole"] = {variable: {"type": "string", "minLength": 1} for variable in sorted(secret)}
    ingress = yaml.safe_load((DEPLOY / "kubernetes/components/ingress/ingress.yaml").read_text())
    properties["ingress"]["properties"]["annotations"]["default"] = ingress["metadata"]["annotations"]
    sections = {}
    for name, variable, entry in settings():
        if name in OF_THE_CHART or variable in secret:
            continue
        section, _, key = name.rpartition(".")
        it = {**type_of(entry), "description": entry.split("\n\n")[1].replace("\n", " ")}
        if section:
            sections.setdefault(section, {"type": ["object", "null"], "additionalProperties": False, "properties": {}})["properties"][key] = it
        else:
            sections[key] = it
    properties["settings"]["whole"] = sections
    return source


def settings():
    """Name, variable and words of each setting on the page of configuration."""
    for entry in re.split(r"^### ", (DOCS / "configuration.md").read_text(), flags=re.M)[1:]:
        yield re.match(r"`([\w.]+)`", entry)[1], re.search(r"`(GATEWAY_\w+)`", entry)[1], entry


def type_of(entry):
    """The schema of a setting; null leaves it out."""
    said = re.search(r"^- Type: (.*)$", entry, flags=re.M)[1]
    kind = re.match(r"[\w ]+?(?= \(| of |$)", said)[0]
    choices = re.findall(r"`([^`]+)`", said)
    if choices:
        return {"enum": [*choices, None]}
    if kind == "list":
        return {"type": ["array", "null"], "items": {"type": "string", "pattern": "^[^,]+$"}}
    return {
        "boolean": {"type": ["boolean", "null"]},
        "number": {"type": ["integer", "null"], "minimum": 0},
        "number from 0 to 1": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "duration": {"type": ["string", "integer", "null"], "pattern": "^(0|[0-9]+(ms|s|m|h|d))$", "minimum": 0, "maximum": 0},
        "size": {"type": ["string", "integer", "null"], "pattern": "^(0|[0-9]+(B|kB|MB|GB|KiB|MiB|GiB))$", "minimum": 0, "maximum": 0},
    }.get(kind, {"type": ["string", "null"], "minLength": 1})


def schema(source):
    """JSON Schema; an object that says which properties it has takes no others."""

    def closed(it):
        if not isinstance(it, dict):
            return it
        it = {name: value for name, value in it.items()}
        if "whole" in it:
            it = {"type": "object", "properties": it.pop("whole"), **it}
        if "properties" in it:
            it = {"type": "object", "additionalProperties": False, **it, "properties": {name: closed(inner) for name, inner in it["properties"].items()}}
        if "items" in it:
            it["items"] = closed(it["items"])
        return it

    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "The values of the chart gateway", **closed(copy.deepcopy(source))}


def leaves(it, path=()):
    """Path and schema of each value of the source."""
    for name, inner in it["properties"].items():
        if "default" in inner:
            yield (*path, name), inner
        else:
            yield from leaves(inner, (*path, name))


def values_file(it, depth):
    indent = "  " * depth
    for name, inner in it["properties"].items():
        if not depth:
            yield "\n"
        if "default" not in inner:
            yield f"{indent}{name}:\n"
            yield from values_file(inner, depth + 1)
            continue
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", inner["description"])
        yield textwrap.fill(text, 100, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ", break_long_words=False, break_on_hyphens=False) + "\n"
        default = inner["default"]
        if isinstance(default, dict) and default:
            yield f"{indent}{name}:\n" + textwrap.indent(yaml.safe_dump(default, sort_keys=False), indent + "  ")
        else:
            yield f"{indent}{name}: {json.dumps(default)}\n"


def page(source):
    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    rows = ["| value | default | what |", "|---|---|---|"]
    for path, it in leaves(source):
        default = json.dumps(it["default"])
        if it["default"] in ("", None, {}, []):
            shown = ""
        elif len(default) > SHOWN:
            shown = "in `values.yaml`"
        else:
            shown = f"`{default.strip(chr(34))}`"
        what = it["description"]
        if "enum" in it:
            what += " One of " + ", ".join(f"`{choice}`" for choice in it["enum"] if choice) + "."
        rows.append(f"| `{'.'.join(path)}` | {shown} | {what} |")
    return before + BEGIN + "\n\n" + "\n".join(rows) + "\n\n" + END + after
