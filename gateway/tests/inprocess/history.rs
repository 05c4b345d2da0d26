//! What is kept of the past, and who gets to see it.

use gateway::{Config, Server};
use serde_json::{Value, json};

use crate::support::{TestGateway, config, request_with};

const KEY: &str = "a key that only tests of the past know";

async fn gateway() -> TestGateway {
    let mut config = config();
    let toml = format!(
        "namespaces = [\"/\", \"/plain\"]\n[api]\nkey = \"{KEY}\"\n\
         [recovery]\nwindow = \"1m\"\nnamespaces = [\"/\", \"/covered-*\"]\nmax_messages = 20\n"
    );
    let read = Config::from_toml(&toml).unwrap();
    config.api = read.api;
    config.recovery = read.recovery;
    config.namespaces = read.namespaces;
    TestGateway::start(Server::new(config)).await
}

async fn call(gateway: &TestGateway, head: &str, body: &str) -> (u16, Value) {
    let key = format!("Authorization: Bearer {KEY}\r\n");
    let response = request_with(gateway.internal_address(), head, &key, body).await;
    let body = serde_json::from_str(&response.body).unwrap();
    (response.status, body)
}

async fn emit(gateway: &TestGateway, body: Value) {
    let (status, answer) = call(gateway, "POST /api/v1/emit", &body.to_string()).await;
    assert_eq!(status, 200, "{answer}");
}

async fn past(gateway: &TestGateway, query: &str) -> Value {
    let (status, page) = call(gateway, &format!("GET /api/v1/history?{query}"), "").await;
    assert_eq!(status, 200, "{page}");
    page
}

/// The first argument of each event of a page.
fn numbers(page: &Value) -> Vec<u64> {
    let events = page["events"].as_array().unwrap().iter();
    events
        .map(|it| it["args"][0].as_u64().unwrap_or(0))
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test]
async fn the_last_events_come_and_pages_follow_each_other() {
    let gateway = gateway().await;
    let empty = past(&gateway, "room=r").await;
    assert_eq!(numbers(&empty), [0; 0]);
    assert_eq!(
        (&empty["next"], &empty["is_cut"]),
        (&Value::Null, &json!(false))
    );
    for number in 1..=9 {
        emit(
            &gateway,
            json!({"rooms": ["r"], "event": "n", "args": [number]}),
        )
        .await;
    }
    let last = past(&gateway, "room=r&limit=3").await;
    assert_eq!(numbers(&last), [7, 8, 9]);
    assert_eq!(last["next"], Value::Null);
    assert_eq!(last["newest"], last["events"][2]["offset"]);
    // Everything behind what was asked for first, page by page.
    let mut after = text(&empty["newest"]).to_owned();
    let mut found = Vec::new();
    loop {
        let page = past(&gateway, &format!("room=r&limit=4&after={after}")).await;
        assert_eq!(
            (&page["is_cut"], &page["newest"]),
            (&json!(false), &last["newest"])
        );
        assert!(numbers(&page).len() <= 4);
        found.extend(numbers(&page));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        after = next.to_owned();
    }
    assert_eq!(found, (1..=9).collect::<Vec<_>>());
    let nothing = past(&gateway, &format!("room=r&after={}", text(&last["newest"]))).await;
    assert_eq!(
        (numbers(&nothing), &nothing["is_cut"]),
        (vec![], &json!(false))
    );
    let offsets = last["events"].as_array().unwrap().iter();
    assert!(offsets.map(|it| text(&it["offset"])).is_sorted());
}

#[tokio::test]
async fn what_is_gone_is_told() {
    let gateway = gateway().await;
    emit(&gateway, json!({"rooms": ["r"], "event": "n", "args": [0]})).await;
    let first = past(&gateway, "room=r").await;
    let first = text(&first["newest"]);
    for number in 1..=25 {
        emit(
            &gateway,
            json!({"rooms": ["r"], "event": "n", "args": [number]}),
        )
        .await;
    }
    for after in ["", first] {
        let page = past(&gateway, &format!("room=r&after={after}")).await;
        assert_eq!(numbers(&page), (6..=25).collect::<Vec<_>>());
        assert_eq!(page["is_cut"], true, "{after}");
    }
    // Of another life of the log, where the newest place of this one was far from the last.
    let newest = past(&gateway, "room=r").await;
    let newest = &text(&newest["newest"])[9..];
    let elsewhere = format!("room=r&limit=2&after=AAAAAAAA.{newest}");
    let page = past(&gateway, &elsewhere).await;
    assert_eq!(
        (numbers(&page), &page["is_cut"]),
        (vec![6, 7], &json!(true))
    );
    let kept = past(&gateway, &format!("room=r&after={}", text(&page["next"]))).await;
    assert_eq!(
        (numbers(&kept), &kept["is_cut"]),
        ((8..=25).collect(), &json!(false))
    );
}

#[tokio::test]
async fn large_events_fill_a_page_early_and_none_is_lost() {
    let gateway = gateway().await;
    let large = "x".repeat(200_000);
    for number in 1..=5 {
        let args = json!([number, large]);
        emit(
            &gateway,
            json!({"rooms": ["r"], "event": "n", "args": args}),
        )
        .await;
    }
    let mut page = past(&gateway, "room=r").await;
    let mut found = numbers(&page);
    assert!(found.len() < 5);
    while let Some(next) = page["next"].as_str() {
        page = past(&gateway, &format!("room=r&after={next}")).await;
        assert!(!numbers(&page).is_empty());
        found.extend(numbers(&page));
    }
    assert_eq!(found, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn an_event_is_shown_as_it_was_published() {
    let gateway = gateway().await;
    let args = json!([{"x": {"$binary": "AAEC"}}, "text"]);
    let to = json!({"rooms": ["a", "b"], "except": ["c"], "event": "bytes", "args": args});
    emit(&gateway, to).await;
    emit(&gateway, json!({"event": "all", "args": [1]})).await;
    emit(
        &gateway,
        json!({"rooms": ["a"], "event": "lost", "volatile": true}),
    )
    .await;
    for room in ["a", "b"] {
        let page = past(&gateway, &format!("namespace=/&room={room}")).await;
        let [event] = page["events"].as_array().unwrap().as_slice() else {
            panic!("{page}");
        };
        assert_eq!((&event["event"], &event["args"]), (&json!("bytes"), &args));
        assert_eq!(event["rooms"], json!(["a", "b"]));
        assert_eq!(event["except"], json!(["c"]));
    }
    let page = past(&gateway, "").await;
    let [event] = page["events"].as_array().unwrap().as_slice() else {
        panic!("{page}");
    };
    assert_eq!(
        (&event["event"], &event["rooms"]),
        (&json!("all"), &json!([]))
    );
}

#[tokio::test]
async fn where_nothing_is_kept_that_is_told() {
    let gateway = gateway().await;
    for namespace in ["/plain", "/covered-but-none", "/unknown"] {
        let head = format!("GET /api/v1/history?namespace={namespace}");
        let (status, answer) = call(&gateway, &head, "").await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (404, &json!("no_history"))
        );
    }
    for query in [
        "after=x",
        "after=AAAAAAAA.000000000000001x",
        "limit=0",
        "limit=1001",
        "room=",
        "cursor=",
    ] {
        let (status, answer) = call(&gateway, &format!("GET /api/v1/history?{query}"), "").await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!("bad_request")),
            "{query}"
        );
    }
    gateway
        .until_metric("gateway_api_requests_total{call=\"history\"}", 9.0)
        .await;
    gateway
        .until_metric("gateway_api_errors_total{code=\"no_history\"}", 3.0)
        .await;
}
