"""The objects of kubernetes/: rendered, held against the schemas, and against each other and the program."""

import base64
import json
import os
import pathlib
import re
import shutil
import tempfile
import unittest

import jsonschema
import kubernetes_validate
import yaml

import programs
from programs import DEPLOY

FOLDER = DEPLOY / "kubernetes"
KUBECTL = os.environ["KUBECTL"]
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())
COMPONENTS = sorted(path.name for path in (FOLDER / "components").iterdir())

# The oldest that has what is used (preStop.sleep), and the newest that is known.
VERSIONS = ["1.30", "1.37"]

# Between the end of the drain and the kubelet's SIGKILL.
MARGIN_SECONDS = 10


class Objects(unittest.TestCase):
    def test_every_object_fits_its_schema(self):
        for name, objects in rendered().items():
            for it in objects:
                with self.subTest(name, kind=it["kind"], object=it["metadata"]["name"]):
                    fits(it)

    def test_a_wrong_object_does_not_fit(self):
        deployment = find(rendered()["base"], "Deployment", "gateway")
        deployment["spec"]["replicass"] = 3
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)
        monitor = find(rendered()["overlays/ingress"], "ServiceMonitor", "gateway")
        monitor["spec"]["endpoints"][0]["intervall"] = "1s"
        schema = pathlib.Path(__file__).parent / "schemas" / "ServiceMonitor.json"
        with self.assertRaises(jsonschema.ValidationError):
            jsonschema.validate(monitor, json.loads(schema.read_text()))

    def test_selectors_choose_the_pods_that_they_mean(self):
        for name, objects in rendered().items():
            pods = {it["metadata"]["name"]: it["spec"]["template"]["metadata"]["labels"] for it in objects if it["kind"] == "Deployment"}
            for it in objects:
                meant = {"gateway-redis": "gateway-redis"}.get(it["metadata"]["name"], "gateway")
                for selector in selectors(it):
                    with self.subTest(name, kind=it["kind"], object=it["metadata"]["name"]):
                        chosen = [pod for pod, labels in pods.items() if selector and selector.items() <= labels.items()]
                        self.assertEqual(chosen, [meant])

    def test_network_policies_let_in_whom_they_mean(self):
        gateway, backend = {"app.kubernetes.io/name": "gateway"}, {"gateway-backend": "true"}
        here, elsewhere, prometheus = {"kubernetes.io/metadata.name": "gateway"}, {"kubernetes.io/metadata.name": "elsewhere"}, {"kubernetes.io/metadata.name": "monitoring"}
        for name, objects in rendered().items():
            policy = find(objects, "NetworkPolicy", "gateway")
            for port, way, pod, namespace, passes in (
                ("clients", "ingress", {}, elsewhere, True),
                ("internal", "ingress", gateway, here, True),
                ("internal", "ingress", gateway, elsewhere, False),
                ("internal", "ingress", {}, prometheus, True),
                ("internal", "ingress", {}, here, False),
                ("internal", "ingress", backend, here, True),
                ("internal", "ingress", backend, elsewhere, False),
                ("internal", "ingress", {}, {**elsewhere, **backend}, False),
                ("internal", "ingress", backend, {**elsewhere, **backend}, True),
                ("internal", "egress", gateway, here, True),
                (8443, "egress", backend, here, True),
                (8443, "egress", backend, {**elsewhere, **backend}, True),
                (8443, "egress", backend, elsewhere, False),
                (8443, "egress", {}, here, False),
                (6379, "egress", {}, elsewhere, True),
            ):
                with self.subTest(name, port=port, way=way, pod=pod, namespace=namespace):
                    self.assertEqual(lets_pass(policy, way, port, pod, namespace, here), passes)
            for policy in (it for it in objects if it["kind"] == "NetworkPolicy" and it["metadata"]["name"] == "gateway-redis"):
                self.assertTrue(lets_pass(policy, "ingress", "redis", gateway, here, here))
                self.assertFalse(lets_pass(policy, "ingress", "redis", backend, here, here))

    def test_references_name_what_is_there(self):
        for name, objects in rendered().items():
            deployment = find(objects, "Deployment", "gateway")
            names = {(it["kind"], it["metadata"]["name"]) for it in objects}
            container = gateway_container(deployment)
            with self.subTest(name):
                for source in container["envFrom"]:
                    ((kind, reference),) = source.items()
                    kind = {"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind]
                    self.assertIn((kind, reference["name"]), names)
                self.assertIn(("ServiceAccount", deployment["spec"]["template"]["spec"]["serviceAccountName"]), names)
                for route in (it for it in objects if it["kind"] == "HTTPRoute"):
                    for backend in (backend for rule in route["spec"]["rules"] for backend in rule["backendRefs"]):
                        service = find(objects, "Service", backend["name"])
                        self.assertIn(backend["port"], [port["port"] for port in service["spec"]["ports"]])
                for ingress in (it for it in objects if it["kind"] == "Ingress"):
                    for path in (path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]):
                        backend = path["backend"]["service"]
                        service = find(objects, "Service", backend["name"])
                        self.assertIn(backend["port"]["name"], [port["name"] for port in service["spec"]["ports"]])
                for monitor in (it for it in objects if it["kind"] == "ServiceMonitor"):
                    wanted = monitor["spec"]["selector"]["matchLabels"].items()
                    (service,) = [it for it in objects if it["kind"] == "Service" and wanted <= it["metadata"]["labels"].items()]
                    ports = [port["name"] for port in service["spec"]["ports"]]
                    self.assertTrue(all(endpoint["port"] in ports for endpoint in monitor["spec"]["endpoints"]))
                    self.assertEqual(service["metadata"]["labels"][monitor["spec"]["jobLabel"]], "gateway")

    def test_ports_have_one_name_everywhere(self):
        for name, objects in rendered().items():
            ports = {port["name"] for it in objects if it["kind"] == "Deployment" for container in it["spec"]["template"]["spec"]["containers"] for port in container["ports"]}
            used = [port["targetPort"] for it in objects if it["kind"] == "Service" for port in it["spec"]["ports"]]
            for policy in (it["spec"] for it in objects if it["kind"] == "NetworkPolicy"):
                rules = policy.get("ingress", []) + policy.get("egress", [])
                used += [port["port"] for rule in rules for port in rule.get("ports", []) if isinstance(port["port"], str)]
            with self.subTest(name):
                self.assertEqual(set(used) - ports, set())

    def test_an_autoscaled_deployment_does_not_say_how_many(self):
        for name, objects in rendered().items():
            scaled = any(it["kind"] == "HorizontalPodAutoscaler" for it in objects)
            with self.subTest(name):
                self.assertEqual("replicas" in find(objects, "Deployment", "gateway")["spec"], not scaled)


