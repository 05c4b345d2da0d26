#!/usr/bin/env python3
"""Writes gateway.json, the board: board.py > gateway.json.

Panels stand here in a few words each, row by row; what they have in common is below them. A query
names only its metric; `[]` stands for the labels that the board's variables choose.
"""

import json
import re

RATE = "$__rate_interval"


def rows():
    return [
        row(
            "Overview",
            stat("Nodes", "Nodes that Prometheus reaches.", 'count(up[] == 1) or vector(0)', thresholds=[(None, "red"), (1, "yellow"), (2, "green")]),
            stat("Connections", "Open sessions on all nodes.", "sum(gateway_connections[])"),
            stat("WebSocket share", "Sessions that use a WebSocket now. A low share means that upgrades fail: look at what stands in front.", 'sum(gateway_connections[transport="websocket"]) / clamp_min(sum(gateway_connections[]), 1)', unit="percentunit"),
            stat("Nodes without the others", "Nodes whose link to Redis does not work. Their clients hear only each other.", "sum(gateway_adapter_up[] == bool 0) or vector(0)", thresholds=[(None, "green"), (1, "red")]),
            stat("Late pings, p99", "How much later than scheduled one ping in a hundred was sent, on the worst node. Above some milliseconds a node has too much to do.", quantile(0.99, "gateway_heartbeat_lateness_seconds", "instance", outer="max"), unit="s", thresholds=[(None, "green"), (0.1, "yellow"), (1, "red")]),
            stat("Refused", "Requests refused on the clients' port, each second.", f"sum(rate(gateway_handshakes_rejected_total[][{RATE}]))", unit="reqps"),
            graph("Connections by node", "Open sessions. Even lines mean that the balancer spreads new connections well.", ("sum by (instance) (gateway_connections[])", "{{instance}}"), stack=True),
            graph("Opened and closed", "Sessions opened and closed each second. Closed ones are drawn downwards.", (f"sum(rate(gateway_connections_opened_total[][{RATE}]))", "opened"), (f"-(sum by (reason) (rate(gateway_connections_closed_total[][{RATE}])) > 0)", "{{reason}}"), unit="cps"),
            graph("Packets", "Socket.IO packets each second, received and queued for clients. A packet to a room is counted once for each recipient.", (f"sum(rate(gateway_packets_received_total[][{RATE}]))", "received"), (f"sum(rate(gateway_packets_sent_total[][{RATE}]))", "sent"), unit="cps"),
            graph("Delay", "Medians and 99 % of what a client feels: pings to pongs, and Redis between two nodes.", (quantile(0.5, "gateway_heartbeat_rtt_seconds"), "ping to pong, median"), (quantile(0.99, "gateway_heartbeat_rtt_seconds"), "ping to pong, 99 %"), (quantile(0.5, "gateway_adapter_lag_seconds"), "node to node, median"), (quantile(0.99, "gateway_adapter_lag_seconds"), "node to node, 99 %"), unit="s"),
        ),
        row(
            "Connections",
            graph("By transport", "Open sessions by the transport that they use now.", ("sum by (transport) (gateway_connections[])", "{{transport}}"), stack=True),
            graph("Opened", "Sessions opened each second, by the transport of their handshake.", (f"sum by (transport) (rate(gateway_connections_opened_total[][{RATE}]))", "{{transport}}"), unit="cps"),
            graph("Closed by reason", "docs/metrics.md says what each reason means.", (f"sum by (reason) (rate(gateway_connections_closed_total[][{RATE}])) > 0", "{{reason}}"), unit="cps", stack=True),
            graph("Refused by reason", "Requests refused on the clients' port. The reasons tell clients that are wrong from limits that are reached.", (f"sum by (reason) (rate(gateway_handshakes_rejected_total[][{RATE}])) > 0", "{{reason}}"), unit="reqps", stack=True),
            graph("Upgrades", "Upgrades from polling to WebSocket, by how they ended.", (f"sum by (result) (rate(gateway_upgrades_total[][{RATE}]))", "{{result}}"), unit="cps", stack=True),
            graph("Unevenness", "The fullest node against the mean. 1 is even.", ("max(sum by (instance) (gateway_connections[])) / clamp_min(avg(sum by (instance) (gateway_connections[])), 1)", "fullest / mean"), unit="none"),
        ),
        row(
            "Heartbeats",
            graph("Pings", "Sent, answered, and sessions closed for want of an answer.", (f"sum(rate(gateway_heartbeats_sent_total[][{RATE}]))", "sent"), (f"sum(rate(gateway_heartbeats_answered_total[][{RATE}]))", "answered"), (f"sum(rate(gateway_heartbeat_timeouts_total[][{RATE}]))", "timed out"), unit="cps"),
            graph("Unanswered", "Part of the pings that ended a session.", (f"sum by (instance) (rate(gateway_heartbeat_timeouts_total[][{RATE}])) / clamp_min(sum by (instance) (rate(gateway_heartbeats_sent_total[][{RATE}])), 1e-9)", "{{instance}}"), unit="percentunit"),
            heatmap("Round trips", "Time from a ping to its pong: the network and the client.", "gateway_heartbeat_rtt_seconds"),
            graph("Lateness, p99", "How much later than scheduled one ping in a hundred was sent: how busy the shards are.", (quantile(0.99, "gateway_heartbeat_lateness_seconds", "instance"), "{{instance}}"), unit="s"),
        ),
        row(
            "Messages and latency",
            graph("Received by type", "Socket.IO packets from clients.", (f"sum by (type) (rate(gateway_packets_received_total[][{RATE}]))", "{{type}}"), unit="cps", stack=True),
            graph("Sent by type", "Socket.IO packets queued for clients, one for each recipient.", (f"sum by (type) (rate(gateway_packets_sent_total[][{RATE}]))", "{{type}}"), unit="cps", stack=True),
            graph("Bytes", "Payload bytes, received and (downwards) sent. Heads of HTTP and TCP's own bytes are not in it.", (f"sum by (transport) (rate(gateway_received_bytes_total[][{RATE}]))", "received, {{transport}}"), (f"-sum by (transport) (rate(gateway_sent_bytes_total[][{RATE}]))", "sent, {{transport}}"), unit="Bps"),
            graph("Broadcasts", "Broadcasts handled, by where they came from. Each shard counts for itself.", (f"sum by (origin) (rate(gateway_broadcasts_total[][{RATE}]))", "{{origin}}"), unit="cps", stack=True),
            heatmap("Time of a broadcast", "From the first to the last recipient's outbox, on one shard.", "gateway_broadcast_duration_seconds"),
            graph("Time of a broadcast, quantiles", "The same as numbers.", (quantile(0.5, "gateway_broadcast_duration_seconds"), "median"), (quantile(0.99, "gateway_broadcast_duration_seconds"), "99 %"), unit="s"),
            heatmap("Turns of shards", "How long a shard works before the connections of all others get their turn. Above 5 ms something is wrong, or cores are too few.", "gateway_shard_turn_seconds"),
            graph("Waiting to be sent", "Bytes in all outboxes. A packet of a broadcast counts once for each session.", ("sum by (instance) (gateway_outbox_bytes[])", "{{instance}}"), unit="bytes", stack=True),
            graph("Slow readers", "Sessions closed since too much waited for them, and volatile packets that a client was not ready for.", (f"sum(rate(gateway_slow_consumers_total[][{RATE}]))", "closed"), (f"sum(rate(gateway_volatile_dropped_total[][{RATE}]))", "volatile packets dropped"), unit="cps"),
        ),
        row(
            "Recovery",
            graph("Clients that came back", "By whether they were recovered, or why not.", (f"sum by (result) (rate(gateway_recovery_total[][{RATE}])) > 0", "{{result}}"), unit="cps", stack=True),
            graph("Until everything is sent again", "From what a client shows to the last event that it missed.", (quantile(0.5, "gateway_recovery_duration_seconds"), "median"), (quantile(0.99, "gateway_recovery_duration_seconds"), "99 %"), unit="s"),
            graph("Put in order", "Events that nodes published, events sent again, and events of others, which are in no log.", (f"sum(rate(gateway_recovery_published_total[][{RATE}]))", "published"), (f"sum(rate(gateway_recovery_replayed_events_total[][{RATE}]))", "sent again"), (f"sum(rate(gateway_recovery_unlogged_events_total[][{RATE}]))", "in no log"), unit="cps"),
            graph("Time of a publish", "Until an event has its place in the order.", (quantile(0.5, "gateway_recovery_publish_duration_seconds"), "median"), (quantile(0.99, "gateway_recovery_publish_duration_seconds"), "99 %"), unit="s"),
            graph("Sessions", "Changes of sessions that were written.", (f"sum by (instance) (rate(gateway_recovery_session_writes_total[][{RATE}]))", "{{instance}}"), unit="cps"),
            graph("What went wrong", "Events that nodes read because they had not heard them, connections closed since what they lack cannot be had, events refused, and logs that were lost; in five minutes.", ("sum(increase(gateway_recovery_filled_events_total[][5m]))", "read"), ("sum(increase(gateway_recovery_given_up_total[][5m]))", "closed"), ("sum(increase(gateway_recovery_refused_events_total[][5m]))", "refused"), ("sum(increase(gateway_recovery_renewals_total[][5m]))", "logs lost"), unit="none"),
            graph("Waiting", "Events and changes of sessions that wait for Redis.", ("sum by (instance) (gateway_recovery_waiting[])", "{{instance}}"), unit="none"),
            graph("Bytes of logs", "Of the events that are kept for clients that come back. Every node tells the same.", ("max(gateway_recovery_log_bytes[])", "bytes"), unit="bytes"),
            graph("Logs", "Rooms whose events are kept, and these events. Every node tells the same.", ("max(gateway_recovery_logs[])", "rooms"), ("max(gateway_recovery_log_entries[])", "events"), unit="none"),
        ),
        row(
            "Rooms",
            graph("Sockets by namespace", "Connected sockets. Namespaces of one pattern are counted together.", ("sum by (namespace) (label_replace(gateway_sockets[], \"namespace\", \"$1\", \"exported_namespace\", \"(.+)\"))", "{{namespace}}"), stack=True),
            graph("Rooms by namespace", "Rooms with members, counted once on each shard that has members of them.", ("sum by (namespace) (label_replace(gateway_rooms[], \"namespace\", \"$1\", \"exported_namespace\", \"(.+)\"))", "{{namespace}}"), stack=True),
            graph("Recipients of a broadcast", "On one shard.", (quantile(0.5, "gateway_broadcast_recipients"), "median"), (quantile(0.99, "gateway_broadcast_recipients"), "99 %"), (f"sum(rate(gateway_broadcast_recipients_sum[][{RATE}])) / clamp_min(sum(rate(gateway_broadcast_recipients_count[][{RATE}])), 1e-9)", "mean"), unit="none"),
        ),
        row(
            "Adapter",
            graph("Link to Redis", "1: the node hears the others.", ("min by (instance) (gateway_adapter_up[])", "{{instance}}"), unit="none"),
            graph("Nodes", "How many nodes each node sees. All lines should be one.", ("max by (instance) (gateway_cluster_nodes[])", "{{instance}}"), unit="none"),
            graph("Messages", "To and from Redis, by result.", (f"sum by (direction, result) (rate(gateway_adapter_messages_total[][{RATE}])) > 0", "{{direction}}, {{result}}"), unit="cps"),
            graph("Node to node", "Time of a message to oneself through Redis, and until Redis confirms a publish.", (quantile(0.5, "gateway_adapter_lag_seconds"), "lag, median"), (quantile(0.99, "gateway_adapter_lag_seconds"), "lag, 99 %"), (quantile(0.99, "gateway_adapter_publish_duration_seconds"), "publish, 99 %"), unit="s"),
            graph("Reconnects and gaps", "Connections to Redis that had to be made again, and times that subscriptions were interrupted, so that messages may have been missed; in five minutes.", ("sum by (instance) (increase(gateway_adapter_reconnects_total[][5m]))", "{{instance}}, reconnects"), ("sum by (instance) (increase(gateway_adapter_gaps_total[][5m]))", "{{instance}}, gaps"), unit="none"),
            graph("Waiting for Redis", "Bytes of messages that await being sent. Beyond 64 MiB they are dropped.", ("sum by (instance) (gateway_adapter_queued_bytes[])", "{{instance}}"), unit="bytes"),
            graph("Subscriptions", "Channels that each node listens to: one for each room with members, and a few.", ("sum by (instance) (gateway_adapter_subscriptions[])", "{{instance}}")),
            graph("Forwarded requests", "Requests that came to another node than that of their session.", (f"sum by (kind, result) (rate(gateway_requests_forwarded_total[][{RATE}])) > 0", "{{kind}}, {{result}}"), unit="reqps"),
            graph("Tunnels", "WebSockets of other nodes' sessions that go through each node: clients that upgraded there.", ("sum by (instance) (gateway_tunnels[])", "{{instance}}"), stack=True),
            graph("Unknown sessions", "Requests for a session that could not be found, by cause.", (f"sum by (cause) (rate(gateway_unknown_sid_total[][{RATE}]))", "{{cause}}"), unit="reqps", stack=True),
            graph("Questions to the cluster", "Such as who is in a room, by how whole the answer was.", (f"sum by (type, result) (rate(gateway_cluster_requests_total[][{RATE}])) > 0", "{{type}}, {{result}}"), unit="reqps"),
        ),
        row(
            "Backends",
            graph("Requests to backends", "By how they ended, all attempts of one counted as one.", (f"sum by (result) (rate(gateway_backend_requests_total[][{RATE}]))", "{{result}}"), unit="reqps", stack=True),
            graph("Time of a request", "With waiting and all attempts.", (quantile(0.5, "gateway_backend_duration_seconds"), "median"), (quantile(0.99, "gateway_backend_duration_seconds"), "99 %"), unit="s"),
            graph("Left alone, lost, unread", "Backends that are left alone since they fail; events that no backend took, and replies that could not be read, each second.", ("sum(gateway_backend_breakers_open[])", "left alone"), (f"sum(rate(gateway_backend_events_lost_total[][{RATE}]))", "events lost"), (f"sum(rate(gateway_backend_bad_replies_total[][{RATE}]))", "replies unread"), unit="none"),
            graph("Under way and waiting", "Requests to backends.", ("sum by (instance) (gateway_backend_in_flight[])", "{{instance}}, under way"), ("sum by (instance) (gateway_backend_waiting[])", "{{instance}}, waiting"), unit="none"),
            graph("API", "Requests to the HTTP API by call, and (downwards) those refused by code.", (f"sum by (call) (rate(gateway_api_requests_total[][{RATE}])) > 0", "{{call}}"), (f"-(sum by (code) (rate(gateway_api_errors_total[][{RATE}])) > 0)", "{{code}}"), unit="reqps"),
            graph("Tokens", "Tokens shown at connect, by what became of them.", (f"sum by (result) (rate(gateway_tokens_total[][{RATE}])) > 0", "{{result}}"), unit="cps", stack=True),
            graph("Stream", "Entries written to the stream, and those that were refused, each second.", (f"sum(rate(gateway_stream_written_total[][{RATE}]))", "written"), (f"sum(rate(gateway_stream_refused_total[][{RATE}]))", "refused"), unit="cps"),
            graph("Users and rooms", "Users and rooms with sockets on a node, whose coming and going is told (presence.*).", ("sum by (instance, kind) (gateway_presence_subjects[])", "{{instance}}, {{kind}}")),
            graph("Presence events", "Users and rooms that came and went, and what backends were not told, each second.", (f"sum by (event) (rate(gateway_presence_events_total[][{RATE}])) > 0", "{{event}}"), (f"sum(rate(gateway_presence_refused_total[][{RATE}]) + rate(gateway_presence_dropped_total[][{RATE}]))", "given up"), unit="cps"),
            graph("Waiting for the stream", "Bytes of entries that are not written. Beyond 32 MiB they are refused.", ("sum by (instance) (gateway_stream_waiting_bytes[])", "{{instance}}"), unit="bytes"),
            graph("Rate limits", "Events dropped and handshakes refused since a limit was passed.", (f"sum(rate(gateway_events_rate_limited_total[][{RATE}]))", "events"), (f"sum by (reason) (rate(gateway_handshakes_rejected_total[reason=~\"connection_limit|address_limit|handshake_rate\"][{RATE}])) > 0", "{{reason}}"), unit="cps"),
        ),
        row(
            "Drain",
            graph("Draining", "1: the node was told to stop.", ("max by (instance) (gateway_draining[])", "{{instance}}"), unit="none"),
            graph("What remains", "Sessions on nodes that drain.", ("sum by (instance) (gateway_connections[]) and on (instance) max by (instance) (gateway_draining[]) == 1", "{{instance}}")),
            graph("Handed over", "Sessions closed by draining nodes and by nodes with too many, and opened anywhere. The last should follow the others without a peak.", (f"sum(rate(gateway_connections_closed_total[reason=\"server_shutting_down\"][{RATE}]))", "closed by a drain"), (f"sum(rate(gateway_connections_closed_total[reason=\"rebalanced\"][{RATE}]))", "rebalanced"), (f"sum(rate(gateway_connections_opened_total[][{RATE}]))", "opened"), unit="cps"),
            graph("Versions", "Nodes by version.", ("count by (version, commit) (gateway_build_info[])", "{{version}} {{commit}}"), unit="none", stack=True),
        ),
        row(
            "Steering",
            graph("Letting go", "1: the node lets go of connections that other nodes have too few of.", ("max by (instance) (gateway_rebalancing[])", "{{instance}}"), unit="none"),
            graph("Even", "Connections of the fullest and the emptiest node by the mean. Rebalancing brings both near 1.", ("max(sum by (instance) (gateway_connections[])) / clamp_min(avg(sum by (instance) (gateway_connections[])), 1)", "fullest / mean"), ("min(sum by (instance) (gateway_connections[])) / clamp_min(avg(sum by (instance) (gateway_connections[])), 1)", "emptiest / mean"), unit="none"),
            graph("Who looks", "Live traces, at most 16 on a node, and nodes that count what is busiest because somebody looks (gateway top, the page).", ("max(gateway_traces[])", "traces"), ("sum(gateway_top_watched[])", "nodes that count"), unit="none"),
            graph("Reloads", "Times that nodes read their settings again, by what came of it, in five minutes; and settings that wait for a restart.", ("sum by (result) (increase(gateway_config_reloads_total[][5m]))", "{{result}}"), ("sum by (instance) (gateway_config_restart_needed[]) > 0", "{{instance}}, waiting"), unit="none"),
            graph("Refused at the internal port", "Calls that a web page of somebody else may have sent, in five minutes.", ("sum by (reason) (increase(gateway_internal_refused_total[][5m]))", "{{reason}}"), unit="none"),
        ),
        row(
            "Users",
            graph("Kept out", "Users that are blocked, and revocations of tokens that are in force. Every node should show the same.", ("max by (instance) (gateway_users_blocked[])", "{{instance}}, blocked"), ("max by (instance) (gateway_tokens_revoked[])", "{{instance}}, revoked"), unit="none"),
            graph("In step with Redis", "1: the node knows all blocks and revocations that Redis has, and Redis all of its own.", ("min by (instance) (gateway_users_in_step[])", "{{instance}}"), unit="none"),
            graph("Refused and disconnected", "Sockets that could not connect because of their user or token, and (downwards) those that had to go.", (f"sum by (reason) (rate(gateway_users_refused_total[][{RATE}])) > 0", "{{reason}}"), (f"-(sum by (reason) (rate(gateway_users_shut_out_total[][{RATE}])) > 0)", "{{reason}}"), unit="cps"),
            graph("Size of the table", "Records of blocks and revocations on each node, with those of the last 30 days that were lifted. Redis takes 100,000.", ("max by (instance) (gateway_users_records[])", "{{instance}}"), unit="none"),
            graph("Calls that some nodes did not confirm", "Blocks, revocations and their opposites whose answer was 503 not_everywhere, or that Redis did not take, in five minutes.", ("sum by (code) (increase(gateway_api_errors_total[code=~\"full|not_everywhere\"][5m]))", "{{code}}"), unit="none"),
            graph("Lost and odd records", "Records that Redis had lost and nodes wrote again, and records that no node can have written, in five minutes.", ("sum(increase(gateway_users_restored_total[][5m]))", "written again"), ("sum(increase(gateway_users_odd_total[][5m]))", "odd"), unit="none"),
        ),
        row(
            "Admin page",
            graph("Pages", "Admin pages that are open on each node, at most 32; and nodes that tell pages what happens to sockets.", ("sum by (instance) (gateway_admin_pages[])", "{{instance}}"), ("sum(gateway_admin_watched[])", "nodes that tell"), unit="none"),
            graph("Logins", "Attempts to open a page in five minutes, by how they ended.", ("sum by (result) (increase(gateway_admin_logins_total[][5m]))", "{{result}}"), unit="none", stack=True),
            graph("Events for pages", "By what became of them. A page shows part of what happens if many are left out or not told.", (f"sum by (result) (rate(gateway_admin_events_total[][{RATE}]))", "{{result}}"), unit="cps", stack=True),
            graph("Operations of pages", "Emits, joins, leaves and disconnects in five minutes. The log says who did what.", ("sum by (operation, result) (increase(gateway_admin_operations_total[][5m])) > 0", "{{operation}}, {{result}}"), unit="none"),
        ),
        row(
            "Resources",
            graph("CPU", "Cores in use. A node cannot use more than it has shards.", (f"sum by (instance) (rate(process_cpu_seconds_total[][{RATE}]))", "{{instance}}"), unit="none"),
            graph("Memory", "Resident. The kernel's share of each connection is not in it.", ("sum by (instance) (process_resident_memory_bytes[])", "{{instance}}"), unit="bytes"),
            graph("Memory per connection", "Resident memory by open sessions, on nodes with more than 100.", ("sum by (instance) (process_resident_memory_bytes[]) / (sum by (instance) (gateway_connections[]) > 100)", "{{instance}}"), unit="bytes"),
            graph("Open files", "Part of the files that a node may open.", ("max by (instance) (process_open_fds[] / process_max_fds[])", "{{instance}}"), unit="percentunit"),
            graph("Packets per CPU second", "Packets queued for clients by seconds of CPU: the more go in one write, the higher.", (f"sum(rate(gateway_packets_sent_total[][{RATE}])) / clamp_min(sum(rate(process_cpu_seconds_total[][{RATE}])), 1e-3)", "sent"), unit="none"),
            graph("Spans", "Spans for OpenTelemetry that nodes kept, by what became of them. There are none without otel.endpoint.", (f"sum by (result) (rate(gateway_otel_spans_total[][{RATE}]))", "{{result}}"), unit="cps", stack=True),
            graph("Uptime", "Since the start of the process.", ("time() - min by (instance) (process_start_time_seconds[])", "{{instance}}"), unit="s"),
        ),
    ]


