#!/usr/bin/env python3
"""Writes the files that are made from others: Grafana's board, the rules as an object of Kubernetes, and the values of the chart."""

import pathlib
import subprocess
import sys

import chart_values

DEPLOY = pathlib.Path(__file__).resolve().parent.parent

RULES = ["recording.rules.yml", "alerts.rules.yml"]

MADE = "# Made from deploy/prometheus by `make deploy-write`; do not change it here.\n"

HEAD = f"""\
{MADE}\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: gateway
  labels:
    app.kubernetes.io/name: gateway
spec:
  groups:
"""


def files():
    """The path of each, and what it should hold."""
    return {
        DEPLOY / "kubernetes/components/monitoring/rules.yaml": HEAD + indented(groups()),
        DEPLOY / "helm/gateway/files/rules.yaml": f"{MADE}groups:\n" + groups(),
        DEPLOY / "grafana/gateway.json": board(),
        # Neither kustomize nor Helm reads files outside of its folder.
        DEPLOY / "kubernetes/components/monitoring/board.json": board(),
        DEPLOY / "helm/gateway/files/board.json": board(),
        **chart_values.files(),
    }


def groups():
    """The groups of rules, as they stand in the files."""
    return "".join((DEPLOY / "prometheus" / name).read_text().split("groups:\n")[1] for name in RULES)


def indented(text):
    return "".join(f"  {line}" if line.strip() else line for line in text.splitlines(keepends=True))


def board():
    written = subprocess.run([sys.executable, DEPLOY / "grafana/board.py"], check=True, stdout=subprocess.PIPE, text=True)
    return written.stdout


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
