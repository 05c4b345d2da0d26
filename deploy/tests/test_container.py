"""The image and compose.yaml."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import unittest

import yaml

import programs
from programs import DEPLOY

HADOLINT = pathlib.Path(sys.executable).parent / "hadolint"
GATEWAYS = ["gateway-1", "gateway-2", "gateway-3"]


class Image(unittest.TestCase):
    def test_hadolint_has_no_complaint(self):
        status, said = programs.run_tool(str(HADOLINT), DEPLOY / "Dockerfile")
        self.assertEqual((status, said), (0, ""))

    def test_it_listens_where_the_program_does(self):
        exposed = re.findall(r"^EXPOSE (\d+)$", (DEPLOY / "Dockerfile").read_text(), flags=re.M)
        self.assertEqual(exposed, [programs.default("GATEWAY_LISTEN").rpartition(":")[2]])

    def test_it_is_built_with_the_toolchain_of_the_sources(self):
        channel = re.search(r'channel = "(\d+\.\d+)', (DEPLOY.parent / "rust-toolchain.toml").read_text())[1]
        self.assertIn(f"ARG RUST_IMAGE=rust:{channel}-", (DEPLOY / "Dockerfile").read_text())

    def test_its_labels_tell_the_version_of_the_sources(self):
        version = re.search(r'^version = "(.*)"$', (DEPLOY.parent / "Cargo.toml").read_text(), flags=re.M)[1]
        self.assertIn(f'org.opencontainers.image.version="{version}"', (DEPLOY / "Dockerfile").read_text())

    def test_all_that_the_build_needs_is_in_its_context(self):
        kept = re.findall(r"^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), flags=re.M)
        members = re.search(r"^members = \[(.*)\]", (DEPLOY.parent / "Cargo.toml").read_text(), flags=re.M)[1]
        needed = re.findall(r'"([^"]+)"', members) + [".cargo", "Cargo.lock", "Cargo.toml", "LICENSE-MIT", "rust-toolchain.toml", "deploy/docker", "deploy/package"]
        # The program has the pages of the alerts in it; tests read the rules.
        needed += ["deploy/prometheus", *self.files_of_programs(re.findall(r'"([^"]+)"', members))]
        self.assertEqual(set(kept), set(needed))
        for name in kept:
            self.assertTrue((DEPLOY.parent / name).exists(), name)

    def files_of_programs(self, members):
        """Files of no member that the source of one has compiled in, but for those of the rules."""
        root = DEPLOY.parent.resolve()
        found = set()
        for source in (file for member in members for file in (root / member / "src").rglob("*.rs")):
            # What is behind `doc` only the tests compile.
            for name in re.findall(r'(?<!doc = )include_(?:str|bytes)!\("(\.\./[^"]+)"', source.read_text()):
                file = (source.parent / name).resolve().relative_to(root)
                if file.parts[0] not in members and file.parts[:2] != ("deploy", "prometheus"):
                    found.add(str(file))
        self.assertGreaterEqual(len(found), 2)
        return sorted(found)

    def test_its_health_check_tells_a_node_that_lives_from_none(self):
        program, *arguments = json.loads(re.search(r"^HEALTHCHECK .* CMD (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), flags=re.M)[1])
        self.assertEqual(program, "/gateway")
        with tempfile.TemporaryDirectory() as folder:
            node = programs.Gateway(self, folder, SHUTDOWN_DRAIN="60s")
            node.ready()
            ask = lambda arguments, listen: subprocess.run([programs.GATEWAY, *arguments], env={"GATEWAY_INTERNAL_LISTEN": listen}, capture_output=True).returncode
            here = f"127.0.0.1:{node.internal}"
            for listen in (here, f"0.0.0.0:{node.internal}"):
                self.assertEqual(ask(arguments, listen), 0)
                self.assertEqual(ask(["healthcheck"], listen), 0)
            self.assertEqual(programs.status(node.internal, "/drain", method="POST"), 202)
            self.assertEqual(ask(["healthcheck"], here), 1, "a node that drains is not ready")
            self.assertEqual(ask(arguments, here), 0, "a node that drains lives")
            os.kill(node.child.pid, signal.SIGKILL)
            node.child.wait()
            self.assertEqual(ask(arguments, here), 1)


class Compose(unittest.TestCase):
    def setUp(self):
        self.compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
        self.services = self.compose["services"]

    def test_files_that_it_mounts_are_there(self):
        for name, service in self.services.items():
            for volume in service.get("volumes", []):
                source, target, *options = volume.split(":")
                with self.subTest(name, volume=volume):
                    self.assertTrue((DEPLOY / source).exists())
                    self.assertTrue(target.startswith("/"))
                    self.assertEqual(options, ["ro"])
        for name in GATEWAYS:
            build = self.services[name]["build"]
            self.assertEqual((DEPLOY / build["context"] / build["dockerfile"]).resolve(), DEPLOY / "Dockerfile")

    def test_names_are_those_of_services_and_networks(self):
        for name, service in self.services.items():
            for other in service.get("depends_on", {}):
                self.assertIn(other, self.services, name)
                self.assertIn("healthcheck", self.services[other], other)
            self.assertEqual(set(service["networks"]) - self.compose["networks"].keys(), set(), name)

    def test_gateways_differ_in_their_name_only(self):
        self.assertEqual([name for name in self.services if name.startswith("gateway")], GATEWAYS)
        for name in GATEWAYS:
            settings = self.services[name]["environment"]
            self.assertEqual(settings["GATEWAY_CLUSTER_NODE_ID"], name)
            self.assertEqual(settings["GATEWAY_CLUSTER_ADVERTISE"], f"{name}:3001")
            self.assertEqual(settings["GATEWAY_INTERNAL_LISTEN"], "0.0.0.0:3001")

    def test_the_program_takes_the_settings(self):
        for name in GATEWAYS:
            settings = dict(self.services[name]["environment"])
            self.assertEqual(settings.keys() - programs.reference().keys(), set())
            settings["GATEWAY_CLUSTER_SECRET"] = re.fullmatch(r"\$\{\w+:-(.*)\}", settings["GATEWAY_CLUSTER_SECRET"])[1]
            for setting in programs.unbuilt():
                settings.pop(setting, None)
            status, said = programs.check_config(settings)
            self.assertEqual(status, 0, said)

    def test_a_gateway_has_time_for_its_drain(self):
        for name in GATEWAYS:
            service = self.services[name]
            self.assertGreater(programs.seconds(service["stop_grace_period"]), programs.seconds(service["environment"]["GATEWAY_SHUTDOWN_DRAIN"]) + 5)

    def test_prometheus_scrapes_the_gateways_and_only_they_are_published_that_may_be(self):
        scrape = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"][0]
        self.assertEqual(scrape["static_configs"][0]["targets"], [f"{name}:3001" for name in GATEWAYS])
        published = {name: service["ports"] for name, service in self.services.items() if "ports" in service}
        self.assertEqual(published, {"nginx": ["8080:8080"], "prometheus": ["127.0.0.1:9090:9090"], "grafana": ["127.0.0.1:3030:3000"]})


if __name__ == "__main__":
    unittest.main()