def board():
    return {
        "uid": "gateway",
        "title": "Gateway",
        "description": "Nodes of the gateway, a Socket.IO server. What each metric means stands in docs/metrics.md.",
        "tags": ["gateway", "socket.io"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": variables()},
        "annotations": {"list": [annotation()]},
        "panels": layout(rows()),
    }


def variables():
    source = {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "refresh": 1}
    return [
        source,
        variable("job", "Job", "label_values(gateway_build_info, job)", every=None),
        # Without Kubernetes there is no such label, and `.*` matches that, too.
        variable("namespace", "Namespace", 'label_values(gateway_build_info{job=~"$job"}, namespace)', every=".*"),
        variable("instance", "Instance", 'label_values(gateway_build_info{job=~"$job", namespace=~"$namespace"}, instance)', every=".*"),
    ]


def variable(name, label, query, every):
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        **({"allValue": every} if every else {}),
        "current": {"selected": True, "text": "All", "value": "$__all"},
    }


def annotation():
    return {
        "name": "Drains",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "purple",
        "expr": select("max by (instance) (gateway_draining[]) == 1"),
        "titleFormat": "{{instance}} drains",
    }


DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
SELECTOR = 'job=~"$job", namespace=~"$namespace", instance=~"$instance"'


def select(expression):
    """Fills in the labels. Behind a name stands `[]`, or labels of the query's own in brackets."""

    def labels(found):
        return f"{found[1]}{{{found[2] + ', ' if found[2] else ''}{SELECTOR}}}"

    return re.sub(r'([a-z_]+)\[((?:[a-z]+=~?"[^"]*")?)\]', labels, expression)


