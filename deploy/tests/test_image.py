"""The image as it is made: what its build is told, and the list of libraries in it (sbom.py)."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib
import unittest
import zlib

from image_steps import copy_context
from programs import DEPLOY

# Of Cargo.lock; their number does not matter.
LIBRARIES = 5


class Lists(unittest.TestCase):
    """Of a program that says what it holds, as cargo-auditable has it say."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        locked = tomllib.loads((DEPLOY.parent / "Cargo.lock").read_text())["package"]
        self.libraries = [(package["name"], package["version"]) for package in locked[:LIBRARIES]]
        self.program = self.holding(self.libraries)

    def holding(self, libraries):
        section, program = self.folder / "section", self.folder / "program"
        packages = [{"name": name, "version": version, "source": "crates.io"} for name, version in libraries]
        section.write_bytes(zlib.compress(json.dumps({"packages": packages}).encode()))
        subprocess.run(["objcopy", f"--add-section=.dep-v0={section}", "/bin/true", program], check=True)
        return program

    def listed(self, libraries, **others):
        components = [{"type": "library", "name": name, "version": version, "bom-ref": name} for name, version in libraries]
        return {"bomFormat": "CycloneDX", "specVersion": "1.3", "version": 1, "components": components, **others}

    def read(self, content):
        """Its status, and what it says."""
        file = self.folder / "list.cdx.json"
        file.write_text(json.dumps(content))
        done = subprocess.run([sys.executable, DEPLOY / "tests/sbom.py", file, self.program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout

    def test_the_right_list_is_taken(self):
        status, said = self.read(self.listed(self.libraries))
        self.assertEqual(status, 0, said)
        self.assertIn(f"{LIBRARIES} libraries, valid", said)

    def test_the_program_s_own_name_counts(self):
        own = {"type": "application", "name": self.libraries[0][0], "version": self.libraries[0][1]}
        status, said = self.read(self.listed(self.libraries[1:], metadata={"component": own}))
        self.assertEqual(status, 0, said)

    def test_a_wrong_list_is_told_by_what_is_wrong(self):
        (name, version), *others = self.libraries
        for content, words in (
            (self.listed(others), f"left out, of the program's own: [('{name}'"),
            (self.listed([(name, version), *others, ("log4j", "2.14.1")]), "not in the program's own: [('log4j', '2.14.1')]"),
            (self.listed([(name, "0.0.1"), *others]), "left out"),
            ({**self.listed(self.libraries), "components": "none"}, "not valid"),
            ({**self.listed(self.libraries), "surprise": 1}, "not valid"),
        ):
            with self.subTest(words):
                status, said = self.read(content)
                self.assertEqual(status, 1, said)
                self.assertIn(words, said)

    def test_what_cargo_did_not_lock_is_told(self):
        self.program = self.holding([*self.libraries, ("log4j", "2.14.1")])
        status, said = self.read(self.listed([*self.libraries, ("log4j", "2.14.1")]))
        self.assertEqual(status, 1, said)
        self.assertIn("not in Cargo.lock: [('log4j', '2.14.1')]", said)


class Image(unittest.TestCase):
    """deploy/docker/image.sh, with a program in the place of Docker that notes what it is told."""

    DIGEST = "sha256:" + "0123456789abcdef" * 4

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        docker = self.folder / "docker"
        docker.write_text(f'#!/bin/sh\n[ "$2" = imagetools ] && echo {self.DIGEST} && exit\nprintf "%s\\n" "$SOURCE_DATE_EPOCH" "$@" > {self.folder}/told\n')
        docker.chmod(0o755)

    def told(self, **environment):
        """The time of all files, and the arguments of the build."""
        script = DEPLOY / "docker/image.sh"
        own = {name: value for name, value in os.environ.items() if name != "RUST_IMAGE"}
        environment = {**own, "PATH": f"{self.folder}:{os.environ['PATH']}", **environment}
        subprocess.run([script, "gateway:test"], cwd=DEPLOY.parent, env=environment, check=True, stdout=subprocess.DEVNULL)
        epoch, *arguments = (self.folder / "told").read_text().splitlines()
        values = [value for flag, value in zip(arguments, arguments[1:]) if flag == "--build-arg"]
        return int(epoch), dict(value.split("=", 1) for value in values)

    def git(self, *arguments):
        return subprocess.run(["git", *arguments], cwd=DEPLOY, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def test_its_base_is_pinned_and_its_times_are_those_of_the_commit(self):
        (base,) = re.findall(r"^ARG RUST_IMAGE=(.*)$", (DEPLOY / "Dockerfile").read_text(), flags=re.M)
        epoch, values = self.told()
        self.assertEqual(epoch, int(self.git("log", "-1", "--format=%ct")))
        self.assertEqual(values["RUST_IMAGE"], f"{base}@{self.DIGEST}")
        self.assertEqual(values["GATEWAY_COMMIT"], self.git("rev-parse", "HEAD"))
        # The time as the specification of images has it (RFC 3339).
        self.assertRegex(values["GATEWAY_CREATED"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([+-]\d\d:\d\d|Z)$")
        self.assertTrue(values["GATEWAY_CREATED"].startswith(values["GATEWAY_COMMIT_DATE"]))

    def test_a_digest_that_is_given_stays(self):
        given = f"rust:1-bookworm@{self.DIGEST[:-1]}0"
        _, values = self.told(RUST_IMAGE=given)
        self.assertEqual(values["RUST_IMAGE"], given)

    def test_what_the_licences_are_read_of_is_in_the_context(self):
        context = self.folder / "context"
        copy_context(context)
        target = re.search(r"^host: (.*)$", subprocess.run(["rustc", "-vV"], check=True, stdout=subprocess.PIPE, text=True).stdout, flags=re.M)[1]
        done = subprocess.run([sys.executable, context / "deploy/package/licences.py", target], cwd=context, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("tokio", done.stdout)

    def test_the_dockerfile_knows_what_it_is_told(self):
        dockerfile = (DEPLOY / "Dockerfile").read_text()
        _, values = self.told()
        self.assertEqual(set(values), set(re.findall(r"^ARG (\w+)", dockerfile, flags=re.M)))
        (created,) = re.findall(r'image\.created="\$\{(\w+)\}"', dockerfile)
        self.assertEqual(created, "GATEWAY_CREATED")


if __name__ == "__main__":
    unittest.main()
