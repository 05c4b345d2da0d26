//! Broadcasts to many: no turn of a shard is long, and nothing is out of order.

use std::num::NonZeroUsize;
use std::time::Duration;

use gateway::Gateway;

use crate::support::{TestGateway, WebSocket, config};

/// More than a shard comes to in one turn.
const CROWD: usize = 1500;

/// Recipients and writes of a turn, at most: buckets of the metrics.
const MOST_RECIPIENTS: usize = 1024;
const MOST_WRITES: usize = 256;

/// One shard whose clients are in the room `crowd`, but for the first. That one sends `go` with steps that are all
/// taken before the shard has its next turn.
async fn crowd() -> (TestGateway, WebSocket, Vec<(WebSocket, String)>) {
    let mut config = config();
    config.shards = NonZeroUsize::MIN;
    let gateway = TestGateway::configured(config, |main| {
        main.on("join", |socket, event| {
            socket.join(["crowd"]);
            event.ack(()).unwrap();
        })
        .on("go", |socket, event| {
            let (steps,): (Vec<Vec<String>>,) = event.parse().unwrap();
            let gateway = socket.gateway();
            steps.iter().for_each(|step| take(&gateway, step));
            event.ack(()).unwrap();
        })
    })
    .await;
    let (asking, _) = gateway.client().await;
    let mut others = Vec::new();
    for _ in 0..CROWD {
        let (mut client, id) = gateway.client().await;
        client.send(r#"421["join"]"#).await;
        client.expect("431[]").await;
        others.push((client, id));
    }
    (gateway, asking, others)
}

fn take(gateway: &Gateway, step: &[String]) {
    let words: Vec<&str> = step.iter().map(String::as_str).collect();
    let all = gateway.of("/");
    match words[..] {
        ["emit", room, event] => all.to(room).emit(event, ()).unwrap(),
        ["all but", except, event] => all.except(except).emit(event, ()).unwrap(),
        ["join", id] => all.to(id).join(["crowd"]),
        ["leave", id] => all.to(id).leave(["crowd"]),
        ["disconnect", id] => all.to(id).disconnect(false),
        ["close", id] => all.to(id).disconnect(true),
        _ => panic!("{words:?}"),
    }
}

/// Has all steps be taken in one go.
async fn go(asking: &mut WebSocket, steps: &[[&str; 3]]) {
    let steps: Vec<Vec<&str>> = steps
        .iter()
        .map(|step| step.iter().copied().filter(|it| !it.is_empty()).collect())
        .collect();
    let steps = serde_json::to_string(&steps).unwrap();
    asking.send(&format!(r#"427["go",{steps}]"#)).await;
}

/// The events that a client gets up to `end`.
async fn events(client: &mut WebSocket) -> String {
    let mut events = String::new();
    loop {
        match client.next().await.as_str() {
            r#"42["end"]"# => return events,
            "41" => events.push('!'),
            packet => events.push_str(packet.trim_matches(|it| !char::is_alphabetic(it))),
        }
    }
}

async fn assert_turns_are_short(gateway: &TestGateway) {
    for (what, most) in [("recipients", MOST_RECIPIENTS), ("writes", MOST_WRITES)] {
        let name = format!("gateway_shard_turn_{what}");
        let turns = gateway.metric(&format!("{name}_count")).await;
        let short = gateway
            .metric(&format!(r#"{name}_bucket{{le="{most}"}}"#))
            .await;
        assert!(turns >= 2.0, "{what}: {turns}");
        assert_eq!(short, turns, "{what}");
    }
}

#[tokio::test]
async fn a_large_room_takes_many_short_turns_and_everybody_gets_everything_once_and_in_order() {
    let (gateway, mut asking, mut others) = crowd().await;
    let (outside, outside_id) = gateway.client().await;
    let id = |place: usize| others[place].1.clone();
    // Some that the walk comes to at once, some that it comes to last.
    let (told, left, gone, excepted) = (id(3), id(4), id(5), id(6));
    let (last, closed) = (id(CROWD - 2), id(7));
    go(
        &mut asking,
        &[
            ["emit", "crowd", "a"],
            ["emit", &told, "b"],
            ["emit", &last, "b"],
            ["leave", &left, ""],
            ["join", &outside_id, ""],
            ["disconnect", &gone, ""],
            ["close", &closed, ""],
            ["emit", "crowd", "c"],
            ["all but", &excepted, "d"],
            ["emit", "crowd", "e"],
        ],
    )
    .await;
    // An answer overtakes nothing that went to the same client, and waits for nobody else.
    asking.expect(r#"42["d"]"#).await;
    asking.expect("437[]").await;
    gateway.gateway().of("/").emit("end", ()).unwrap();
    others.push((outside, outside_id.clone()));
    for (client, id) in &mut others {
        let expected = match &*id {
            id if *id == told || *id == last => "abcde",
            id if *id == left => "ad",
            id if *id == outside_id => "cde",
            id if *id == excepted => "ace",
            id if *id == gone || *id == closed => {
                client.expect(r#"42["a"]"#).await;
                client.expect("41").await;
                continue;
            }
            _ => "acde",
        };
        assert_eq!(events(client).await, expected, "{id}");
    }
    assert_turns_are_short(&gateway).await;
}

#[tokio::test]
async fn all_of_a_large_room_acknowledge() {
    let (gateway, _asking, mut others) = crowd().await;
    let room = gateway.gateway().of("/").to("crowd");
    let answers = room
        .emit_with_ack("ask", (), Duration::from_secs(60))
        .unwrap();
    let answers = tokio::spawn(answers);
    for (client, _) in &mut others {
        let asked = client.next().await;
        let id = asked
            .strip_prefix("42")
            .and_then(|it| it.strip_suffix(r#"["ask"]"#));
        client.send(&format!("43{}[1]", id.unwrap())).await;
    }
    assert_eq!(answers.await.unwrap().unwrap().len(), CROWD);
    assert_turns_are_short(&gateway).await;
}

/// So many that the numbers of walks, which begin high in a test, begin anew in their midst.
#[tokio::test]
async fn more_broadcasts_than_may_be_under_way_come_in_order() {
    let (gateway, mut asking, mut others) = crowd().await;
    let letters = "abcdefghijklmnopqrstuvwxyz".repeat(3);
    let names: Vec<String> = letters.chars().map(|it| it.to_string()).collect();
    let steps: Vec<[&str; 3]> = names.iter().map(|it| ["emit", "crowd", &**it]).collect();
    go(&mut asking, &steps).await;
    asking.expect("437[]").await;
    gateway.gateway().of("/").emit("end", ()).unwrap();
    for (client, _) in &mut others {
        assert_eq!(events(client).await, letters);
    }
}
