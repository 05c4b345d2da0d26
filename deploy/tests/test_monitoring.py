"""prometheus/ and grafana/: rules, their tests and docs, and every query against a live Prometheus."""

import json
import pathlib
import re
import tempfile
import unittest
import urllib.parse
import urllib.request

import socketio
import yaml

import generated
import programs
from programs import DEPLOY, DOCS

FOLDER = DEPLOY / "prometheus"
RULES = ["recording.rules.yml", "alerts.rules.yml"]
ROWS = ["Overview", "Connections", "Heartbeats", "Messages and latency", "Recovery", "Rooms", "Adapter", "Backends", "Drain", "Steering", "Users", "Admin page", "Resources"]
VARIABLES = ["datasource", "job", "namespace", "instance"]

# Documented once the program has the limit.
PLANNED_VALUES = {"handshake_rate"}

# Whoever opens an admin page there; nobody does.
ADMIN = {"ADMIN_USER": "admin", "ADMIN_PASSWORD": "$2b$04$abcdefghijklmnopqrstuuLZYjhNQAOdpbzt4WxWlUHjv1wsyH5DG"}

# What Prometheus adds to each series.
TARGET_LABELS = {"job", "namespace", "instance", "pod"}

# Of Prometheus itself.
FOREIGN = {"up"}

# Queries that are empty while nothing is wrong, by how they end or begin.
EMPTY_WHEN_WELL = re.compile(r"""
    \)\ >\ 0\)?$                      # only the reasons that there are
    | ==\ 1$                          # only nodes that drain
    | >=?\ 1000?\)$                 # only nodes with many connections
""", re.X)


class Rules(unittest.TestCase):
    def test_promtool_takes_rules_and_scrape(self):
        for arguments in (["check", "rules", *(FOLDER / name for name in RULES)], ["check", "config", FOLDER / "prometheus.yml"]):
            status, said = programs.run_tool("promtool", *arguments)
            self.assertEqual(status, 0, said)

    def test_alerts_fire_on_their_cause_only(self):
        status, said = programs.run_tool("promtool", "test", "rules", FOLDER / "alerts.test.yml")
        self.assertEqual(status, 0, said)

    def test_every_alert_has_a_test_that_it_fires_and_one_that_it_does_not(self):
        fires, silent = set(), set()
        for group in yaml.safe_load((FOLDER / "alerts.test.yml").read_text())["tests"]:
            for case in group["alert_rule_test"]:
                (fires if case["exp_alerts"] else silent).add(case["alertname"])
        alerts = {alert["alert"] for alert in all_alerts()}
        self.assertEqual(fires, alerts)
        # These are silent for a namespace of the same test.
        self.assertLessEqual(alerts - silent, {"GatewayUnknownSessions", "GatewaySlowConsumers"})

    def test_every_alert_is_explained(self):
        text = (DOCS / "operations.md").read_text()
        explained = re.findall(r"^### (Gateway\w+)$", text, flags=re.M)
        self.assertEqual(explained, [alert["alert"] for alert in all_alerts()])
        for alert in all_alerts():
            self.assertEqual(alert["annotations"]["runbook"], f"gateway runbook {alert['alert']}")
            self.assertEqual(set(alert["annotations"]), {"summary", "description", "runbook"})
            self.assertIn(alert["labels"]["severity"], ("critical", "warning", "info"))

    def test_files_made_from_others_are_up_to_date(self):
        for path, text in generated.files().items():
            self.assertEqual(path.read_text(), text, "make deploy-write writes it anew")


class Board(unittest.TestCase):
    def test_rows_and_variables_are_there(self):
        board = the_board()
        self.assertEqual([row["title"] for row in board["panels"] if row["type"] == "row"], ROWS)
        self.assertEqual([variable["name"] for variable in board["templating"]["list"]], VARIABLES)

    def test_panels_have_a_unit_a_description_and_a_place_of_their_own(self):
        panels = [panel for panel in all_panels() if panel["type"] != "row"]
        self.assertEqual(len({panel["id"] for panel in all_panels()}), len(all_panels()))
        for panel in panels:
            with self.subTest(panel["title"]):
                self.assertTrue(panel["description"].endswith("."))
                self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                self.assertEqual(panel["datasource"]["uid"], "${datasource}")
                place = panel["gridPos"]
                self.assertLessEqual(place["x"] + place["w"], 24)
        for row in (row for row in the_board()["panels"] if row["type"] == "row"):
            taken = [(x, y) for panel in row["panels"] for x, y in cells(panel["gridPos"])]
            self.assertEqual(len(taken), len(set(taken)), row["title"])