class Program(unittest.TestCase):
    def test_ports_are_those_of_the_program(self):
        for name, objects in rendered().items():
            settings = environment(objects)
            ports = {port["name"]: port["containerPort"] for port in gateway_container(find(objects, "Deployment", "gateway"))["ports"]}
            with self.subTest(name):
                self.assertEqual(ports["clients"], port_of(settings.get("GATEWAY_LISTEN", programs.default("GATEWAY_LISTEN"))))
                self.assertEqual(ports["internal"], port_of(settings["GATEWAY_INTERNAL_LISTEN"]))
                self.assertEqual(ports["internal"], port_of(settings["GATEWAY_CLUSTER_ADVERTISE"]))

    def test_variables_are_those_of_the_program(self):
        for name, objects in rendered().items():
            with self.subTest(name):
                named = {variable for variable in environment(objects) if variable.startswith("GATEWAY_")}
                self.assertEqual(named - programs.reference().keys(), set())

    def test_the_pod_has_time_for_its_drain(self):
        for name, objects in rendered().items():
            pod = find(objects, "Deployment", "gateway")["spec"]["template"]["spec"]
            before = gateway_container(find(objects, "Deployment", "gateway"))["lifecycle"]["preStop"]["sleep"]["seconds"]
            drain = programs.seconds(environment(objects)["GATEWAY_SHUTDOWN_DRAIN"])
            with self.subTest(name):
                self.assertGreaterEqual(pod["terminationGracePeriodSeconds"], before + drain + MARGIN_SECONDS)

    def test_the_page_shows_a_rollout_as_long_as_it_takes(self):
        deployment = find(rendered()["base"], "Deployment", "gateway")["spec"]
        before = gateway_container({"spec": deployment})["lifecycle"]["preStop"]["sleep"]["seconds"]
        drain = int(programs.seconds(environment(rendered()["base"])["GATEWAY_SHUTDOWN_DRAIN"]))
        table = (DEPLOY.parent / "docs/kubernetes.md").read_text().split("| seconds | what |\n")[1].split("\n\n")[0]
        shown = re.findall(r"^\| ([\d to]+) \|", table, flags=re.M)
        ready = int(shown[1])
        goes = ready + deployment["minReadySeconds"]
        ends = goes + before + drain
        self.assertEqual(shown, ["0", str(ready), str(goes), str(goes + before), f"{goes + before} to {ends}", str(ends)])

    def test_an_unchanged_base_is_refused_with_words(self):
        status, said = programs.check_config(environment(rendered()["base"]))
        self.assertEqual(status, 2, said)
        self.assertIn("cluster.", said)

    def test_it_starts_with_the_environment_of_a_pod_and_answers_the_probes(self):
        objects = rendered()["overlays/trial"]
        container = gateway_container(find(objects, "Deployment", "gateway"))
        with tempfile.TemporaryDirectory() as folder:
            settings = environment(objects)
            refused = programs.unbuilt() & settings.keys()
            if refused:
                print(f"(not built yet, left out: {', '.join(sorted(refused))})", end=" ", flush=True)
            if "GATEWAY_REDIS_URL" not in refused:
                settings["GATEWAY_REDIS_URL"] = programs.redis(self, folder)
            settings = {name.removeprefix("GATEWAY_"): value for name, value in settings.items() if name.startswith("GATEWAY_") and name not in refused}
            clients, internal = programs.free_ports(2)
            settings.update(LISTEN=f"0.0.0.0:{clients}", INTERNAL_LISTEN=f"0.0.0.0:{internal}", SHUTDOWN_DRAIN="1s")
            if "CLUSTER_ADVERTISE" in settings:
                settings["CLUSTER_ADVERTISE"] = f"127.0.0.1:{internal}"
            node = programs.Gateway(self, folder, **settings)
            ports = {"clients": clients, "internal": internal}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                get = container[probe]["httpGet"]
                node.until(probe, lambda: programs.status(ports[get["port"]], get["path"]) == 200)
                self.assertNotEqual(programs.status(clients, get["path"]), 200, "clients must not reach it")
            self.assertEqual(node.stop(), 0, node.log())


