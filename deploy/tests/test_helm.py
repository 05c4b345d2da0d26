"""The chart of helm/: rendered by Helm itself, held against the schemas, the kustomize base, and the program."""

import base64
import functools
import json
import pathlib
import re
import tempfile
import tomllib
import unittest

import helm_python
import kubernetes_validate
import yaml

import chart_values
import programs
import test_kubernetes as kustomize
from chart_values import CHART, DOCS
from test_kubernetes import environment, find, gateway_container

# Without these the nodes do not start.
SECRETS = {"GATEWAY_REDIS_URL": "redis://redis.example.com:6379", "GATEWAY_CLUSTER_SECRET": "a secret of this test"}
BASE = {"secrets": {"values": SECRETS}}
ALL_OF_IT = {
    **BASE,
    "route": {"enabled": True, "parentRefs": [{"name": "public", "namespace": "gateway-system"}], "hostnames": ["realtime.example.com"]},
    "ingress": {"enabled": True, "hosts": ["realtime.example.com"]},
    "autoscaling": {"enabled": True},
    "monitoring": {"serviceMonitor": {"enabled": True}, "rules": {"enabled": True}, "board": {"enabled": True}},
    "redis": {"enabled": True},
}

# What Helm's objects have and those of kustomize do not.
HELMS_LABELS = {"app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"}


class Same(unittest.TestCase):
    """Equal objects from both, but for the labels of Helm and the hashes in names of kustomize."""

    def test_the_base(self):
        self.same(BASE, [])

    def test_redis_for_trials(self):
        self.same({"redis": {"enabled": True}, "settings": {"demo": True}}, ["redis"], overlay="trial")

    def test_the_ways_in(self):
        self.same({**BASE, "route": ALL_OF_IT["route"]}, ["gateway-api"])
        self.same({**BASE, "ingress": ALL_OF_IT["ingress"]}, ["ingress"])

    def test_autoscaling(self):
        self.same({**BASE, "autoscaling": {"enabled": True}}, ["autoscaling"])

    def test_monitoring(self):
        self.same({**BASE, "monitoring": ALL_OF_IT["monitoring"]}, ["monitoring"])

    def same(self, values, components, overlay=None):
        ours = comparable(render(values))
        theirs = comparable(kustomize.rendered()[f"overlays/{overlay}"] if overlay else with_components(components))
        self.assertEqual(sorted(ours), sorted(theirs))
        for name, it in theirs.items():
            with self.subTest(object=name):
                self.assertEqual(list(differences(ours[name], it)), [])


class Objects(unittest.TestCase):
    def test_every_object_fits_its_schema(self):
        for values in (BASE, ALL_OF_IT, *({**ALL_OF_IT, **nested(path, value)} for path, value, _ in USES)):
            for it in render(values):
                with self.subTest(values=values, kind=it["kind"], object=it["metadata"]["name"]):
                    kustomize.fits(it)

    def test_a_wrong_object_does_not_fit(self):
        wrong = find(render({**BASE, "pod": {"tolerations": [{"operater": "Exists"}]}}), "Deployment", "gateway")
        with self.assertRaises(kubernetes_validate.ValidationError):
            kustomize.fits(wrong)

    def test_helm_lint_has_no_complaint(self):
        for values in (BASE, ALL_OF_IT):
            found = helm_python.lint(CHART, values)
            worst = [message for message in found["messages"] if "icon is recommended" not in str(message)]
            self.assertEqual(worst, [])

    def test_selectors_choose_the_pods_of_their_release_alone(self):
        objects = {name: render(ALL_OF_IT, name=name) for name in ("gateway", "other")}
        pods = {
            (release, it["metadata"]["name"]): it["spec"]["template"]["metadata"]["labels"]
            for release, its in objects.items()
            for it in its
            if it["kind"] == "Deployment"
        }
        for release, its in objects.items():
            for it in its:
                for selector in kustomize.selectors(it):
                    with self.subTest(release, kind=it["kind"], object=it["metadata"]["name"]):
                        chosen = [pod for pod, labels in pods.items() if selector and selector.items() <= labels.items()]
                        meant = "redis" if it["metadata"]["name"].endswith("-redis") else "gateway"
                        self.assertEqual([release for release, _ in chosen], [release])
                        self.assertTrue(chosen[0][1].endswith(meant))

    def test_labels_of_a_pod_do_not_take_the_place_of_those_that_choose_it(self):
        pod = find(render({**BASE, "pod": {"labels": {"app.kubernetes.io/name": "other"}}}), "Deployment", "gateway")["spec"]["template"]
        self.assertEqual(pod["metadata"]["labels"]["app.kubernetes.io/name"], "gateway")

    def test_names_are_those_of_the_release(self):
        for release, name in ("gateway", "gateway"), ("my-gateway", "my-gateway"), ("chat", "chat-gateway"), ("a" * 53, "a" * 42 + "-gateway"):
            self.assertIn(name, [it["metadata"]["name"] for it in render(BASE, name=release)])

    def test_a_change_of_settings_or_secrets_rolls_the_pods(self):
        marks = [
            json.dumps(find(render(values), "Deployment", "gateway")["spec"]["template"]["metadata"]["annotations"])
            for values in (BASE, {**BASE, "settings": {"demo": True}}, {"secrets": {"values": {**SECRETS, "GATEWAY_API_KEY": "a key of this test, long"}}})
        ]
        self.assertEqual(len(set(marks)), 3)

    def test_the_notes_name_objects_that_are_there(self):
        notes = rendered_files(ALL_OF_IT, "chat")["gateway/templates/NOTES.txt"]
        names = {it["metadata"]["name"] for it in render(ALL_OF_IT, name="chat")}
        for name in re.findall(r"chat-[a-z-]*gateway[a-z-]*", notes):
            self.assertIn(name, names)


