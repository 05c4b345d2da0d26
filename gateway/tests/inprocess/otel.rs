//! Spans: which there are, what they are a part of, and how they come to the collector.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adapter::NodeId;
use adapter::memory::Cluster;
use gateway::{Config, Server};
use hyper::HeaderMap;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::{
    Backend, Collector, Span, TestGateway, WebSocket, config, request, request_with, soon, until,
};

const KEY: &str = "a key that only tests know";

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates");

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";

const SERVER: u64 = 2;
const HTTP_CLIENT: u64 = 3;
const PRODUCER: u64 = 4;
const CONSUMER: u64 = 5;

/// What a client says that its request is a part of.
fn traceparent(sampled: bool) -> String {
    format!("00-{TRACE}-{CLIENT}-0{}", u8::from(sampled))
}

fn settings(collector: &Collector, more: &str) -> Config {
    let mut config = config();
    let toml = format!(
        "api.key = \"{KEY}\"\n[otel]\nendpoint = \"{}\"\n{more}",
        collector.url()
    );
    let read = Config::from_toml(&toml).unwrap();
    (config.otel, config.api) = (read.otel, read.api);
    config
}

async fn gateway(collector: &Collector, more: &str) -> TestGateway {
    TestGateway::start(Server::new(settings(collector, more))).await
}

async fn nodes(config: impl Fn() -> Config) -> (Cluster, [TestGateway; 2]) {
    let cluster = Cluster::default();
    let start = async |name: &str| {
        let (joining, id) = (cluster.clone(), NodeId::new(name).unwrap());
        let joined = id.clone();
        let join = move |tag, inbox| Arc::new(joining.join(joined, tag, inbox)) as _;
        let node = TestGateway::start(Server::new(config()).adapter(join)).await;
        cluster.set_address(&id, node.internal_address().to_string());
        node
    };
    let nodes = [start("a").await, start("b").await];
    (cluster, nodes)
}

