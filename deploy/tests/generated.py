#!/usr/bin/env python3
"""Writes the files that are made from others: Grafana's board and the rules as an object of Kubernetes."""

import pathlib
import subprocess
import sys

DEPLOY = pathlib.Path(__file__).resolve().parent.parent

RULES = ["recording.rules.yml", "alerts.rules.yml"]

HEAD = """\
# Made from deploy/prometheus by `make deploy-write`; do not change it here.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: gateway
spec:
  groups:
"""


def files():
    """The path of each, and what it should hold."""
    return {
        DEPLOY / "kubernetes/components/monitoring/rules.yaml": rules(),
        DEPLOY / "grafana/gateway.json": board(),
    }


def rules():
    text = HEAD
    for name in RULES:
        _, groups = (DEPLOY / "prometheus" / name).read_text().split("groups:\n")
        text += "".join(f"  {line}" if line.strip() else line for line in groups.splitlines(keepends=True))
    return text


def board():
    written = subprocess.run([sys.executable, DEPLOY / "grafana/board.py"], check=True, stdout=subprocess.PIPE, text=True)
    return written.stdout


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