class Queries(unittest.TestCase):
    """Prometheus with the deployed files, real nodes, and a few clients."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        test = ClassCleanup(cls)
        cls.nodes = programs.cluster(test, folder.name, 3, ENGINE_PING_INTERVAL="500ms", **ADMIN)
        cls.clients = []
        for index in range(12):
            client = socketio.Client(reconnection=False)
            transports = (["websocket"], ["polling"], ["polling", "websocket"])[index % 3]
            client.connect(f"http://127.0.0.1:{cls.nodes[index % len(cls.nodes)].port}", transports=transports, wait_timeout=programs.PATIENCE_SECONDS)
            cls.addClassCleanup(client.disconnect)
            cls.clients.append(client)
            client.call("join", "room", timeout=programs.PATIENCE_SECONDS)
        cls.prometheus, cls.url = prometheus(test, folder.name, [node.internal for node in cls.nodes])
        for client in cls.clients:
            client.call("publish", ("room", "news", 1), timeout=programs.PATIENCE_SECONDS)
        cls.prometheus.until("pings are answered and seen", lambda: number(cls.url, "sum(rate(gateway_heartbeat_rtt_seconds_count[10s]))") > 0)
        cls.exported = set().union(*(programs.metrics(node) for node in cls.nodes))

    def test_promtool_has_no_complaint_of_the_metrics(self):
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.nodes[0].internal}/metrics").read().decode()
        status, said = programs.run_tool("promtool", "check", "metrics", input=text)
        self.assertEqual((status, said), (0, ""))

    def test_prometheus_reaches_every_node(self):
        self.assertEqual(number(self.url, 'sum(up{job="gateway"})'), len(self.nodes))
        self.assertEqual(number(self.url, "sum(gateway_connections)"), len(self.clients))

    def test_prometheus_evaluates_every_rule(self):
        def settled():
            groups = programs.fetch(f"{self.url}/api/v1/rules")[1]["data"]["groups"]
            return all(rule["health"] != "unknown" for group in groups for rule in group["rules"])

        self.prometheus.until("all rules are evaluated", settled)
        groups = programs.fetch(f"{self.url}/api/v1/rules")[1]["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        self.assertEqual(len(rules), len(all_rules()))
        self.assertEqual([(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"], [])
        firing = [rule["name"] for rule in rules if rule.get("state") == "firing"]
        self.assertEqual(firing, [], "alerts on a cluster that is well")

    def test_every_query_is_valid_and_has_data(self):
        for name, expression in all_queries():
            with self.subTest(name):
                status, answer = query(self.url, expression)
                self.assertEqual(status, 200, answer)
                exported = metrics_of(expression) <= self.exported | FOREIGN
                if exported and not EMPTY_WHEN_WELL.search(expression) and not name.startswith("alert "):
                    self.assertNotEqual(answer["data"]["result"], [], expression)

    def test_a_wrong_query_is_noticed(self):
        self.assertEqual(query(self.url, "sum by (le (rate(x[1m]))")[0], 400)

    def test_metrics_are_those_that_are_documented(self):
        documented = set(re.findall(r"^\| (`.*?`) \|", (DOCS / "metrics.md").read_text(), flags=re.M))
        documented = {name for names in documented for name in re.findall(r"`(\w+)`", names)}
        used = {name: metrics_of(expression) for name, expression in all_queries()}
        for name, metrics in used.items():
            with self.subTest(name):
                self.assertEqual(metrics - documented - FOREIGN, set())

    def test_labels_and_their_values_are_those_that_are_documented(self):
        words = set(re.findall(r"`(\w+)`", (DOCS / "metrics.md").read_text())) | PLANNED_VALUES
        for name, expression in all_queries():
            for metric, matchers in re.findall(r"(gateway_\w+)\{([^}]*)\}", expression):
                for label, values in re.findall(r'(\w+) *(?:=~|!~|!=|=) *"([^"]*)"', matchers):
                    if label not in TARGET_LABELS:
                        with self.subTest(name, metric=metric):
                            self.assertEqual({label, *values.split("|")} - words, set())


class ClassCleanup:
    """Stands for a test where only its cleanup is needed."""

    def __init__(self, cls):
        self.addCleanup = cls.addClassCleanup


def all_rules():
    return [rule for name in RULES for group in yaml.safe_load((FOLDER / name).read_text())["groups"] for rule in group["rules"]]


def all_alerts():
    return [rule for rule in all_rules() if "alert" in rule]


def the_board():
    return json.loads((DEPLOY / "grafana/gateway.json").read_text())


def all_panels():
    top = the_board()["panels"]
    return top + [panel for row in top if row["type"] == "row" for panel in row["panels"]]


def all_queries():
    """Every query in these files, with a name that says where it stands."""
    for rule in all_rules():
        name = f"alert {rule['alert']}" if "alert" in rule else f"record {rule['record']}"
        yield name, rule["expr"]
    for panel in all_panels():
        for target in panel.get("targets", []):
            yield f"panel {panel['title']} {target['refId']}", filled_in(target["expr"])
    for annotation in the_board()["annotations"]["list"]:
        yield f"annotation {annotation['name']}", filled_in(annotation["expr"])
    for variable in the_board()["templating"]["list"]:
        if variable["type"] == "query":
            selector = re.fullmatch(r"label_values\((.*), \w+\)", variable["query"]["query"])[1]
            yield f"variable {variable['name']}", filled_in(selector)
    adapter = yaml.safe_load((DEPLOY / "kubernetes/components/autoscaling/prometheus-adapter.yaml").read_text())
    for rule in adapter["rules"]["custom"]:
        matchers = rule["metricsQuery"].replace("<<.LabelMatchers>>", 'job="gateway"').replace("<<.GroupBy>>", "instance")
        yield "autoscaler", matchers


def filled_in(expression):
    """With the board's variables at their defaults."""
    values = {"$__rate_interval": "1m", "$job": "gateway", "$namespace": ".*", "$instance": ".*"}
    for variable, value in values.items():
        expression = expression.replace(variable, value)
    # What is left are the groups of label_replace.
    assert not re.search(r"\$[a-z_]", expression), expression
    return expression