async fn member(node: &TestGateway, room: &str) -> WebSocket {
    let (mut client, _) = node.client().await;
    client.send(&format!(r#"421["join","{room}"]"#)).await;
    client.expect(r#"431[{"ok":true}]"#).await;
    client
}

/// The only one of that name.
fn one<'a>(spans: &'a [Span], name: &str, node: &str) -> &'a Span {
    let mut found = spans.iter().filter(|it| it.name == name && it.node == node);
    let first = found
        .next()
        .unwrap_or_else(|| panic!("{name} of {node}: {spans:#?}"));
    assert_eq!(found.next(), None, "{name} of {node}");
    first
}

/// A backend that answers events with an emit, and tells the headers of its requests.
async fn backend() -> (Backend, mpsc::UnboundedReceiver<(HeaderMap, Value)>) {
    let (calls, called) = mpsc::unbounded_channel();
    let backend = Backend::serve(([127, 0, 0, 1], 0).into(), move |headers, body| {
        let call: Value = serde_json::from_slice(&body).unwrap();
        let emit = json!({"rooms": ["news"], "event": "said", "args": [1]});
        let answer = match call["type"].as_str() {
            Some("connect") if call["auth"]["fails"] == true => (500, Value::Null),
            Some("connect") => (200, json!({"actions": [{"join": ["news"]}]})),
            Some("event") => (200, json!({"ack": [1], "actions": [{"emit": emit}]})),
            _ => (200, Value::Null),
        };
        calls.send((headers, call)).unwrap();
        Box::pin(std::future::ready(answer))
    });
    (backend.await, called)
}

fn with_backend(collector: &Collector, backend: &Backend, more: &str) -> Config {
    let toml = format!(
        "backend = {{ url = \"{}\", secret = \"0123456789abcdef\", retries = 0 }}",
        backend.url()
    );
    let mut config = settings(collector, more);
    config.backend = Config::from_toml(&toml).unwrap().backend;
    config
}

#[tokio::test]
async fn a_trace_goes_from_a_handshake_through_the_webhook_to_the_delivery_on_another_node() {
    let collector = Collector::start().await;
    let (backend, mut called) = backend().await;
    let config = || with_backend(&collector, &backend, "sample = 0\ntrust_parent = true");
    let (_cluster, [a, b]) = nodes(config).await;
    let (mut far, _) = b.client().await;
    let told = format!(
        "traceparent: {}\r\ntracestate: one=1, two=2\r\n",
        traceparent(true)
    );
    let mut client = WebSocket::open_with(a.address(), "", &told).await;
    client.connect().await;
    client.send(r#"427["say","hi"]"#).await;
    client.expect(r#"42["said",1]"#).await;
    client.expect("437[1]").await;
    far.expect(r#"42["said",1]"#).await;
    let spans = {
        collector.named("deliver", 2).await;
        collector.spans()
    };
    assert!(spans.iter().all(|it| it.trace == TRACE), "{spans:#?}");
    let connect = one(&spans, "connect", "a");
    let asked = one(&spans, "webhook connect", "a");
    let event = one(&spans, "event", "a");
    let webhook = one(&spans, "webhook event", "a");
    let publish = one(&spans, "publish", "a");
    let (here, there) = (one(&spans, "deliver", "a"), one(&spans, "deliver", "b"));
    for (span, parent, kind) in [
        (connect, CLIENT, SERVER),
        (asked, &*connect.id, HTTP_CLIENT),
        (event, &connect.id, SERVER),
        (webhook, &event.id, HTTP_CLIENT),
        (publish, &webhook.id, PRODUCER),
        (here, &publish.id, CONSUMER),
        (there, &publish.id, CONSUMER),
    ] {
        assert_eq!((&*span.parent, span.kind), (parent, kind), "{span:#?}");
        assert!(span.sampled && !span.failed, "{span:#?}");
    }
    assert_eq!(event.attribute("gateway.event"), Some("say"));
    assert_eq!(connect.attribute("gateway.outcome"), Some("accepted"));
    assert_eq!(publish.attribute("messaging.destination.name"), Some("/"));
    assert_eq!(here.attribute("gateway.recipients"), Some("1"));
    assert_eq!(there.attribute("gateway.origin"), Some("cluster"));
    // The client of the other node told nothing, and nothing of it is sampled.
    let (far_headers, _) = called.recv().await.unwrap();
    assert!(
        far_headers["traceparent"]
            .to_str()
            .unwrap()
            .ends_with("-00")
    );
    assert!(!far_headers.contains_key("tracestate"));
    for span in [asked, webhook] {
        let (headers, _) = called.recv().await.unwrap();
        let carried = format!("00-{TRACE}-{}-01", span.id);
        assert_eq!(headers["traceparent"], carried);
        assert_eq!(headers["tracestate"], "one=1,two=2");
    }
}

#[tokio::test]
async fn a_client_does_not_decide_what_is_sampled_unless_it_is_trusted() {
    let collector = Collector::start().await;
    for (more, told, sampled) in [
        ("sample = 0", Some(true), false),
        ("sample = 0\ntrust_parent = true", Some(true), true),
        ("sample = 1", Some(false), true),
        ("sample = 1\ntrust_parent = true", Some(false), false),
        ("sample = 1\ntrust_parent = true", None, true),
        ("sample = 0\ntrust_parent = true", None, false),
    ] {
        let gateway = gateway(&collector, more).await;
        let told = told.map_or(String::new(), |it| {
            format!("traceparent: {}\r\n", traceparent(it))
        });
        let mut client = WebSocket::open_with(gateway.address(), "", &told).await;
        client.connect().await;
        client.send(r#"421["echo"]"#).await;
        client.expect("431[]").await;
        gateway.stop().await;
        let mut names: Vec<_> = collector.spans().into_iter().map(|it| it.name).collect();
        names.sort_unstable();
        let expected: &[&str] = if sampled { &["connect", "event"] } else { &[] };
        assert_eq!(names, expected, "{more} {told}");
        collector.forget();
    }
}

#[tokio::test]
async fn events_of_clients_that_tell_nothing_have_traces_of_their_own() {
    let collector = Collector::start().await;
    let gateway = gateway(&collector, "sample = 1").await;
    let wrong = "traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01\r\n";
    let mut client = WebSocket::open_with(gateway.address(), "", wrong).await;
    client.connect().await;
    for id in 1..=2 {
        client.send(&format!(r#"42{id}["broadcast","x"]"#)).await;
        client.expect(&format!(r#"43{id}[{{"ok":true}}]"#)).await;
    }
    gateway.stop().await;
    let spans = collector.spans();
    let of = |name: &str| {
        spans
            .iter()
            .filter(|it| it.name == name)
            .collect::<Vec<_>>()
    };
    let (events, publishes, deliveries) = (of("event"), of("publish"), of("deliver"));
    assert_eq!((events.len(), publishes.len(), deliveries.len()), (2, 2, 2));
    assert_ne!(events[0].trace, events[1].trace);
    assert_eq!(events[0].parent, "");
    for publish in publishes {
        let event = events.iter().find(|it| it.id == publish.parent).unwrap();
        let delivery = deliveries
            .iter()
            .find(|it| it.parent == publish.id)
            .unwrap();
        assert_eq!(
            (&event.trace, &delivery.trace),
            (&publish.trace, &publish.trace)
        );
    }
}

#[tokio::test]
async fn what_fails_or_is_slow_is_told_though_nothing_is_sampled() {
    let collector = Collector::start().await;
    let (backend, _called) = backend().await;
    let config = with_backend(&collector, &backend, "sample = 0\nslow = \"1h\"");
    let gateway = TestGateway::start(Server::new(config)).await;
    let mut client = gateway.websocket().await;
    client.send(r#"40{"fails":true}"#).await;
    client.expect_close().await;
    let mut other = gateway.websocket().await;
    other.connect().await;
    gateway.stop().await;
    let spans = collector.spans();
    let (connect, asked) = (
        spans.iter().find(|it| it.name == "connect").unwrap(),
        spans
            .iter()
            .find(|it| it.name == "webhook connect")
            .unwrap(),
    );
    assert_eq!(spans.len(), 2, "{spans:#?}");
    assert_eq!((&asked.trace, &asked.parent), (&connect.trace, &connect.id));
    for (span, reason) in [(connect, "refused_for_now"), (asked, "backend_unavailable")] {
        assert!(span.failed && !span.sampled, "{span:#?}");
        assert_eq!(span.attribute("error.type"), Some(reason));
    }

    collector.forget();
    let slow = Backend::serve(([127, 0, 0, 1], 0).into(), |_, _| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            (200, Value::Null)
        })
    });
    let slow = slow.await;
    let config = with_backend(&collector, &slow, "sample = 0\nslow = \"20ms\"");
    let gateway = TestGateway::start(Server::new(config)).await;
    let (_client, _) = gateway.client().await;
    gateway.stop().await;
    let spans = collector.spans();
    let asked = spans
        .iter()
        .find(|it| it.name == "webhook connect")
        .unwrap();
    assert!(asked.took >= 20_000_000 && !asked.failed, "{asked:#?}");
    assert!(
        spans
            .iter()
            .any(|it| it.id == asked.parent && it.name == "connect")
    );
}

#[tokio::test]
async fn a_call_of_the_api_is_a_part_of_its_callers_trace() {
    let collector = Collector::start().await;
    let (_cluster, [a, b]) = nodes(|| settings(&collector, "sample = 0")).await;
    let mut far = member(&b, "news").await;
    let call = async |key: &str| {
        let headers = format!(
            "Authorization: Bearer {key}\r\nContent-Type: application/json\r\ntraceparent: {}\r\n",
            traceparent(true)
        );
        let body = r#"{"rooms":["news"],"event":"hi"}"#;
        request_with(a.internal_address(), "POST /api/v1/emit", &headers, body).await
    };
    assert_eq!(call("a wrong key").await.status, 401);
    assert_eq!(call(KEY).await.status, 200);
    far.expect(r#"42["hi"]"#).await;
    collector.named("deliver", 2).await;
    let spans = collector.spans();
    let call = one(&spans, "POST /api/v1/emit", "a");
    assert_eq!(
        (&*call.trace, &*call.parent, call.kind),
        (TRACE, CLIENT, SERVER)
    );
    assert_eq!(call.attribute("http.response.status_code"), Some("200"));
    let publish = one(&spans, "publish", "a");
    assert_eq!(publish.parent, call.id);
    assert_eq!(one(&spans, "deliver", "b").parent, publish.id);
}

#[tokio::test]
async fn a_forwarded_request_has_a_span_at_both_nodes() {
    let collector = Collector::start().await;
    let (_cluster, [a, b]) =
        nodes(|| settings(&collector, "sample = 0\ntrust_parent = true")).await;
    let polling = b.polling().await;
    let head = format!("POST {}", polling.target());
    let headers = format!("traceparent: {}\r\n", traceparent(true));
    let posted = request_with(a.address(), &head, &headers, "40").await;
    assert_eq!(posted.status, 200);
    collector.named("forward post", 2).await;
    let spans = collector.spans();
    let (here, there) = (
        one(&spans, "forward post", "a"),
        one(&spans, "forward post", "b"),
    );
    assert_eq!(
        (&*here.trace, &*here.parent, here.kind),
        (TRACE, CLIENT, HTTP_CLIENT)
    );
    assert_eq!(
        (&*there.trace, &there.parent, there.kind),
        (TRACE, &here.id, SERVER)
    );
    assert_eq!(here.attribute("gateway.owner"), Some("b"));
}

#[tokio::test]
async fn nothing_that_is_secret_or_somebodys_is_in_a_span() {
    let collector = Collector::start().await;
    let gateway = gateway(&collector, "sample = 1").await;
    let client = WebSocket::open_with(gateway.address(), "&token=hidden1", "Cookie: hidden2\r\n");
    let mut client = client.await;
    client.send(r#"40{"token":"hidden3"}"#).await;
    let id = crate::support::sid(&client.answer().await);
    client.send(r#"421["join","hidden4"]"#).await;
    client.expect(r#"431[{"ok":true}]"#).await;
    client
        .send(r#"422["publish","hidden4","x","hidden5"]"#)
        .await;
    client.expect(r#"432[{"ok":true}]"#).await;
    gateway.stop().await;
    let text = format!("{:?}", collector.spans());
    assert!(text.contains("publish") && text.contains("deliver"));
    assert!(!text.contains("hidden") && !text.contains(&id), "{text}");
    assert!(!text.contains("127.0.0.1"), "{text}");
}

#[tokio::test]
async fn spans_are_sent_again_when_the_collector_says_so_and_counted() {
    let collector = Collector::start().await;
    collector.refuse(503, 1);
    let more = "sample = 1\nheaders = \"x-key=a secret\"";
    let gateway = gateway(&collector, more).await;
    let (_client, _) = gateway.client().await;
    collector.named("connect", 1).await;
    assert_eq!(collector.headers()["x-key"], "a secret");
    assert_eq!(
        collector.headers()["content-type"],
        "application/x-protobuf"
    );
    let series = |result: &str| format!("gateway_otel_spans_total{{result=\"{result}\"}}");
    gateway.until_metric(&series("exported"), 1.0).await;
    gateway.until_metric("gateway_otel_waiting", 0.0).await;
    gateway
        .until_metric("gateway_otel_waiting_bytes", 0.0)
        .await;
    collector.refuse(400, 1);
    let (_client, _) = gateway.client().await;
    gateway.until_metric(&series("refused"), 1.0).await;
    let ready = request(gateway.internal_address(), "GET /ready", "").await;
    assert!(
        ready.body.contains("spans cannot be sent"),
        "{}",
        ready.body
    );
    let (_client, _) = gateway.client().await;
    gateway.until_metric(&series("exported"), 2.0).await;
    let ready = request(gateway.internal_address(), "GET /ready", "").await;
    assert!(!ready.body.contains("spans"), "{}", ready.body);
}

#[tokio::test]
async fn metrics_have_the_traces_of_some_values_for_who_asks_for_openmetrics() {
    let collector = Collector::start().await;
    let (backend, _called) = backend().await;
    let config = with_backend(&collector, &backend, "sample = 1");
    let gateway = TestGateway::start(Server::new(config)).await;
    let (mut client, _) = gateway.client().await;
    client.send(r#"427["say","hi"]"#).await;
    client.expect(r#"42["said",1]"#).await;
    client.expect("437[1]").await;
    let headers = format!("Authorization: Bearer {KEY}\r\n");
    request_with(
        gateway.internal_address(),
        "GET /api/v1/nodes",
        &headers,
        "",
    )
    .await;
    let scrape = async |accept: &str| {
        let accept = format!("Accept: {accept}\r\n");
        request_with(gateway.internal_address(), "GET /metrics", &accept, "").await
    };
    let open = scrape("application/openmetrics-text").await;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(open.header("content-type"), Some(kind));
    assert!(open.body.ends_with("# EOF\n"));
    collector.named("deliver", 1).await;
    let spans = collector.spans();
    for (metric, name) in [
        ("gateway_broadcast_duration_seconds", "deliver"),
        ("gateway_backend_duration_seconds", "webhook event"),
        ("gateway_api_duration_seconds", "GET /api/v1/nodes"),
    ] {
        let span = spans.iter().find(|it| it.name == name).unwrap();
        let with = format!(
            " # {{trace_id=\"{}\",span_id=\"{}\"}} ",
            span.trace, span.id
        );
        let mut lines = open.body.lines();
        let line = lines.find(|it| it.starts_with(metric) && it.contains(&with));
        let line = line.unwrap_or_else(|| panic!("{metric}: {with}\n{}", open.body));
        // The value is one of its bucket.
        let (_, bound) = line.split_once("le=\"").unwrap();
        let bound: f64 = bound
            .split('"')
            .next()
            .unwrap()
            .replace('+', "")
            .parse()
            .unwrap();
        let (_, value) = line.split_once(&with).unwrap();
        let value: f64 = value.split(' ').next().unwrap().parse().unwrap();
        assert!(value <= bound && (bound.is_infinite() || value > bound / 2.0 || bound < 1e-3));
    }
    let plain = scrape("text/plain").await;
    assert_eq!(
        plain.header("content-type"),
        Some("text/plain; version=0.0.4")
    );
    assert!(!plain.body.contains("trace_id") && !plain.body.contains("# EOF"));
    assert!(
        plain
            .body
            .contains("# TYPE gateway_packets_received_total counter")
    );
}

#[tokio::test]
async fn a_request_for_several_events_has_links_to_those_behind_the_first() {
    let collector = Collector::start().await;
    let (go, gone) = tokio::sync::watch::channel(false);
    let backend = Backend::serve(([127, 0, 0, 1], 0).into(), move |_, body| {
        let call: Value = serde_json::from_slice(&body).unwrap();
        let mut gone = gone.clone();
        Box::pin(async move {
            if call["type"] == "event" {
                gone.wait_for(|gone| *gone).await.unwrap();
            }
            let replies: Vec<_> = call["events"].as_array().into_iter().flatten().collect();
            (200, json!({"replies": vec![json!({}); replies.len()]}))
        })
    });
    let backend = backend.await;
    let mut config = with_backend(&collector, &backend, "sample = 1");
    config.backend.webhook.as_mut().unwrap().batch = 10.try_into().unwrap();
    let gateway = TestGateway::start(Server::new(config)).await;
    let (mut client, _) = gateway.client().await;
    for event in ["one", "two", "three", "four"] {
        client.send(&format!(r#"42["{event}"]"#)).await;
    }
    let received = "gateway_packets_received_total{type=\"event\"}";
    gateway.until_metric(received, 4.0).await;
    go.send(true).unwrap();
    let batches = collector.named("webhook batch", 1).await;
    let spans = collector.spans();
    let event = |name| {
        let mut events = spans.iter().filter(|it| it.name == "event");
        events.find(|it| it.attribute("gateway.event") == Some(name))
    };
    let [two, three, four] = ["two", "three", "four"].map(|it| event(it).unwrap());
    assert_eq!(
        (&batches[0].trace, &batches[0].parent),
        (&two.trace, &two.id)
    );
    assert_eq!(batches[0].links, [&*three.id, &*four.id]);
    assert_eq!(batches[0].attribute("gateway.events"), Some("3"));
}

#[tokio::test]
async fn the_end_of_a_node_does_not_wait_long_for_a_collector() {
    let silent = Backend::serve(([127, 0, 0, 1], 0).into(), |_, _| {
        Box::pin(std::future::pending())
    });
    let silent = silent.await;
    let toml = format!("otel = {{ endpoint = \"{}\", sample = 1 }}", silent.url());
    let mut config = config();
    config.otel = Config::from_toml(&toml).unwrap().otel;
    let gateway = TestGateway::start(Server::new(config)).await;
    let (_client, _) = gateway.client().await;
    until(async || !silent.calls().is_empty()).await;
    soon(gateway.stop()).await;
}

#[tokio::test]
async fn a_connect_whose_client_went_before_the_decision_has_a_span() {
    let collector = Collector::start().await;
    let backend = Backend::serve(([127, 0, 0, 1], 0).into(), |_, _| {
        Box::pin(std::future::pending())
    });
    let backend = backend.await;
    for more in ["sample = 1", "sample = 0\nslow = \"1ms\""] {
        let config = with_backend(&collector, &backend, more);
        let gateway = TestGateway::start(Server::new(config)).await;
        let asked = backend.calls().len();
        let mut client = gateway.websocket().await;
        client.send("40").await;
        until(async || backend.calls().len() > asked).await;
        client.vanish();
        let spans = collector.named("connect", 1).await;
        assert_eq!(spans.len(), 1, "{more}");
        assert_eq!(spans[0].attribute("gateway.outcome"), Some("gone"));
        assert_eq!(spans[0].attribute("gateway.namespace"), Some("/"));
        assert!(!spans[0].failed);
        collector.forget();
    }
}

/// Makes plain connections of those that come by TLS, with this certificate.
async fn tls_in_front_of(address: SocketAddr, name: &str) -> SocketAddr {
    let file = |kind: &str| format!("{FILES}/{name}.{kind}");
    let certificate = CertificateDer::from_pem_file(file("crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("key")).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key);
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust the certificate breaks off.
                if let Ok(mut tls) = acceptor.accept(stream).await {
                    let mut plain = TcpStream::connect(address).await.unwrap();
                    let _over = tokio::io::copy_bidirectional(&mut tls, &mut plain).await;
                }
            });
        }
    });
    front
}

#[tokio::test]
async fn a_collector_is_reached_by_https_if_its_certificate_is_trusted() {
    let collector = Collector::start().await;
    let front = tls_in_front_of(collector.address(), "one").await;
    let start = async |trusted: &str| {
        let mut config = config();
        let toml = format!(
            "[otel]\nendpoint = \"https://localhost:{}\"\nca_file = \"{FILES}/{trusted}.crt\"\nsample = 1\n",
            front.port()
        );
        config.otel = Config::from_toml(&toml).unwrap().otel;
        TestGateway::start(Server::new(config)).await
    };
    let other = start("two").await;
    let (_client, _) = other.client().await;
    let ready = async || request(other.internal_address(), "GET /ready", "").await;
    until(async || ready().await.body.contains("spans cannot be sent")).await;
    let ready = ready().await;
    assert!(
        ready.status == 200 && ready.body.contains("certificate"),
        "{}",
        ready.body
    );
    assert!(collector.spans().is_empty());

    let gateway = start("one").await;
    let (_client, _) = gateway.client().await;
    let connects = collector.named("connect", 1).await;
    assert_eq!(connects.len(), 1);
    let exported = "gateway_otel_spans_total{result=\"exported\"}";
    gateway.until_metric(exported, 1.0).await;
}
