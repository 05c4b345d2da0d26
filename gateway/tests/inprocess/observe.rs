//! Metrics, the log, and what is left when everybody went.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex};

use gateway::Server;
use tracing::level_filters::LevelFilter;

use crate::support::{Polling, TestGateway, WebSocket, config, until, value};

#[tokio::test]
async fn every_series_is_there_from_the_start_at_zero() {
    let gateway = TestGateway::relay().await;
    let metrics = gateway.metrics().await;
    let mut series = vec![
        "gateway_outbox_bytes".to_owned(),
        "gateway_outbox_memory_bytes".to_owned(),
        r#"gateway_slow_consumer_causes_total{cause="stalled"}"#.to_owned(),
        r#"gateway_slow_consumer_causes_total{cause="behind"}"#.to_owned(),
        r#"gateway_slow_consumer_causes_total{cause="memory"}"#.to_owned(),
        "gateway_tunnels".to_owned(),
        "gateway_draining".to_owned(),
        "gateway_drain_remaining_connections".to_owned(),
        "gateway_heartbeats_sent_total".to_owned(),
        "gateway_heartbeats_answered_total".to_owned(),
        "gateway_heartbeat_timeouts_total".to_owned(),
        "gateway_slow_consumers_total".to_owned(),
        "gateway_volatile_dropped_total".to_owned(),
        "gateway_events_rate_limited_total".to_owned(),
        "gateway_heartbeat_rtt_seconds_count".to_owned(),
        "gateway_heartbeat_lateness_seconds_count".to_owned(),
        "gateway_broadcast_recipients_count".to_owned(),
        "gateway_broadcast_duration_seconds_count".to_owned(),
    ];
    let mut add = |name: &str, label: &str, values: &[&str]| {
        let all = values.iter();
        series.extend(all.map(|value| format!("{name}{{{label}=\"{value}\"}}")));
    };
    let transports = ["polling", "websocket", "webtransport"];
    for name in [
        "gateway_connections",
        "gateway_connections_opened_total",
        "gateway_received_bytes_total",
        "gateway_sent_bytes_total",
    ] {
        add(name, "transport", &transports);
    }
    for name in ["gateway_sockets", "gateway_rooms"] {
        add(name, "namespace", &["/", "other"]);
    }
    let types = [
        "connect",
        "disconnect",
        "event",
        "ack",
        "connect_error",
        "binary_event",
        "binary_ack",
    ];
    add("gateway_packets_received_total", "type", &types);
    add("gateway_packets_sent_total", "type", &types);
    add("gateway_broadcasts_total", "origin", &["local", "cluster"]);
    let refusals = [
        "unknown_transport",
        "unknown_sid",
        "bad_method",
        "bad_request",
        "forbidden",
        "unsupported_version",
        "overlap",
        "body_too_large",
        "body_timeout",
        "octet_stream",
        "connection_limit",
        "address_limit",
        "handshake_rate",
        "draining",
        "proxy_protocol",
        "tls",
        "http",
    ];
    add("gateway_handshakes_rejected_total", "reason", &refusals);
    let causes = ["closed", "gone", "unreachable", "never_issued"];
    add("gateway_unknown_sid_total", "cause", &causes);
    let upgrades = [
        "completed",
        "refused",
        "timeout",
        "unexpected_packet",
        "disconnected",
        "session_closed",
    ];
    add("gateway_upgrades_total", "result", &upgrades);
    for reason in protocol::engineio::CloseReason::ALL {
        for transport in transports {
            series.push(format!(
                "gateway_connections_closed_total{{reason=\"{}\",transport=\"{transport}\"}}",
                reason.label()
            ));
        }
    }
    for series in series {
        assert_eq!(value(&metrics, &series), Some(0.0), "{series}");
    }
    assert!(metrics.contains("gateway_build_info{version=\""));
    assert!(metrics.contains("process_resident_memory_bytes "));
}

