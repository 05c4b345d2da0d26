//! The HTTP API on the internal port.

use gateway::{Config, Server};
use serde_json::{Value, json};

use crate::support::{
    Response, TestGateway, WebSocket, config, request, request_with, sid, token, until,
};

const KEY: &str = "a key that only tests know";

async fn gateway() -> TestGateway {
    configured("").await
}

async fn configured(more: &str) -> TestGateway {
    let mut config = config();
    let secret = "a secret that only tests know";
    let toml =
        format!("[auth]\njwt_secret = \"{secret}\"\n[api]\nkey = \"{KEY}, {SECOND_KEY}\"\n{more}");
    let read = Config::from_toml(&toml).unwrap();
    config.api = read.api;
    config.auth = read.auth;
    TestGateway::start(Server::new(config)).await
}

const SECOND_KEY: &str = "another key of the tests";

async fn call(gateway: &TestGateway, head: &str, body: &Value) -> (u16, Value) {
    let response = raw(gateway, head, &body.to_string()).await;
    (
        response.status,
        serde_json::from_str(&response.body).unwrap(),
    )
}

async fn raw(gateway: &TestGateway, head: &str, body: &str) -> Response {
    let key = format!("Authorization: Bearer {KEY}\r\n");
    request_with(gateway.internal_address(), head, &key, body).await
}

async fn post(gateway: &TestGateway, name: &str, body: Value) -> (u16, Value) {
    call(gateway, &format!("POST /api/v1/{name}"), &body).await
}