def quantile(q, name, by="", outer=""):
    by = f"{by}, le" if by else "le"
    expression = f"histogram_quantile({q}, sum by ({by}) (rate({name}_bucket[][{RATE}])))"
    return f"{outer}({expression})" if outer else expression


def row(title, *panels):
    return title, panels


def panel(kind, title, description, targets, unit, **more):
    thresholds = more.pop("thresholds", [(None, "green")])
    steps = [{"value": value, "color": color} for value, color in thresholds]
    defaults = {"unit": unit, "thresholds": {"mode": "absolute", "steps": steps}, **more.pop("defaults", {})}
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": DATASOURCE, "expr": select(expression), **target}
            for i, (expression, target) in enumerate(targets)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        **more,
    }


def stat(title, description, expression, unit="short", thresholds=((None, "text"),)):
    options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    return panel("stat", title, description, [(expression, {})], unit, thresholds=thresholds, options=options)


def graph(title, description, *queries, unit="short", stack=False):
    custom = {"fillOpacity": 15 if stack else 0, "lineWidth": 1, "showPoints": "never", "stacking": {"mode": "normal" if stack else "none"}}
    options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    targets = [(expression, {"legendFormat": legend}) for expression, legend in queries]
    return panel("timeseries", title, description, targets, unit, options=options, defaults={"custom": custom})