#[tokio::test]
async fn aliases_are_exported_on_demand_and_agree() {
    let plain = TestGateway::relay().await;
    assert!(!plain.metrics().await.contains("socket_io_"));
    let mut config = config();
    config.metrics.socket_io_aliases = true;
    let gateway = TestGateway::start(Server::new(config)).await;
    let aliases = async || {
        let metrics = gateway.metrics().await;
        [
            "socket_io_connected",
            "socket_io_connect_total",
            "socket_io_disconnect_total",
            "socket_io_events_received_total",
            "socket_io_events_sent_total",
        ]
        .map(|name| value(&metrics, name).unwrap())
    };
    assert_eq!(aliases().await, [0.0; 5]);
    let mut clients = gateway.clients(3).await;
    clients[0].send(r#"421["broadcast","hello"]"#).await;
    clients[0].expect(r#"431[{"ok":true}]"#).await;
    for client in &mut clients[1..] {
        client.expect(r#"42["hello"]"#).await;
    }
    assert_eq!(aliases().await, [3.0, 3.0, 0.0, 1.0, 2.0]);
    clients.pop().unwrap().vanish();
    until(async || gateway.gateway().connections() == 2).await;
    assert_eq!(aliases().await, [2.0, 3.0, 1.0, 1.0, 2.0]);
}

const GAUGES: [&str; 7] = [
    r#"gateway_connections{transport="polling"}"#,
    r#"gateway_connections{transport="websocket"}"#,
    r#"gateway_sockets{namespace="/"}"#,
    r#"gateway_rooms{namespace="/"}"#,
    r#"gateway_sockets{namespace="other"}"#,
    "gateway_outbox_bytes",
    "gateway_outbox_memory_bytes",
];

#[tokio::test]
async fn gauges_are_right_while_clients_come_and_vanish() {
    let gateway = TestGateway::relay().await;
    for _ in 0..3 {
        let mut clients = gateway.clients(40).await;
        for (number, client) in clients.iter_mut().enumerate() {
            client
                .send(&format!(r#"421["join",["all","own {number}"]]"#))
                .await;
            client.expect(r#"431[{"ok":true}]"#).await;
        }
        let mut polling = gateway.polling().await;
        polling.connect().await;
        polling.park().await;
        let metrics = gateway.metrics().await;
        assert_eq!(value(&metrics, GAUGES[0]), Some(1.0));
        assert_eq!(value(&metrics, GAUGES[1]), Some(40.0));
        assert_eq!(value(&metrics, GAUGES[2]), Some(41.0));
        assert_eq!(value(&metrics, GAUGES[3]), Some(42.0));
        clients.into_iter().for_each(|client| client.vanish());
        drop(polling);
        for gauge in GAUGES {
            gateway.until_metric(gauge, 0.0).await;
        }
    }
    let metrics = gateway.metrics().await;
    let opened = r#"gateway_connections_opened_total{transport="websocket"}"#;
    assert_eq!(value(&metrics, opened), Some(120.0));
    let closed =
        r#"gateway_connections_closed_total{reason="transport_close",transport="websocket"}"#;
    assert_eq!(value(&metrics, closed), Some(120.0));
}

#[tokio::test]
async fn gauges_are_right_after_ten_thousand_unclean_disconnects() {
    const WAVES: usize = 50;
    const CLIENTS: usize = 200;
    let gateway = TestGateway::relay().await;
    for _ in 0..WAVES {
        let clients = (0..CLIENTS).map(|number| vanishing(&gateway, number));
        let clients = futures_util::future::join_all(clients).await;
        assert_eq!(gateway.gateway().connections(), CLIENTS);
        drop(clients);
        until(async || gateway.gateway().connections() == 0).await;
    }
    for gauge in GAUGES {
        gateway.until_metric(gauge, 0.0).await;
    }
    let metrics = gateway.metrics().await;
    let sum = |name: &str| -> f64 {
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    };
    let all = (WAVES * CLIENTS) as f64;
    assert_eq!(sum("gateway_connections_opened_total{"), all);
    assert_eq!(sum("gateway_connections_closed_total{"), all);
}

/// Clients that will be dropped in the midst of something: each kind of what a client may be in the
/// midst of.
async fn vanishing(gateway: &TestGateway, number: usize) -> (Vec<Vanishing>, Option<Polling>) {
    match number % 10 {
        0..=2 => {
            let (mut client, _) = gateway.client().await;
            client.send(r#"421["join",["all","some"]]"#).await;
            client.expect(r#"431[{"ok":true}]"#).await;
            (vec![Vanishing(Some(client))], None)
        }
        3..=5 => {
            let client = gateway.websocket().await;
            (vec![Vanishing(Some(client))], None)
        }
        6..=7 => {
            let (mut client, _) = gateway.client().await;
            client.send_half_a_frame().await;
            (vec![Vanishing(Some(client))], None)
        }
        8 => {
            let mut polling = gateway.polling().await;
            polling.connect().await;
            polling.park().await;
            (Vec::new(), Some(polling))
        }
        _ => {
            let mut polling = gateway.polling().await;
            polling.connect().await;
            let mut upgraded = polling.probe().await;
            upgraded.send("5").await;
            upgraded.send(r#"421["echo"]"#).await;
            upgraded.expect("431[]").await;
            (vec![Vanishing(Some(upgraded))], Some(polling))
        }
    }
}

/// Goes without a word when it is dropped.
struct Vanishing(Option<WebSocket>);

impl Drop for Vanishing {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(WebSocket::vanish);
    }
}

#[tokio::test]
async fn nothing_is_left_of_two_thousand_sessions_that_left() {
    let gateway = TestGateway::relay().await;
    for _ in 0..20 {
        let clients = gateway.clients(50).await;
        let mut polling = Vec::new();
        for number in 0..50 {
            let mut client = gateway.polling().await;
            if number % 2 == 0 {
                client.connect().await;
            }
            polling.push(client);
        }
        assert_eq!(gateway.gateway().connections(), 100);
        clients.into_iter().for_each(|client| client.vanish());
        for mut client in polling {
            client.park().await;
            client.send("1").await;
        }
        until(async || gateway.gateway().connections() == 0).await;
    }
    for gauge in GAUGES {
        gateway.until_metric(gauge, 0.0).await;
    }
    let (client, _) = gateway.client().await;
    assert_eq!(
        gateway.gateway().of("/").fetch_sockets().await.found.len(),
        1
    );
    drop(client);
}

/// A log that is kept.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_sid_is_neither_logged_nor_a_socket_id() {
    let log = Kept::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let gateway = TestGateway::relay().await;
    let (mut websocket, websocket_id) = gateway.client().await;
    let mut polling = gateway.polling().await;
    let polling_id = polling.connect().await;
    let sids = [websocket.sid.clone(), polling.sid.clone()];
    let mut probe = polling.probe().await;
    probe.send("4wrong").await;
    probe.expect_close().await;
    let mut upgraded = polling.probe().await;
    upgraded.send("5").await;
    upgraded.send(r#"421["hello"]"#).await;
    upgraded.next().await;
    assert_eq!(polling.poll().await.status, 400);
    websocket.send("4nonsense").await;
    websocket.expect_close().await;
    upgraded.vanish();
    until(async || gateway.gateway().connections() == 0).await;
    let unknown = polling.poll().await;
    assert_eq!(unknown.body, r#"{"code":1,"message":"Session ID unknown"}"#);
    gateway.stop().await;

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for seen in [
        "listening",
        "upgrade failed",
        "protocol violation",
        "session closed",
    ] {
        assert!(log.contains(seen), "{seen} is not in the log");
    }
    for sid in &sids {
        assert!(!log.contains(sid.as_str()), "a sid is in the log");
    }
    let ids: HashSet<&str> = [&*sids[0], &*sids[1], &*websocket_id, &*polling_id].into();
    assert_eq!(ids.len(), 4, "a sid is a socket id");
}

#[tokio::test]
async fn numbers_are_written_as_people_would() {
    let gateway = TestGateway::relay().await;
    let metrics = gateway.metrics().await;
    let bounds = metrics.split("le=\"").skip(1);
    let bounds: Vec<_> = bounds.filter_map(|rest| rest.split('"').next()).collect();
    assert!(bounds.contains(&"1.6384"), "{bounds:?}");
    let unclean = bounds.iter().find(|bound| bound.len() > "0.0001024".len());
    assert_eq!(unclean, None);
    let cpu = "process_cpu_seconds_total";
    assert_eq!(
        metrics.matches(&format!("\n{cpu} ")).count(),
        1,
        "{metrics}"
    );
    // Whole seconds once may be chance.
    let mut fractions = Vec::new();
    for _ in 0..5 {
        fractions.push(gateway.metric(cpu).await.fract());
    }
    assert!(fractions.iter().any(|part| *part > 0.0), "{fractions:?}");
}
