//! A backend behind webhooks: what it is asked, what it can do, and when it is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gateway::{Config, Server};
use ring::hmac;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{Backend, TestGateway, WebSocket, config, sid, token, until};

const SECRET: &str = "a secret that only tests know";

async fn gateway(backend: &Backend, more: &str) -> TestGateway {
    gateway_for(&backend.url(), more).await
}

async fn gateway_for(url: &str, more: &str) -> TestGateway {
    let mut config = config();
    let toml = format!("[backend]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n{more}");
    config.backend = Config::from_toml(&toml).unwrap().backend;
    TestGateway::start(Server::new(config)).await
}

/// A backend that accepts everybody and answers events with `answer`.
async fn backend(answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Backend {
    Backend::start(move |call| match call["type"].as_str() {
        Some("connect") => (200, Value::Null),
        _ => (200, answer(call)),
    })
    .await
}

fn of_type<'a>(calls: &'a [Value], kind: &str) -> Vec<&'a Value> {
    calls.iter().filter(|call| call["type"] == kind).collect()
}

#[tokio::test]
async fn a_backend_decides_who_may_connect() {
    let backend = Backend::start(|call| {
        if call["auth"]["name"] == "ann" {
            let welcome = json!({"emit": {"rooms": ["lobby"], "event": "joined", "args": ["ann"]}});
            let actions = json!([{"join": ["lobby"]}, welcome]);
            (
                200,
                json!({"user": "ann", "data": {"n": 1}, "actions": actions}),
            )
        } else {
            let refuse = json!({"message": "who are you?", "data": {"code": 7}});
            (200, json!({"refuse": refuse}))
        }
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let mut ann = WebSocket::open_with(gateway.address(), "&a=b", "Cookie: session=1\r\n").await;
    ann.send(r#"40{"name":"ann"}"#).await;
    let id = sid(&ann.answer().await);
    ann.expect(r#"42["joined","ann"]"#).await;
    let mut eve = gateway.websocket().await;
    eve.send("40").await;
    eve.expect(r#"44{"message":"who are you?","data":{"code":7}}"#)
        .await;
    let call = &backend.calls()[0];
    assert_eq!(call["version"], 1);
    assert_eq!(
        (&call["type"], &call["namespace"]),
        (&json!("connect"), &json!("/"))
    );
    assert_eq!(
        call["socket"],
        json!({"id": id, "user": null, "rooms": [id], "data": null})
    );
    assert_eq!(call["auth"], json!({"name": "ann"}));
    assert_eq!(call["handshake"]["headers"]["cookie"], "session=1");
    assert_eq!(call["handshake"]["query"]["a"], "b");
}

#[tokio::test]
async fn a_reply_is_the_acknowledgement_and_carries_actions() {
    let backend = backend(|call| match call["event"].as_str() {
        Some("say") => json!({
            "ack": [{"ok": true}, {"$binary": "AAE="}],
            "data": {"said": call["args"]},
            "actions": [
                {"join": ["chat"]},
                {"emit": {"rooms": ["chat"], "event": "said", "args": call["args"]}},
            ],
        }),
        Some("bye") => json!({"actions": [{"leave": ["chat"]}, {"disconnect": true}]}),
        _ => json!({}),
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let (mut client, id) = gateway.client().await;
    client
        .send(r#"451-1["say",{"_placeholder":true,"num":0}]"#)
        .await;
    client.send_binary(b"hi").await;
    client
        .expect(r#"451-["said",{"_placeholder":true,"num":0}]"#)
        .await;
    client.expect_binary(b"hi").await;
    client
        .expect(r#"461-1[{"ok":true},{"_placeholder":true,"num":0}]"#)
        .await;
    client.expect_binary(&[0, 1]).await;
    client.send(r#"42["bye"]"#).await;
    client.expect("41").await;
    until(async || of_type(&backend.calls(), "disconnect").len() == 1).await;
    let calls = backend.calls();
    let events = of_type(&calls, "event");
    assert_eq!(events[0]["args"], json!([{"$binary": "aGk="}]));
    assert_eq!(
        (&events[0]["ack"], &events[1]["ack"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(events[1]["socket"]["rooms"], json!([id, "chat"]));
    assert_eq!(
        events[1]["socket"]["data"],
        json!({"said": [{"$binary": "aGk="}]})
    );
    let gone = of_type(&calls, "disconnect")[0];
    assert_eq!(gone["reason"], "server namespace disconnect");
    assert_eq!(gone["socket"]["id"], json!(id));
}

#[tokio::test]
async fn requests_are_signed() {
    let right = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&right);
    let backend = Backend::serve(([127, 0, 0, 1], 0).into(), move |headers, body| {
        let signature = headers["gateway-signature"].to_str().unwrap();
        let (time, v1) = signature.split_once(",v1=").unwrap();
        let time = time.strip_prefix("t=").unwrap();
        let signed = [time.as_bytes(), b".", &body[..]].concat();
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let bytes: Vec<_> = (0..v1.len() / 2)
            .map(|at| u8::from_str_radix(&v1[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        hmac::verify(&key, &signed, &bytes).unwrap();
        let call: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(headers["idempotency-key"], call["id"].as_str().unwrap());
        assert!(headers["traceparent"].to_str().unwrap().starts_with("00-"));
        seen.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready((204, Value::Null)))
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let (mut client, _) = gateway.client().await;
    client.send(r#"421["x"]"#).await;
    client.expect("431[]").await;
    assert_eq!(right.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn events_of_one_socket_keep_their_order_and_share_requests() {
    let gate = Arc::new(Semaphore::new(0));
    let closed = Arc::clone(&gate);
    let backend = Backend::serve(([127, 0, 0, 1], 0).into(), move |_, body| {
        let call: Value = serde_json::from_slice(&body).unwrap();
        let gate = Arc::clone(&closed);
        Box::pin(async move {
            if call["args"] == json!([0]) {
                let _open = gate.acquire().await.unwrap();
            }
            let reply = |event: &Value| json!({"ack": event["args"]});
            match call["events"].as_array() {
                Some(events) => {
                    let replies: Vec<_> = events.iter().map(reply).collect();
                    (200, json!({"replies": replies}))
                }
                None if call["type"] == "event" => (200, reply(&call)),
                None => (200, Value::Null),
            }
        })
    })
    .await;
    let gateway = gateway(&backend, "batch = 8\n").await;
    let (mut client, _) = gateway.client().await;
    client.send(r#"420["n",0]"#).await;
    until(async || of_type(&backend.calls(), "event").len() == 1).await;
    for number in 1..20 {
        client.send(&format!(r#"42{number}["n",{number}]"#)).await;
    }
    // All have arrived once this pong is answered by nothing: the client is read in order.
    let (mut other, _) = gateway.client().await;
    other.send(r#"42["x"]"#).await;
    let packets = "gateway_packets_received_total{type=\"event\"}";
    gateway.until_metric(packets, 21.0).await;
    gate.add_permits(1);
    for number in 0..20 {
        client.expect(&format!("43{number}[{number}]")).await;
    }
    let calls = backend.calls();
    let batches: Vec<_> = of_type(&calls, "batch")
        .iter()
        .map(|call| call["events"].as_array().unwrap().len())
        .collect();
    assert_eq!(batches, [8, 8, 3]);
}

#[tokio::test]
async fn routes_lead_elsewhere() {
    let backend = backend(|_| json!({"ack": ["backend"]})).await;
    let other = Backend::start(|_| (200, json!({"ack": ["other"]}))).await;
    let routes = format!(
        "routes = [\"/ order-* {}\", \"/ join relay\", \"/ debug nowhere\", \"/ disconnect nowhere\"]\n",
        other.url()
    );
    let gateway = gateway(&backend, &routes).await;
    let (mut client, _) = gateway.client().await;
    for (event, answer) in [
        (r#"["order-1"]"#, r#"["other"]"#),
        (r#"["hello"]"#, r#"["backend"]"#),
        (r#"["join","r"]"#, r#"[{"ok":true}]"#),
        (
            r#"["debug"]"#,
            r#"[{"error":{"code":"unknown_event","message":"there is no such event"},"ok":false}]"#,
        ),
    ] {
        client.send(&format!("421{event}")).await;
        client.expect(&format!("431{answer}")).await;
    }
    assert_eq!((backend.calls().len(), other.calls().len()), (2, 1));
}

fn failure(id: u32, code: &str, message: &str) -> String {
    format!(r#"43{id}[{{"error":{{"code":"{code}","message":"{message}"}},"ok":false}}]"#)
}

#[tokio::test]
async fn a_backend_that_is_away_is_told_and_comes_back() {
    let backend = backend(|call| json!({"ack": call["args"]})).await;
    let address = backend.address();
    let more = "retries = 0\nbreaker_failures = 2\nbreaker_pause = \"50ms\"\n";
    let gateway = gateway(&backend, more).await;
    let (mut client, _) = gateway.client().await;
    drop(backend);
    let mut number = 0;
    let down = "the backend is not available";
    loop {
        number += 1;
        client.send(&format!(r#"42{number}["x",{number}]"#)).await;
        let answer = client.answer().await;
        assert!(answer.contains("backend_unavailable"), "{answer}");
        if answer == failure(number, "backend_unavailable", down) {
            break;
        }
    }
    assert_eq!(gateway.metric("gateway_backend_breakers_open").await, 1.0);
    // A `connect_error` would be final for official clients; a closed transport brings them back.
    let mut late = gateway.websocket().await;
    late.send("40").await;
    late.expect_close().await;
    let _again = Backend::start_at(address, |call| (200, json!({"ack": call["args"]}))).await;
    until(async || {
        number += 1;
        client.send(&format!(r#"42{number}["x",{number}]"#)).await;
        client.answer().await == format!("43{number}[{number}]")
    })
    .await;
    assert_eq!(gateway.metric("gateway_backend_breakers_open").await, 0.0);
    assert!(gateway.metric("gateway_backend_events_lost_total").await >= 1.0);
}

#[tokio::test]
async fn only_what_does_no_harm_is_tried_again() {
    for (more, attempts) in [("", 1), ("idempotent = true\n", 3)] {
        let backend = Backend::start(|call| match call["type"].as_str() {
            Some("event") => (500, json!({})),
            _ => (200, json!({})),
        })
        .await;
        let gateway = gateway(&backend, &format!("retries = 2\n{more}")).await;
        let (mut client, _) = gateway.client().await;
        client.send(r#"421["x"]"#).await;
        let failed = failure(1, "backend_unavailable", "the backend does not answer");
        client.expect(&failed).await;
        let calls = backend.calls();
        let events = of_type(&calls, "event");
        assert_eq!(events.len(), attempts);
        assert!(events.iter().all(|call| call["id"] == events[0]["id"]));
    }
}

#[tokio::test]
async fn what_the_backend_answers_wrongly_is_an_error() {
    let backend = Backend::start(|call| match call["event"].as_str() {
        Some("refuse") => (403, json!({"error": "no"})),
        Some("nonsense") => (200, json!(["acks"])),
        // The first action is right, and yet not done.
        Some("half") => (
            200,
            json!({"ack": [1], "actions": [{"emit": {"event": "half"}}, {"emit": {"event": "x", "args": 1}}]}),
        ),
        Some("private") => (200, json!({"actions": [{"join": ["$user:bob"]}]})),
        _ => (200, json!({})),
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let (mut client, _) = gateway.client().await;
    for (number, event, message) in [
        (1, "refuse", "the backend refused the request"),
        (2, "nonsense", "the backend's reply is not valid"),
        (3, "private", "the backend's reply is not valid"),
        (4, "half", "the backend's reply is not valid"),
    ] {
        client.send(&format!(r#"42{number}["{event}"]"#)).await;
        client
            .expect(&failure(number, "backend_error", message))
            .await;
    }
    assert_eq!(
        gateway.metric("gateway_backend_bad_replies_total").await,
        3.0
    );
}

#[tokio::test]
async fn a_backend_may_name_rooms_as_it_likes() {
    // As Firestore makes names, and as the ids of sockets are.
    const ROOM: &str = "Xq3vB0yT7mKd9RfLw2Zs";
    let backend = backend(|call| match call["event"].as_str() {
        Some("join") => json!({"ack": [1], "actions": [
            {"join": [ROOM, call["socket"]["id"]]},
            {"emit": {"rooms": [ROOM], "event": "in", "args": []}},
        ]}),
        _ => json!({"ack": [2], "actions": [
            {"leave": [ROOM, call["socket"]["id"]]},
            {"emit": {"rooms": [ROOM], "event": "in", "args": []}},
        ]}),
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let (mut client, _) = gateway.client().await;
    client.send(r#"421["join"]"#).await;
    client.expect(r#"42["in"]"#).await;
    client.expect("431[1]").await;
    client.send(r#"422["leave"]"#).await;
    client.expect("432[2]").await;
    assert_eq!(
        gateway.metric("gateway_backend_bad_replies_total").await,
        0.0
    );
}

#[tokio::test]
async fn a_slow_backend_holds_up_its_clients_and_no_one_else() {
    let backend = Backend::serve(([127, 0, 0, 1], 0).into(), |_, body| {
        let call: Value = serde_json::from_slice(&body).unwrap();
        Box::pin(async move {
            if call["event"] == "slow" {
                std::future::pending::<()>().await;
            }
            (200, json!({"ack": [], "actions": []}))
        })
    })
    .await;
    let more =
        "timeout = \"300ms\"\nconcurrency = 1\nqueue = 1\nretries = 0\nbreaker_failures = 100\n";
    let gateway = gateway(&backend, more).await;
    let mut clients = gateway.clients(3).await;
    for client in &mut clients {
        client.send(r#"421["slow"]"#).await;
    }
    let mut codes = Vec::new();
    for client in &mut clients {
        let answer = client.answer().await;
        codes.push(if answer.contains("backend_timeout") {
            "timeout"
        } else {
            "overloaded"
        });
    }
    codes.sort_unstable();
    assert!(
        codes.contains(&"overloaded") && codes.contains(&"timeout"),
        "{codes:?}"
    );
    // What a client sends while its lane is full waits with the client.
    let text = "x".repeat(60_000);
    for _ in 0..8 {
        clients[0].send(&format!(r#"42["slow","{text}"]"#)).await;
    }
    clients[1].send(r#"422["fast"]"#).await;
    let mut answer = clients[1].answer().await;
    while answer != "432[]" {
        assert!(answer.contains("overloaded"), "{answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        clients[1].send(r#"422["fast"]"#).await;
        answer = clients[1].answer().await;
    }
    clients[0].send(r#"423["fast"]"#).await;
    until(async || gateway.metric("gateway_backend_events_lost_total").await >= 11.0).await;
    gateway.until_metric("gateway_backend_in_flight", 0.0).await;
}

#[tokio::test]
async fn what_frameworks_reply_does_the_sensible_thing() {
    let backend = Backend::start(|call| match call["event"].as_str() {
        Some("object") => (
            200,
            json!({"ack": {"ok": true}, "actions": [{"join": ["r"]}]}),
        ),
        Some("text") => (200, json!({"ack": "done", "later": 1})),
        Some("null") => (200, json!({"ack": null, "actions": null, "data": null})),
        Some("list") => (200, json!([])),
        Some("ok") => (200, json!("OK")),
        Some("nothing") => (204, Value::Null),
        _ => (200, json!({"user": 42})),
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let (mut client, id) = gateway.client().await;
    for (number, event, ack) in [
        (1, "object", r#"[{"ok":true}]"#),
        (2, "text", r#"["done"]"#),
        (3, "null", "[]"),
        (4, "list", "[]"),
        (5, "ok", "[]"),
        (6, "nothing", "[]"),
    ] {
        client.send(&format!(r#"42{number}["{event}"]"#)).await;
        client.expect(&format!("43{number}{ack}")).await;
    }
    let calls = backend.calls();
    let last = &of_type(&calls, "event")[5]["socket"];
    assert_eq!(last["user"], "42");
    assert_eq!(last["rooms"], json!([id, "r"]));
}

#[tokio::test]
async fn an_empty_list_of_recipients_is_nobody() {
    let backend = backend(|_| {
        json!({"actions": [
            {"emit": {"rooms": [], "event": "wrong"}},
            {"emit": {"rooms": null, "event": "right"}},
        ]})
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let (mut client, _) = gateway.client().await;
    client.send(r#"42["x"]"#).await;
    client.expect(r#"42["right"]"#).await;
}

#[tokio::test]
async fn a_namespace_whose_backend_is_away_leaves_the_others_alone() {
    let mut config = config();
    let toml = format!(
        "namespaces = [\"/\", \"/a\"]\n[backend]\nurl = \"http://127.0.0.1:9/\"\nsecret = \"{SECRET}\"\n\
         retries = 0\nroutes = [\"/ * relay\"]\n"
    );
    let parsed = Config::from_toml(&toml).unwrap();
    (config.backend, config.namespaces) = (parsed.backend, parsed.namespaces);
    let gateway = TestGateway::start(Server::new(config)).await;
    let (mut client, _) = gateway.client().await;
    client.send("40/a,").await;
    let refused = client.answer().await;
    assert!(refused.starts_with("44/a,") && refused.contains("backend_unavailable"));
    client.send(r#"421["echo",1]"#).await;
    client.expect("431[1]").await;
}

#[tokio::test]
async fn a_connection_that_the_backend_closed_meanwhile_loses_nothing() {
    // Answers one request on each connection, says that it keeps it, and closes it at the next.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let served = Arc::clone(&counted);
            tokio::spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let mut buffer = [0; 16 * 1024];
                let mut read = Vec::new();
                while !read.windows(2).any(|end| end == b"}}") && !read.ends_with(b"}") {
                    let count = stream.read(&mut buffer).await.unwrap();
                    read.extend_from_slice(&buffer[..count]);
                }
                served.fetch_add(1, Ordering::Relaxed);
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
                let _next_request = stream.read(&mut buffer).await;
            });
        }
    });
    let gateway = gateway_for(&url, "retries = 1\n").await;
    let (mut client, _) = gateway.client().await;
    for number in 1..=10 {
        client.send(&format!(r#"42{number}["x"]"#)).await;
        client.expect(&format!("43{number}[]")).await;
    }
    assert_eq!(served.load(Ordering::Relaxed), 11);
    assert_eq!(
        gateway.metric("gateway_backend_events_lost_total").await,
        0.0
    );
}

#[tokio::test]
async fn a_backend_gets_the_claims_of_a_token_and_not_the_token() {
    let backend = Backend::start(|_| (200, json!({}))).await;
    let mut config = config();
    let toml = format!(
        "[auth]\njwt_secret = \"{SECRET}\"\ncookie = \"jwt\"\n[backend]\nurl = \"{}\"\nsecret = \"{SECRET}\"\n",
        backend.url()
    );
    let parsed = Config::from_toml(&toml).unwrap();
    (config.backend, config.auth) = (parsed.backend, parsed.auth);
    let gateway = TestGateway::start(Server::new(config)).await;
    let claims = json!({"sub": "ann", "exp": 4_000_000_000_u64, "plan": {"name": "pro"}});
    let token = token(SECRET, &claims);
    let header = format!("Authorization: Bearer {token}\r\n");
    let mut by_header = WebSocket::open_with(gateway.address(), "", &header).await;
    by_header.send(r#"40{"name":"a"}"#).await;
    assert!(by_header.answer().await.starts_with("40"));
    let mut by_auth = gateway.websocket().await;
    by_auth
        .send(&format!(r#"40{{"name":"b","token":"{token}"}}"#))
        .await;
    assert!(by_auth.answer().await.starts_with("40"));
    let mut by_query =
        WebSocket::open_with(gateway.address(), &format!("&token={token}"), "").await;
    by_query.send(r#"40{"name":"c"}"#).await;
    assert!(by_query.answer().await.starts_with("40"));
    let mut open = Vec::new();
    for (name, cookies) in [("d", "x=1; jwt={}; y=2"), ("e", "jwt={}")] {
        let header = format!("Cookie: {}\r\n", cookies.replace("{}", &token));
        let mut by_cookie = WebSocket::open_with(gateway.address(), "", &header).await;
        by_cookie.send(&format!(r#"40{{"name":"{name}"}}"#)).await;
        assert!(by_cookie.answer().await.starts_with("40"));
        open.push(by_cookie);
    }
    let calls = backend.calls();
    assert_eq!(calls.len(), 5);
    let cookie = |call: usize| &calls[call]["handshake"]["headers"]["cookie"];
    assert_eq!([cookie(3), cookie(4)], [&json!("x=1; y=2"), &Value::Null]);
    for (call, name) in calls.iter().zip(["a", "b", "c", "d", "e"]) {
        assert_eq!(call["claims"], claims);
        assert_eq!(call["auth"], json!({"name": name}));
        assert!(!call.to_string().contains(&token));
    }
}
