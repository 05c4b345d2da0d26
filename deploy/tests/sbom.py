#!/usr/bin/env python3
"""Reads the image's list of libraries with another tool than the one that made it: sbom.py LIST PROGRAM

CycloneDX's own library has to find it valid, and it has to name what the program itself says (the section of cargo-auditable, with what
ran during the build), each in the version of Cargo.lock.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import tomllib
import zlib

from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def main():
    file, program = map(pathlib.Path, sys.argv[1:])
    listed = read(file.read_text())
    locked = {(package["name"], package["version"]) for package in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]}
    differ("left out, of the program's own", held(program) - listed)
    differ("not in the program's own", listed - held(program))
    differ("not in Cargo.lock", listed - locked)
    print(f"  {file.name}: {len(listed)} libraries, valid, and those of the program")


def read(text):
    """Names and versions of what is listed, the program among it."""
    content = json.loads(text)
    invalid = JsonStrictValidator(SchemaVersion.from_version(content["specVersion"])).validate_str(text)
    if invalid:
        sys.exit(f"deploy: the list of libraries is not valid: {str(invalid)[:500]}")
    bom = Bom.from_json(content)
    components = [*bom.components, bom.metadata.component]
    return {(component.name, component.version) for component in components if component}


def held(program):
    """The same as the program says it."""
    with tempfile.TemporaryDirectory() as folder:
        section = pathlib.Path(folder) / "section"
        # Without a name for its output objcopy would write the program itself.
        subprocess.run(["objcopy", f"--dump-section=.dep-v0={section}", program, "/dev/null"], check=True)
        packages = json.loads(zlib.decompress(section.read_bytes()))["packages"]
    return {(package["name"], package["version"]) for package in packages}


def differ(how, found):
    if found:
        sys.exit(f"deploy: the list of libraries: {how}: {sorted(found)}")


if __name__ == "__main__":
    main()