class Values(unittest.TestCase):
    def test_a_typo_is_refused_by_name(self):
        chart = the_chart()
        for path, it in (*objects_of(chart.schema), ((), chart.schema)):
            with self.subTest(path=path):
                values = {**BASE, **nested((*path, "typoo"), "x")}
                with self.assertRaises(helm_python.HelmError) as refused:
                    render(values)
                self.assertIn("typoo", str(refused.exception))

    def test_wrong_values_are_refused(self):
        for path, value in (
            (("replicas",), 0),
            (("replicas",), "3"),
            (("service", "type"), "ClusterIp"),
            (("image", "digest"), "sha256:123"),
            (("fullnameOverride",), "Not_A_Name"),
            (("settings", "shutdown", "drain"), "60"),
            (("settings", "limits", "connections"), "many"),
            (("settings", "log", "format"), "xml"),
            (("settings", "cors", "origins"), "https://chat.example.com"),
            (("settings", "redis", "url"), "redis://elsewhere"),
            (("settings", "cluster", "secret"), "a secret in a ConfigMap"),
            (("settings", "internal_listen"), "127.0.0.1:3001"),
            (("secrets", "from"), [{"variable": "GATEWAY_REDIS_ULR", "name": "redis", "key": "url"}]),
        ):
            with self.subTest(path=path, value=value), self.assertRaises(helm_python.HelmError) as refused:
                render({**BASE, **nested(path, value)})
            self.assertIn(path[-1], str(refused.exception))

    def test_what_cannot_work_is_refused_with_words(self):
        for values, words in (
            ({}, "secrets.existing"),
            ({**BASE, "route": {"enabled": True}}, "route.parentRefs"),
            ({**BASE, "autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 4}}, "autoscaling.maxReplicas"),
            ({**BASE, "autoscaling": {"enabled": True}, "settings": {"limits": {"connections": None}}}, "settings.limits.connections"),
        ):
            with self.subTest(words), self.assertRaises(helm_python.HelmError) as refused:
                render(values)
            self.assertIn(words, str(refused.exception))

    def test_every_value_is_used(self):
        """Each changes what is said beside it, and the table of uses has all values of the schema."""
        known = {".".join(path) for path, _ in chart_values.leaves(chart_values.complete())}
        without_effect = {"global"}
        self.assertEqual(known - without_effect, {".".join(path[:depth]) for path, _, _ in USES for depth in range(1, 4)} & known)
        before = {key(it): it for it in render(ALL_OF_IT)}
        for path, value, (where, step, expected) in USES:
            with self.subTest(".".join(path)):
                after = {key(it): it for it in render(merge(ALL_OF_IT, nested(path, value)))}
                if expected is None:
                    self.assertIn(where, before)
                    self.assertNotIn(where, after)
                    continue
                self.assertEqual(at(after[where], step), expected)
                if where in before:
                    self.assertNotEqual(at(before[where], step), expected)

    def test_the_defaults_are_those_of_the_schema(self):
        chart = the_chart()
        for path, it in chart_values.leaves(chart_values.complete()):
            self.assertEqual(at(chart.values, path), it["default"], path)

    def test_every_setting_gets_to_the_container(self):
        """With the example of each on the page of configuration."""
        for name, variable, entry in chart_values.settings():
            if name in chart_values.OF_THE_CHART:
                continue
            example = next(iter(tomllib.loads(re.search(r"^- Example: `(.*)`$", entry, flags=re.M)[1]).values()))
            with self.subTest(name):
                if chart_values.SECRET.search(entry):
                    objects = render({"secrets": {"values": {**SECRETS, variable: example}}})
                    made = base64.b64decode(find(objects, "Secret", "gateway")["data"][variable]).decode()
                else:
                    objects = render(merge(BASE, {"settings": nested(name.split("."), example)}))
                    made = find(objects, "ConfigMap", "gateway")["data"][variable]
                text = ",".join(example) if isinstance(example, list) else example
                self.assertEqual(made, str(text).lower() if isinstance(text, bool) else str(text))

    def test_large_numbers_stay_whole(self):
        settings = {"limits": {"connections": 1000000, "connections_per_ip": 12345678}}
        data = find(render({**BASE, "settings": settings}), "ConfigMap", "gateway")["data"]
        self.assertEqual((data["GATEWAY_LIMITS_CONNECTIONS"], data["GATEWAY_LIMITS_CONNECTIONS_PER_IP"]), ("1000000", "12345678"))

    def test_null_takes_a_setting_back(self):
        for settings in ({"shards": None}, {"limits": {"connections": None}}, {"limits": None}):
            objects = render({**BASE, "settings": settings})
            (name,) = settings
            left = {variable for variable in find(objects, "ConfigMap", "gateway")["data"] if variable.startswith(f"GATEWAY_{name.upper()}")}
            self.assertEqual(left, set())


class Program(unittest.TestCase):
    def test_the_versions_are_the_program_s(self):
        cargo = tomllib.loads((DOCS.parent / "Cargo.toml").read_text())
        chart = the_chart()
        self.assertEqual(chart.metadata["version"], cargo["workspace"]["package"]["version"])
        self.assertEqual(chart.metadata["appVersion"], chart.metadata["version"])

    def test_the_program_takes_the_environment_of_a_pod(self):
        settings = {"cors": {"origins": ["https://chat.example.com", "https://example.com"]}, "engine": {"ping_interval": "20s"}, "limits": {"connections": 1000000}}
        for values in (BASE, ALL_OF_IT, merge(BASE, {"settings": settings})):
            status, said = programs.check_config({name: value for name, value in environment(render(values)).items() if name.startswith("GATEWAY_")})
            self.assertEqual(status, 0, said)

    def test_a_pod_has_time_for_its_drain(self):
        for drain, seconds in ("60s", 60), ("2m", 120), ("1h", 3600), ("1500ms", 2), (0, 0), (None, None):
            values = {**BASE, "rollout": {"preStopSeconds": 7}, "settings": {"shutdown": {"drain": drain}}}
            if drain is None:
                seconds = programs.seconds(programs.default("GATEWAY_SHUTDOWN_DRAIN"))
            pod = find(render(values), "Deployment", "gateway")["spec"]["template"]["spec"]
            self.assertEqual(pod["terminationGracePeriodSeconds"], 7 + seconds + 20, drain)
        for section in ("shutdown", "engine", "limits"):
            render(merge(ALL_OF_IT, {"settings": {section: None}, "autoscaling": {"connections": 10}}))


class Page(unittest.TestCase):
    def test_its_values_render(self):
        """Each block of values on the page is taken, with what the page says that nodes need."""
        blocks = re.findall(r"```yaml\n(.*?)```", chart_values.PAGE.read_text(), flags=re.S)
        self.assertGreaterEqual(len(blocks), 4)
        for block in blocks:
            with self.subTest(block):
                render(merge(BASE, yaml.safe_load(block)))


def deployment(*step):
    return ("Deployment", "gateway"), ("spec", "template", "spec", *step)


def container(*step):
    return deployment("containers", 0, *step)


CLIENTS = ("NetworkPolicy", "gateway"), ("spec", "ingress", 0, "from")
TLS = [{"hosts": ["realtime.example.com"], "secretName": "tls"}]
PEERS = [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}]
ENOUGH = {"requests": {"cpu": "4", "memory": "2Gi"}}
TAINT = [{"key": "realtime", "operator": "Exists"}]
APART = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname"}]}}
OTHER = {"variable": "GATEWAY_REDIS_URL", "name": "redis", "key": "url"}
FROM = {"name": "GATEWAY_REDIS_URL", "valueFrom": {"secretKeyRef": {"name": "redis", "key": "url"}}}
DIGEST = "sha256:" + "0123456789abcdef" * 4

# A value, and what stands where in which object with it; None if the object is gone.
USES = [
    (("image", "repository"), "registry.example.com/gateway", (*container("image"), "registry.example.com/gateway:0.2.0")),
    (("image", "tag"), "0.1.1", (*container("image"), "gateway:0.1.1")),
    (("image", "digest"), DIGEST, (*container("image"), f"gateway@{DIGEST}")),
    (("image", "pullPolicy"), "Always", (*container("imagePullPolicy"), "Always")),
    (("imagePullSecrets",), [{"name": "registry"}], (*deployment("imagePullSecrets"), [{"name": "registry"}])),
    (("fullnameOverride",), "realtime", (("Service", "realtime"), ("spec", "type"), "ClusterIP")),
    (("labels",), {"release": "prometheus"}, (("ServiceMonitor", "gateway"), ("metadata", "labels", "release"), "prometheus")),
    (("replicas",), 5, (("Deployment", "gateway"), ("spec", "replicas"), 5)),
    (("settings",), {"log": {"level": "debug"}}, (("ConfigMap", "gateway"), ("data", "GATEWAY_LOG_LEVEL"), "debug")),
    (("secrets", "existing"), "mine", (*container("envFrom", 2), {"secretRef": {"name": "mine"}})),
    (("secrets", "from"), [OTHER], (*container("env", 4), FROM)),
    (("secrets", "values"), {"GATEWAY_API_KEY": "key"}, (("Secret", "gateway"), ("data", "GATEWAY_API_KEY"), "a2V5")),
    (("resources",), ENOUGH, (*container("resources", "requests"), ENOUGH["requests"])),
    (("rollout", "minReadySeconds"), 60, (("Deployment", "gateway"), ("spec", "minReadySeconds"), 60)),
    (("rollout", "maxSurge"), "25%", (("Deployment", "gateway"), ("spec", "strategy", "rollingUpdate", "maxSurge"), "25%")),
    (("rollout", "maxUnavailable"), 1, (("Deployment", "gateway"), ("spec", "strategy", "rollingUpdate", "maxUnavailable"), 1)),
    (("rollout", "preStopSeconds"), 15, (*container("lifecycle", "preStop", "sleep", "seconds"), 15)),
    (("pod", "labels"), {"team": "chat"}, (("Deployment", "gateway"), ("spec", "template", "metadata", "labels", "team"), "chat")),
    (("pod", "annotations"), {"team": "chat"}, (("Deployment", "gateway"), ("spec", "template", "metadata", "annotations", "team"), "chat")),
    (("pod", "nodeSelector"), {"pool": "realtime"}, (*deployment("nodeSelector"), {"pool": "realtime"})),
    (("pod", "tolerations"), TAINT, (*deployment("tolerations"), TAINT)),
    (("pod", "affinity"), APART, (*deployment("affinity"), APART)),
    (("pod", "spread"), False, (*deployment("topologySpreadConstraints"), "nothing")),
    (("pod", "priorityClassName"), "high", (*deployment("priorityClassName"), "high")),
    (("pod", "volumes"), [{"name": "tls", "secret": {"secretName": "tls"}}], (*deployment("volumes", 0, "secret", "secretName"), "tls")),
    (("pod", "volumeMounts"), [{"name": "tls", "mountPath": "/tls"}], (*container("volumeMounts", 0, "mountPath"), "/tls")),
    (("serviceAccount", "create"), False, (("ServiceAccount", "gateway"), (), None)),
    (("serviceAccount", "name"), "other", (*deployment("serviceAccountName"), "other")),
    (("serviceAccount", "annotations"), {"role": "none"}, (("ServiceAccount", "gateway"), ("metadata", "annotations", "role"), "none")),
    (("service", "type"), "LoadBalancer", (("Service", "gateway"), ("spec", "type"), "LoadBalancer")),
    (("service", "port"), 8080, (("HTTPRoute", "gateway"), ("spec", "rules", 0, "backendRefs", 0, "port"), 8080)),
    (("service", "port"), 8080, (("Service", "gateway"), ("spec", "ports", 0, "port"), 8080)),
    (("service", "annotations"), {"kind": "nlb"}, (("Service", "gateway"), ("metadata", "annotations"), {"kind": "nlb"})),
    (("service", "externalTrafficPolicy"), "Local", (("Service", "gateway"), ("spec", "externalTrafficPolicy"), "Local")),
    (("route", "enabled"), False, (("HTTPRoute", "gateway"), (), None)),
    (("route", "parentRefs"), [{"name": "mine"}], (("HTTPRoute", "gateway"), ("spec", "parentRefs"), [{"name": "mine"}])),
    (("route", "hostnames"), ["chat.example.com"], (("HTTPRoute", "gateway"), ("spec", "hostnames"), ["chat.example.com"])),
    (("route", "annotations"), {"team": "chat"}, (("HTTPRoute", "gateway"), ("metadata", "annotations"), {"team": "chat"})),
    (("settings", "engine"), {"path": "/realtime/"}, (("HTTPRoute", "gateway"), ("spec", "rules", 0, "matches", 0, "path", "value"), "/realtime")),
    (("ingress", "enabled"), False, (("Ingress", "gateway"), (), None)),
    (("ingress", "className"), "haproxy", (("Ingress", "gateway"), ("spec", "ingressClassName"), "haproxy")),
    (("ingress", "hosts"), ["a.example.com", "b.example.com"], (("Ingress", "gateway"), ("spec", "rules", 1, "host"), "b.example.com")),
    (("ingress", "hosts"), [], (("Ingress", "gateway"), ("spec", "rules", 0, "host"), "nothing")),
    (("ingress", "tls"), TLS, (("Ingress", "gateway"), ("spec", "tls"), TLS)),
    (("ingress", "annotations"), {"team": "chat"}, (("Ingress", "gateway"), ("metadata", "annotations", "team"), "chat")),
    (("autoscaling", "enabled"), False, (("HorizontalPodAutoscaler", "gateway"), (), None)),
    (("autoscaling", "minReplicas"), 2, (("HorizontalPodAutoscaler", "gateway"), ("spec", "minReplicas"), 2)),
    (("autoscaling", "maxReplicas"), 9, (("HorizontalPodAutoscaler", "gateway"), ("spec", "maxReplicas"), 9)),
    (("autoscaling", "connections"), 2000000, (("HorizontalPodAutoscaler", "gateway"), ("spec", "metrics", 0, "pods", "target", "averageValue"), "2000000")),
    (("autoscaling", "cpu"), 75, (("HorizontalPodAutoscaler", "gateway"), ("spec", "metrics", 1, "resource", "target", "averageUtilization"), 75)),
    (("disruptionBudget", "enabled"), False, (("PodDisruptionBudget", "gateway"), (), None)),
    (("disruptionBudget", "maxUnavailable"), "10%", (("PodDisruptionBudget", "gateway"), ("spec", "maxUnavailable"), "10%")),
    (("networkPolicy", "enabled"), False, (("NetworkPolicy", "gateway"), (), None)),
    (("networkPolicy", "clients"), PEERS, (*CLIENTS, PEERS)),
    (("networkPolicy", "monitoringNamespace"), "", (("NetworkPolicy", "gateway"), ("spec", "ingress", 1, "from", 1, "podSelector"), {"matchLabels": {"gateway-backend": "true"}})),
    (("networkPolicy", "ingress"), [{"from": PEERS}], (("NetworkPolicy", "gateway"), ("spec", "ingress", 2), {"from": PEERS})),
    (("networkPolicy", "egress"), [{"to": PEERS}], (("NetworkPolicy", "gateway"), ("spec", "egress", 4), {"to": PEERS})),
    (("monitoring", "serviceMonitor", "enabled"), False, (("ServiceMonitor", "gateway"), (), None)),
    (("monitoring", "serviceMonitor", "interval"), "30s", (("ServiceMonitor", "gateway"), ("spec", "endpoints", 0, "interval"), "30s")),
    (("monitoring", "serviceMonitor", "scrapeTimeout"), "5s", (("ServiceMonitor", "gateway"), ("spec", "endpoints", 0, "scrapeTimeout"), "5s")),
    (("monitoring", "rules", "enabled"), False, (("PrometheusRule", "gateway"), (), None)),
    (("monitoring", "board", "enabled"), False, (("ConfigMap", "gateway-board"), (), None)),
    (("monitoring", "board", "label"), "board", (("ConfigMap", "gateway-board"), ("metadata", "labels", "board"), "1")),
    (("monitoring", "board", "annotations"), {"folder": "x"}, (("ConfigMap", "gateway-board"), ("metadata", "annotations"), {"folder": "x"})),
    (("redis", "enabled"), False, (("Deployment", "gateway-redis"), (), None)),
    (("redis", "image"), "redis:8", (("Deployment", "gateway-redis"), ("spec", "template", "spec", "containers", 0, "image"), "redis:8")),
    (("redis", "resources"), ENOUGH, (("Deployment", "gateway-redis"), ("spec", "template", "spec", "containers", 0, "resources", "requests"), ENOUGH["requests"])),
]

# Without these in the picture: the number of pods is the autoscaler's.
NEEDED = {"replicas": {"autoscaling": {"enabled": False}}}


def render(values, name="gateway"):
    files = rendered_files(values, name)
    return [it for path, text in files.items() if path.endswith(".yaml") for it in kustomize.read(text)]


def rendered_files(values, name):
    chart = the_chart()
    chart.validate_schema(values)
    return chart.render(values, name=name, namespace="gateway")


@functools.cache
def the_chart():
    return helm_python.Chart.load(CHART)


def with_components(components):
    """The base with these components, and with the secrets of these tests."""
    import os

    with tempfile.TemporaryDirectory(dir=programs.TARGET) as folder:
        there = lambda *path: os.path.relpath(kustomize.FOLDER.joinpath(*path), folder)
        literals = [f"{name}={value}" for name, value in SECRETS.items()]
        file = {
            "resources": [there("base")],
            "components": [there("components", component) for component in components],
            "secretGenerator": [{"name": "gateway", "behavior": "merge", "literals": literals}],
        }
        (pathlib.Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(file))
        return kustomize.render(folder)


def comparable(objects):
    """By kind and name, without what only one of the two tools adds."""
    text = json.dumps(objects)
    for it in objects:
        if it["kind"] in ("ConfigMap", "Secret"):
            text = text.replace(f'"{it["metadata"]["name"]}"', f'"{re.sub("-[a-z0-9]{10}$", "", it["metadata"]["name"])}"')

    def plain(it):
        if isinstance(it, list):
            return [plain(inner) for inner in it]
        if not isinstance(it, dict):
            return it
        it = {name: plain(inner) for name, inner in it.items()}
        it = {name: value for name, value in it.items() if name not in HELMS_LABELS}
        if "expr" in it:
            # kustomize writes folded lines in its own way; PromQL does not care.
            it["expr"] = re.sub(r"\s+", " ", it["expr"])
        if "annotations" in it:
            it["annotations"] = {name: value for name, value in it["annotations"].items() if not name.startswith("checksum/")}
            if not it["annotations"]:
                del it["annotations"]
        return it

    compared = {key(it): it for it in plain(json.loads(text))}
    for it in compared.values():
        it["metadata"].pop("namespace", None)
    return compared


def differences(ours, theirs, path=""):
    """Where two objects differ, and how."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted(ours.keys() | theirs.keys()):
            yield from differences(ours.get(name, "nothing"), theirs.get(name, "nothing"), f"{path}/{name}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs)):
            yield from differences(one, other, f"{path}/{number}")
    elif ours != theirs:
        yield path, ours, theirs


def key(it):
    return it["kind"], it["metadata"]["name"]


def at(it, step):
    for name in step:
        try:
            it = it[name]
        except (KeyError, IndexError):
            return "nothing"
    return it


def nested(path, value):
    """The values that give `value` to what `path` names, with what it needs to have an effect."""
    for name in reversed(path):
        value = {name: value}
    return merge(value, NEEDED.get(next(iter(value)), {}))


def merge(values, others):
    both = {**values, **others}
    return {name: merge(values[name], others[name]) if isinstance(values.get(name), dict) and isinstance(others.get(name), dict) else value for name, value in both.items()}


def objects_of(it, path=()):
    """Every object of the schema that takes no other properties, with its path."""
    for name, inner in it.get("properties", {}).items():
        if inner.get("additionalProperties") is False:
            yield (*path, name), inner
            yield from objects_of(inner, (*path, name))


if __name__ == "__main__":
    unittest.main()