def heatmap(title, description, name):
    expression = f"sum by (le) (rate({name}_bucket[][{RATE}]))"
    options = {"calculate": False, "yAxis": {"unit": "s"}, "color": {"scheme": "Blues"}, "cellGap": 0}
    return panel("heatmap", title, description, [(expression, {"format": "heatmap", "legendFormat": "{{le}}"})], "short", options=options)


def layout(rows):
    """Stat panels of 4 x 4, others of 12 x 8, left to right; the first row open, the rest folded."""
    panels, y, number = [], 0, 0
    for index, (title, content) in enumerate(rows):
        number += 1
        head = {"id": number, "type": "row", "title": title, "collapsed": index > 0, "panels": [], "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}
        panels.append(head)
        y += 1
        x, line, top = 0, 0, y
        for it in content:
            width, height = (4, 4) if it["type"] == "stat" else (12, 8)
            if x + width > 24:
                x, top = 0, top + line
                line = 0
            number += 1
            (panels if index == 0 else head["panels"]).append({"id": number, **it, "gridPos": {"x": x, "y": top, "w": width, "h": height}})
            x, line = x + width, max(line, height)
        if index == 0:
            y = top + line
    return panels


if __name__ == "__main__":
    print(json.dumps(board(), indent=2, ensure_ascii=False))