def metrics_of(expression):
    """The metrics in a query, as they are called in docs/metrics.md."""
    text = re.sub(r'"[^"]*"', '""', expression)
    text = re.sub(r"\b(?:by|on|without|ignoring)\s*\([^)]*\)", "", text)
    names = set(re.findall(r"(?<![:\w])((?:gateway|process)_\w+|up)(?![:\w(])", text))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def cells(place):
    return [(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])]


def prometheus(test, folder, targets):
    """Starts Prometheus with the deployed files, other targets, and a pace for a test."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (scrape,) = config["scrape_configs"]
    names = scrape["static_configs"][0]["targets"]
    scrape["static_configs"] = [{"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name}} for name, port in zip(names, targets)]
    folder = pathlib.Path(folder)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    for name in RULES:
        (folder / name).write_text((FOLDER / name).read_text())
    (port,) = programs.free_ports(1)
    url = f"http://127.0.0.1:{port}"
    arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    server = programs.Process(test, folder, programs.tool("prometheus"), *arguments)
    server.until("Prometheus is ready", lambda: programs.status(port, "/-/ready") == 200)
    server.until("every node is scraped twice", lambda: number(url, 'sum(count_over_time(up{job="gateway"}[1m]) >= 2 and up == 1)') >= 2 * len(targets))
    return server, url


def query(url, expression):
    return programs.fetch(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")


def number(url, expression):
    """The value of a query with one number, or 0."""
    status, answer = query(url, expression)
    if status != 200:
        raise AssertionError(answer)
    return float(answer["data"]["result"][0]["value"][1]) if answer["data"]["result"] else 0


if __name__ == "__main__":
    unittest.main()
