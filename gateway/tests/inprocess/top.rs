//! What is busiest: what a reader of the API is told of all nodes, and when they count.

use adapter::NodeId;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{TestGateway, request_with};
use crate::traces::{KEY, ask, nodes, run, user};

async fn get(gateway: &TestGateway) -> (u16, Value) {
    let key = format!("Authorization: Bearer {KEY}\r\n");
    let address = gateway.internal_address();
    let answer = request_with(address, "GET /api/v1/top", &key, "").await;
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

async fn top(gateway: &TestGateway) -> Value {
    let (status, answer) = get(gateway).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// The entry of a list whose `key` is `name`.
fn entry<'a>(answer: &'a Value, list: &str, key: &str, name: &str) -> &'a Value {
    let mut entries = answer[list].as_array().unwrap().iter();
    let found = entries.find(|entry| entry[key] == name);
    found.unwrap_or_else(|| panic!("no {name} in {answer}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

#[tokio::test]
async fn all_nodes_tell_their_rates_and_the_busiest_rooms_and_users() {
    let (_cluster, [a, b]) = nodes().await;
    let (mut bob, _) = user(&a, "bob").await;
    let (mut ann, _) = user(&b, "ann").await;
    let (mut eve, _) = user(&b, "eve").await;
    for client in [&mut ann, &mut bob, &mut eve] {
        ask(client, 1, &json!(["join", "chat"])).await;
    }
    ask(&mut eve, 2, &json!(["join", "quiet"])).await;
    let looking = top(&a);
    tokio::pin!(looking);
    let answer = loop {
        tokio::select! {
            answer = &mut looking => break answer,
            () = async {
                ask(&mut bob, 3, &json!(["publish", "chat", "said", 1])).await;
                ask(&mut bob, 3, &json!(["broadcast", "said", 1])).await;
                for client in [&mut ann, &mut eve] {
                    for _ in 0..2 {
                        client.next().await;
                    }
                }
            } => {}
        }
    };
    let [here, there] = ["a", "b"].map(|id| entry(&answer, "nodes", "id", id));
    assert_eq!([&here["self"], &there["self"]], [true, false]);
    let connections = [&here["connections"], &there["connections"]];
    assert_eq!(connections, [1, 2]);
    assert!(number(&here["seconds"]) >= 1.0, "{here}");
    // Twice the events go to the other node, where each is sent to two.
    let (events_in, events_out) = (number(&here["events_in"]), number(&there["events_out"]));
    let is_about = |found: f64, wanted: f64| (found / wanted - 1.0).abs() < 0.25;
    assert!(is_about(events_out, 2.0 * events_in), "{here} {there}");
    assert!(number(&there["broadcast_p99_ms"]) > 0.0, "{there}");
    let room = entry(&answer, "rooms", "name", "chat");
    assert_eq!(room["namespace"], "/");
    let deliveries = number(&room["deliveries"]);
    assert!(
        is_about(deliveries, 2.0 * number(&room["events"])),
        "{room}"
    );
    let everybody = answer["rooms"].as_array().unwrap();
    let everybody = everybody.iter().filter(|room| room["name"].is_null());
    assert_eq!(everybody.count(), 1, "{answer}");
    assert_eq!(answer["rooms"].as_array().unwrap().len(), 2, "{answer}");
    let bob = entry(&answer, "users", "user", "bob");
    assert!(is_about(number(&bob["events_in"]), events_in), "{bob}");
    assert_eq!(bob["events_out"], 0.0);
    for name in ["ann", "eve"] {
        let user = entry(&answer, "users", "user", name);
        assert!(is_about(number(&user["events_out"]), events_in), "{user}");
    }
    let missing = [&answer["missing_nodes"], &answer["missing_others"]];
    assert_eq!(missing, [&json!([]), &json!(0)]);
}

#[tokio::test]
async fn nodes_that_do_not_answer_are_named() {
    let (cluster, [a, _b]) = nodes().await;
    let id = NodeId::new("b").unwrap();
    let names = |answer: &Value| {
        let nodes = answer["nodes"].as_array().unwrap().iter();
        nodes.map(|node| node["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&top(&a).await), ["a", "b"]);
    cluster.drop_answers(&id, true);
    let answer = top(&a).await;
    assert_eq!(names(&answer), ["a"]);
    assert_eq!(answer["missing_nodes"], json!(["b"]));
    cluster.kill(&id);
    assert_eq!(top(&a).await["missing_nodes"], json!(["b"]));
    cluster.forget(&id);
    assert_eq!(top(&a).await["missing_nodes"], json!([]));
}

#[tokio::test]
async fn a_node_counts_only_while_somebody_looks() {
    let (_cluster, [a, b]) = nodes().await;
    let (mut ann, _) = user(&b, "ann").await;
    for node in [&a, &b] {
        assert_eq!(node.metric("gateway_top_watched").await, 0.0);
    }
    top(&a).await;
    for node in [&a, &b] {
        assert_eq!(node.metric("gateway_top_watched").await, 1.0);
    }
    ask(&mut ann, 1, &json!(["echo", 1])).await;
    entry(&top(&a).await, "users", "user", "ann");
    for node in [&a, &b] {
        node.until_metric("gateway_top_watched", 0.0).await;
    }
    // It forgot what it had counted.
    let answer = top(&a).await;
    assert_eq!(answer["users"], json!([]));
}

#[tokio::test]
async fn so_many_look_at_a_time_and_no_more() {
    let (cluster, [a, _b]) = nodes().await;
    cluster.drop_answers(&NodeId::new("b").unwrap(), true);
    let answers = join_all((0..17).map(|_| get(&a))).await;
    let refused = answers.iter().filter(|(status, _)| *status == 429);
    assert_eq!(refused.count(), 1);
    assert_eq!(get(&a).await.0, 200);
}

#[tokio::test]
async fn the_command_prints_all_tables_or_the_answer() {
    let (_cluster, [a, b]) = nodes().await;
    let (mut ann, _) = user(&b, "ann").await;
    // The next answers are of something.
    top(&a).await;
    ask(&mut ann, 1, &json!(["join", "chat"])).await;
    ask(&mut ann, 2, &json!(["broadcast", "said", 1])).await;
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let key = folder.join("top.key");
    std::fs::write(&key, format!("{KEY}\n")).unwrap();
    let arguments = |more: &[&str]| {
        let url = format!("--url=http://{}", a.internal_address());
        let key = format!("--key-file={}", key.display());
        let mut all = vec!["top".to_owned(), "--once".to_owned(), url, key];
        all.extend(more.iter().map(|it| (*it).to_owned()));
        all
    };
    let (status, printed, said) = run(arguments(&[])).await;
    assert_eq!((status, said.as_str()), (Some(0), ""));
    let lines: Vec<Vec<&str>> = printed
        .lines()
        .map(|it| it.split_whitespace().collect())
        .collect();
    for start in [
        &["2", "nodes"][..],
        &["a", "0"],
        &["b", "1"],
        &["busiest", "rooms"],
        &["busiest", "users"],
        &["ann"],
    ] {
        let found = lines.iter().any(|line| line.starts_with(start));
        assert!(found, "{start:?}: {printed}");
    }
    let (status, printed, _) = run(arguments(&["--json"])).await;
    assert_eq!((status, printed.lines().count()), (Some(0), 1));
    let answer: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(answer["nodes"].as_array().unwrap().len(), 2);
}