def fits(it):
    """Holds an object against the schema of its kind."""
    known = json.dumps(it, sort_keys=True)
    if known in _FITTING:
        return
    check(it)
    _FITTING.add(known)


def check(it):
    schema = pathlib.Path(__file__).parent / "schemas" / f"{it['kind']}.json"
    if schema.exists():
        jsonschema.validate(it, json.loads(schema.read_text()), jsonschema.Draft202012Validator)
        return
    for version in VERSIONS:
        kubernetes_validate.validate(it, version, strict=True)


# Objects of which it is known, since that takes long.
_FITTING = set()
_RENDERED = {}


def rendered():
    """The objects of the base, of every overlay, and of every component on the base, by name."""
    if not _RENDERED:
        with tempfile.TemporaryDirectory(dir=programs.TARGET) as folder:
            # A copy: it needs no files but its own.
            copy = pathlib.Path(folder) / "kubernetes"
            shutil.copytree(FOLDER, copy)
            _RENDERED["base"] = render(copy / "base")
            for overlay in OVERLAYS:
                _RENDERED[f"overlays/{overlay}"] = render(copy / "overlays" / overlay)
            for component in COMPONENTS:
                up = {"resources": ["../base"], "components": [f"../components/{component}"]}
                (copy / component).mkdir()
                (copy / component / "kustomization.yaml").write_text(yaml.safe_dump(up))
                _RENDERED[f"components/{component}"] = render(copy / component)
    return json.loads(json.dumps(_RENDERED))


def render(folder):
    status, text = programs.run_tool(KUBECTL, "kustomize", str(folder))
    if status != 0:
        raise AssertionError(f"{folder}: {text}")
    return read(text)


def read(text):
    """The objects of a file, read by the fast one of the two readers."""
    return [it for it in yaml.load_all(text, Loader=yaml.CSafeLoader) if it]


def find(objects, kind, name):
    (found,) = [it for it in objects if it["kind"] == kind and it["metadata"]["name"] == name]
    return found


def gateway_container(deployment):
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return container


def environment(objects):
    """The variables of the container, as the kubelet would make them."""
    container = gateway_container(find(objects, "Deployment", "gateway"))
    values = {}
    for source in container["envFrom"]:
        if "configMapRef" in source:
            values |= find(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
        else:
            secret = find(objects, "Secret", source["secretRef"]["name"])["data"]
            values |= {name: base64.b64decode(value).decode() for name, value in secret.items()}
    fields = {"metadata.name": "gateway-7d9f8b6c5d-x2x4z", "status.podIP": "127.0.0.1"}
    for variable in container["env"]:
        value = variable.get("value")
        if value is None:
            value = fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]
        for name, known in values.items():
            value = value.replace(f"$({name})", known)
        values[variable["name"]] = value
    return values


def selectors(it):
    """The selectors of pods in an object that are meant for pods of these files."""
    spec = it.get("spec", {})
    if it["kind"] == "Service":
        yield spec["selector"]
    elif it["kind"] == "Deployment":
        yield spec["selector"]["matchLabels"]
        for spread in spec["template"]["spec"].get("topologySpreadConstraints", []):
            yield spread["labelSelector"]["matchLabels"]
    elif it["kind"] == "PodDisruptionBudget":
        yield spec["selector"]["matchLabels"]
    elif it["kind"] == "NetworkPolicy":
        yield spec["podSelector"].get("matchLabels")


def lets_pass(policy, way, port, pod, namespace, home):
    """Whether a policy in the namespace `home` has a rule for this peer, a pod's labels in a namespace's."""

    def chooses(selector, labels):
        return selector.get("matchLabels", {}).items() <= labels.items()

    def is_meant(peer):
        among = peer.get("namespaceSelector")
        return chooses(peer.get("podSelector", {}), pod) and (chooses(among, namespace) if among is not None else namespace == home)

    for rule in policy["spec"].get(way, []):
        ports = [it["port"] for it in rule.get("ports", [])]
        peers = rule.get({"ingress": "from", "egress": "to"}[way])
        if (not ports or port in ports) and (peers is None or any(map(is_meant, peers))):
            return True
    return False


def port_of(address):
    return int(address.rpartition(":")[2])


if __name__ == "__main__":
    unittest.main()