async fn get(gateway: &TestGateway, target: &str) -> Value {
    let (status, answer) = call(gateway, &format!("GET /api/v1/{target}"), &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// A client of a user, and its socket's id.
async fn user(gateway: &TestGateway, user: &str) -> (WebSocket, String) {
    let claims = json!({"sub": user, "exp": 4_000_000_000_u64});
    let token = token("a secret that only tests know", &claims);
    let mut client = gateway.websocket().await;
    client.send(&format!("40{}", json!({"token": token}))).await;
    let id = sid(&client.answer().await);
    (client, id)
}

async fn join(client: &mut WebSocket, room: &str) {
    client.send(&format!("429{}", json!(["join", room]))).await;
    assert_eq!(client.answer().await, r#"439[{"ok":true}]"#);
}

#[tokio::test]
async fn without_a_right_key_nothing_is_done() {
    let gateway = gateway().await;
    for headers in [
        "",
        "Authorization: Bearer \r\n",
        "Authorization: Bearer wrong\r\n",
        &format!("Authorization: Basic {KEY}\r\n"),
        &format!("Authorization: Bearer {KEY}x\r\n"),
    ] {
        let address = gateway.internal_address();
        let response = request_with(address, "GET /api/v1/nodes", headers, "").await;
        assert_eq!(response.status, 401, "{headers}");
        assert_eq!(response.header("www-authenticate"), Some("Bearer"));
    }
    let second = format!("Authorization: Bearer {SECOND_KEY}\r\n");
    let response = request_with(gateway.internal_address(), "GET /api/v1/nodes", &second, "").await;
    assert_eq!(response.status, 200);
    // Without a key in the configuration there is no API, and clients never reach it.
    let relay = TestGateway::relay().await;
    for address in [relay.internal_address(), gateway.address()] {
        let key = format!("Authorization: Bearer {KEY}\r\n");
        let response = request_with(address, "GET /api/v1/nodes", &key, "").await;
        assert_eq!(response.status, 404);
    }
}

#[tokio::test]
async fn an_emit_reaches_whom_it_selects() {
    let gateway = gateway().await;
    let (mut ann, ann_id) = user(&gateway, "ann").await;
    let (mut bob, bob_id) = user(&gateway, "bob").await;
    join(&mut ann, "chat").await;
    let ok = (200, json!({"ok": true}));
    let emit = json!({"event": "all", "args": [1.10, {"b": 1, "a": [null]}]});
    assert_eq!(post(&gateway, "emit", emit).await, ok);
    ann.expect(r#"42["all",1.1,{"a":[null],"b":1}]"#).await;
    bob.expect(r#"42["all",1.1,{"a":[null],"b":1}]"#).await;
    for body in [
        json!({"rooms": ["chat"], "event": "room"}),
        json!({"rooms": [ann_id], "event": "room"}),
        json!({"rooms": ["$user:ann"], "event": "room"}),
        json!({"except": [bob_id], "event": "room"}),
    ] {
        assert_eq!(post(&gateway, "emit", body).await, ok);
        ann.expect(r#"42["room"]"#).await;
    }
    for nobody in [
        json!({"rooms": [], "event": "nobody"}),
        json!({"rooms": [], "event": "nobody", "ack_timeout": "5s"}),
    ] {
        let (status, answer) = post(&gateway, "emit", nobody).await;
        assert_eq!((status, &answer["ok"]), (200, &json!(true)));
    }
    let select = json!({"sockets": [], "rooms": null});
    for (name, body) in [
        ("join", json!({"select": select, "rooms": ["x"]})),
        ("leave", json!({"select": select, "rooms": ["x"]})),
        ("disconnect", json!({"select": select, "close": true})),
    ] {
        let (status, answer) = post(&gateway, name, body).await;
        assert_eq!((status, &answer["ok"]), (200, &json!(true)), "{name}");
    }
    let nulls = json!({"namespace": null, "rooms": null, "except": null, "event": "null",
        "args": null, "volatile": null, "ack_timeout": null});
    assert_eq!(post(&gateway, "emit", nulls).await, ok);
    for client in [&mut ann, &mut bob] {
        client.expect(r#"42["null"]"#).await;
    }
    let surrogate = r#"{"event":"x","args":["\ud800"]}"#;
    let refused = raw(&gateway, "POST /api/v1/emit", surrogate).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("cannot be read"), "{}", refused.body);
    for (depth, status) in [(256, 200), (257, 400), (10_000, 400)] {
        let args = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let text = format!(r#"{{"event":"deep","rooms":["nowhere"],"args":{args}}}"#);
        let answer = raw(&gateway, "POST /api/v1/emit", &text).await;
        assert_eq!(answer.status, status, "{depth}: {}", answer.body);
    }
    let text = r#"{"event":"raw","args":[ 12345678901234567890123, 1.10 ]}"#;
    assert_eq!(raw(&gateway, "POST /api/v1/emit", text).await.status, 200);
    ann.expect(r#"42["raw",12345678901234567890123, 1.10]"#)
        .await;
    bob.expect(r#"42["raw",12345678901234567890123, 1.10]"#)
        .await;
    let binary = json!({"event": "bytes", "args": [{"x": {"$binary": "AAEC"}}]});
    assert_eq!(post(&gateway, "emit", binary).await, ok);
    bob.expect(r#"451-["bytes",{"x":{"_placeholder":true,"num":0}}]"#)
        .await;
    bob.expect_binary(&[0, 1, 2]).await;
}

#[tokio::test]
async fn an_emit_gathers_acknowledgements() {
    let gateway = gateway().await;
    let (mut ann, _) = user(&gateway, "ann").await;
    let (mut bob, _) = user(&gateway, "bob").await;
    let asked = post(
        &gateway,
        "emit",
        json!({"event": "ask", "ack_timeout": "30s"}),
    );
    let answer = async {
        for (client, reply) in [(&mut ann, r#"["yes",1]"#), (&mut bob, r#"[{"no":2}]"#)] {
            let question = client.answer().await;
            let id = question
                .trim_start_matches("42")
                .trim_end_matches(r#"["ask"]"#)
                .to_owned();
            client.send(&format!("43{id}{reply}")).await;
        }
    };
    let ((status, mut answered), ()) = tokio::join!(asked, answer);
    assert_eq!(status, 200);
    let acks = answered["acks"].as_array_mut().unwrap();
    acks.sort_by_key(Value::to_string);
    assert_eq!(
        answered,
        json!({"ok": true, "acks": [["yes", 1], [{"no": 2}]], "missing_acks": 0, "missing_nodes": []})
    );
    let nobody = json!({"event": "ask", "rooms": ["$user:ann"], "ack_timeout": "100ms"});
    let (_, answered) = post(&gateway, "emit", nobody).await;
    assert_eq!(
        answered,
        json!({"ok": true, "acks": [], "missing_acks": 1, "missing_nodes": []})
    );
}

#[tokio::test]
async fn sockets_are_moved_and_disconnected() {
    let gateway = gateway().await;
    let (mut ann, ann_id) = user(&gateway, "ann").await;
    let (mut bob, _) = user(&gateway, "bob").await;
    let ok = (200, json!({"ok": true}));
    let both = json!({"select": {"sockets": [ann_id], "user": "bob"}, "rooms": ["r", "q"]});
    assert_eq!(post(&gateway, "join", both).await, ok);
    let left = json!({"select": {"rooms": ["r"], "user": "nobody"}, "rooms": ["q"]});
    assert_eq!(post(&gateway, "leave", left).await, ok);
    let rooms = get(&gateway, "rooms").await;
    let expected = json!([{"name": "r", "members": 2}]);
    assert_eq!(
        rooms,
        json!({"rooms": expected, "missing_nodes": [], "missing_others": 0, "next": null})
    );
    let gone = json!({"select": {"user": "ann"}});
    assert_eq!(post(&gateway, "disconnect", gone).await, ok);
    ann.expect("41").await;
    let closed = json!({"select": {"all": true}, "close": true});
    assert_eq!(post(&gateway, "disconnect", closed).await, ok);
    bob.expect("41").await;
    bob.expect_close().await;
}

/// A room as Firestore names them.
const ROOM: &str = "Xq3vB0yT7mKd9RfLw2Zs";

#[tokio::test]
async fn a_room_may_be_as_long_as_the_id_of_a_socket() {
    let gateway = gateway().await;
    let (mut ann, ann_id) = user(&gateway, "ann").await;
    let (_bob, bob_id) = user(&gateway, "bob").await;
    let ok = (200, json!({"ok": true}));
    // Callers may also have a socket hear what goes to another one.
    let rooms = json!({"select": {"user": "ann"}, "rooms": [ROOM, bob_id]});
    assert_eq!(post(&gateway, "join", rooms.clone()).await, ok);
    for room in [ROOM, &*bob_id] {
        let emit = json!({"rooms": [room], "event": "to", "args": [room]});
        assert_eq!(post(&gateway, "emit", emit).await.0, 200);
        ann.expect(&format!("42{}", json!(["to", room]))).await;
    }
    let listed = json!([{"name": ROOM, "members": 1}]);
    assert_eq!(get(&gateway, "rooms").await["rooms"], listed);
    let sockets = get(&gateway, &format!("sockets?room={ROOM}")).await;
    assert_eq!(sockets["sockets"][0]["id"], json!(ann_id));
    let users = get(&gateway, &format!("presence?room={ROOM}")).await;
    assert_eq!(users["users"], json!([{"user": "ann", "sockets": 1}]));
    assert_eq!(post(&gateway, "leave", rooms).await, ok);
    assert_eq!(get(&gateway, "rooms").await["rooms"], json!([]));
}

#[tokio::test]
async fn sockets_are_listed_by_page_room_and_user() {
    let gateway = gateway().await;
    let mut clients = Vec::new();
    for name in ["ann", "ann", "bob"] {
        clients.push(user(&gateway, name).await);
    }
    join(&mut clients[0].0, "chat").await;
    let mut ids: Vec<_> = clients.iter().map(|(_, id)| id.clone()).collect();
    ids.sort();
    let mut seen = Vec::new();
    let mut target = "sockets?limit=2&cursor=".to_owned();
    loop {
        let page = get(&gateway, &target).await;
        let sockets = page["sockets"].as_array().unwrap();
        assert!(sockets.len() <= 2);
        seen.extend(
            sockets
                .iter()
                .map(|socket| socket["id"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => target = format!("sockets?limit=2&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    let of_ann = get(&gateway, "sockets?user=ann&room=chat").await;
    let socket = &of_ann["sockets"][0];
    assert_eq!(of_ann["sockets"].as_array().unwrap().len(), 1);
    assert_eq!(socket["id"], json!(clients[0].1));
    assert_eq!(
        (&socket["user"], &socket["rooms"]),
        (&json!("ann"), &json!(["chat"]))
    );
    assert_eq!(
        (&socket["transport"], &socket["address"]),
        (&json!("websocket"), &json!("127.0.0.1"))
    );
    assert!(socket["connected_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(
        get(&gateway, "sockets?user=ann").await["sockets"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn presence_tells_users_and_counts() {
    let gateway = gateway().await;
    let mut clients = Vec::new();
    for name in ["bob", "ann", "ann"] {
        let (mut client, _) = user(&gateway, name).await;
        join(&mut client, "chat").await;
        clients.push(client);
    }
    let (_elsewhere, _) = user(&gateway, "eve").await;
    let users = json!([{"user": "ann", "sockets": 2}, {"user": "bob", "sockets": 1}]);
    let whole = |users: Value, next: Value| {
        json!({"users": users, "anonymous": 0, "user_count": 2, "socket_count": 3,
               "missing_nodes": [], "missing_others": 0, "next": next})
    };
    assert_eq!(
        get(&gateway, "presence?room=chat").await,
        whole(users, Value::Null)
    );
    let counts = get(&gateway, "presence?room=chat&counts=true").await;
    assert_eq!(counts, whole(json!([]), Value::Null));
    let first = get(&gateway, "presence?room=chat&limit=1").await;
    assert_eq!(
        first,
        whole(json!([{"user": "ann", "sockets": 2}]), json!("ann"))
    );
}

#[tokio::test]
async fn a_batch_does_its_calls_in_their_order() {
    let gateway = gateway().await;
    let (mut ann, _) = user(&gateway, "ann").await;
    let calls = json!({"calls": [
        {"call": "join", "select": {"user": "ann"}, "rooms": ["r"]},
        {"call": "emit", "rooms": ["r"], "event": "in"},
        {"call": "emit", "event": "many", "args": vec![json!({"$binary": ""}); 11]},
        {"call": "leave", "select": {"user": "ann"}, "rooms": ["r"]},
        {"call": "emit", "rooms": ["r"], "event": "out"},
        {"call": "disconnect", "select": {"user": "ann"}},
    ]});
    let (status, answer) = post(&gateway, "batch", calls).await;
    assert_eq!(status, 200);
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 6);
    assert_eq!(results[2]["error"]["code"], "bad_request");
    assert_eq!(
        results.iter().filter(|result| result["ok"] == true).count(),
        5
    );
    ann.expect(r#"42["in"]"#).await;
    ann.expect("41").await;
    // A call that cannot be read has none of them done.
    let calls = json!({"calls": [{"call": "emit", "event": "x"}, {"call": "explode"}]});
    assert_eq!(post(&gateway, "batch", calls).await.0, 400);
}

#[tokio::test]
async fn an_idempotency_key_does_a_call_once() {
    let gateway = gateway().await;
    let (mut ann, _) = user(&gateway, "ann").await;
    let headers = format!("Authorization: Bearer {KEY}\r\nIdempotency-Key: k1\r\n");
    let address = gateway.internal_address();
    let emit = async |body: &str| request_with(address, "POST /api/v1/emit", &headers, body).await;
    let first = emit(r#"{"event":"once"}"#).await;
    assert_eq!(
        (first.status, first.header("idempotent-replayed")),
        (200, None)
    );
    let again = emit(r#"{"event":"once"}"#).await;
    assert_eq!(
        (again.status, again.header("idempotent-replayed")),
        (200, Some("true"))
    );
    let other = emit(r#"{"event":"other"}"#).await;
    assert_eq!(other.status, 409);
    assert!(
        other.body.contains("idempotency_conflict"),
        "{}",
        other.body
    );
    post(&gateway, "emit", json!({"event": "last"})).await;
    ann.expect(r#"42["once"]"#).await;
    ann.expect(r#"42["last"]"#).await;
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let gateway = configured("max_body = \"2KiB\"").await;
    for (name, body) in [
        ("emit", json!({})),
        ("emit", json!({"event": "connect"})),
        ("emit", json!({"event": "x", "args": {}})),
        ("emit", json!({"event": "x", "args": [{"$binary": "?"}]})),
        ("emit", json!({"event": "x", "rooms": "r"})),
        ("emit", json!({"event": "x", "unknown": 1})),
        ("emit", json!({"event": "x", "namespace": "chat"})),
        ("emit", json!({"event": "x", "ack_timeout": "2h"})),
        ("join", json!({"select": {}, "rooms": ["r"]})),
        ("join", json!({"select": {"user": "a"}, "rooms": []})),
        (
            "join",
            json!({"select": {"user": "a"}, "rooms": ["$user:b"]}),
        ),
        ("disconnect", json!({"select": {"all": false}})),
        ("batch", json!({"calls": []})),
        ("batch", json!(7)),
    ] {
        let (status, answer) = post(&gateway, name, body.clone()).await;
        assert_eq!(status, 400, "{name} {body} {answer}");
        assert_eq!(answer["error"]["code"], "bad_request", "{answer}");
        assert!(answer["error"]["message"].is_string());
    }
    let large = json!({"event": "x", "args": ["x".repeat(3000)]});
    assert_eq!(post(&gateway, "emit", large).await.0, 413);
    assert_eq!(raw(&gateway, "POST /api/v1/emit", "{").await.status, 400);
    assert_eq!(
        raw(&gateway, "GET /api/v1/sockets?limit=0", "")
            .await
            .status,
        400
    );
    assert_eq!(raw(&gateway, "GET /api/v1/nothing", "").await.status, 404);
    let method = raw(&gateway, "GET /api/v1/emit", "").await;
    assert_eq!((method.status, method.header("allow")), (405, Some("POST")));
    let errors = "gateway_api_errors_total{code=\"body_too_large\"}";
    gateway.until_metric(errors, 1.0).await;
}

#[tokio::test]
async fn the_node_is_listed() {
    let gateway = gateway().await;
    let (_ann, id) = user(&gateway, "ann").await;
    until(async || get(&gateway, "nodes").await["nodes"][0]["connections"] == 1).await;
    let nodes = get(&gateway, "nodes").await;
    let node = &nodes["nodes"][0];
    assert_eq!(nodes["nodes"].as_array().unwrap().len(), 1);
    assert!(id.starts_with(node["id"].as_str().unwrap()) || node["id"].is_string());
    assert_eq!(node["self"], true);
}

/// The file in the documentation is the one that the program serves. That it is made from the table that requests are
/// dispatched by is a test beside the table.
#[tokio::test]
async fn the_openapi_file_is_served_and_documented() {
    let gateway = gateway().await;
    let served = request(gateway.internal_address(), "GET /api/v1/openapi.json", "").await;
    assert_eq!(served.status, 200);
    let served: Value = serde_json::from_str(&served.body).unwrap();
    let kept: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
    assert_eq!(served, kept);
    for (path, operations) in served["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "delete"] {
            let response = raw(&gateway, &format!("{} {path}", method.to_uppercase()), "").await;
            let documented = operations.get(method).is_some();
            assert_eq!(response.status != 405, documented, "{method} {path}");
        }
    }
}
