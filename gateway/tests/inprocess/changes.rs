//! Joins, leaves and disconnects of many: no turn of a shard is long, and all is as if each was done in one go.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gateway::{Gateway, Socket};

use crate::support::{TestGateway, WebSocket, config};

/// More than a shard comes to in one turn.
const CROWD: usize = 1500;

/// A bucket of the metric: a shard comes to no more in one turn.
const MOST: usize = 1024;

/// One shard whose clients are in the room `crowd`, the asking one too. That one sends `go` with steps that are all
/// taken before the shard has its next turn.
struct Crowd {
    gateway: TestGateway,
    asking: WebSocket,
    others: Vec<(WebSocket, String)>,
    /// Sockets that were disconnected.
    gone: Arc<AtomicUsize>,
}

impl Crowd {
    async fn start() -> Self {
        let mut config = config();
        config.shards = NonZeroUsize::MIN;
        let gone = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&gone);
        let gateway = TestGateway::configured(config, |main| {
            main.on("join", |socket, event| {
                let (room,): (String,) = event.parse().unwrap();
                socket.join([room]);
                event.ack(()).unwrap();
            })
            .on("go", |socket, event| {
                let (steps,): (Vec<Vec<String>>,) = event.parse().unwrap();
                steps.iter().for_each(|step| take(socket, step));
                event.ack(()).unwrap();
            })
            .disconnecting(move |socket, _| {
                counted.fetch_add(1, Ordering::Relaxed);
                let all = || socket.gateway().of("/");
                all().to("watch").emit("left", ()).unwrap();
                // More than may wait at a time.
                all().volatile().to("crowd").emit("left", ()).unwrap();
            })
        })
        .await;
        let (mut asking, _) = gateway.client().await;
        join(&mut asking, "crowd").await;
        let mut others = Vec::new();
        for _ in 1..CROWD {
            let (mut client, id) = gateway.client().await;
            join(&mut client, "crowd").await;
            others.push((client, id));
        }
        Self {
            gateway,
            asking,
            others,
            gone,
        }
    }

    fn all(&self) -> Gateway {
        self.gateway.gateway()
    }

    async fn go(&mut self, steps: &[[&str; 3]]) {
        let steps: Vec<Vec<&str>> = steps
            .iter()
            .map(|step| step.iter().copied().filter(|it| !it.is_empty()).collect())
            .collect();
        let steps = serde_json::to_string(&steps).unwrap();
        self.asking.send(&format!(r#"427["go",{steps}]"#)).await;
    }

    /// Each turn came to few, and all of them to so many.
    async fn assert_turns_are_short(&self, sockets: usize) {
        let name = "gateway_shard_turn_recipients";
        let metric = async |series: String| self.gateway.metric(&series).await;
        let turns = metric(format!("{name}_count")).await;
        let short = metric(format!(r#"{name}_bucket{{le="{MOST}"}}"#)).await;
        assert_eq!(short, turns);
        let all = metric(format!("{name}_sum")).await as usize;
        // A walk of events counts the rooms that it looks at as well.
        assert!((sockets..sockets + 50).contains(&all), "{all} of {sockets}");
    }
}

fn take(socket: &Socket, step: &[String]) {
    let words: Vec<&str> = step.iter().map(String::as_str).collect();
    let all = socket.gateway().of("/");
    match words[..] {
        ["emit", room, event] => all.to(room).emit(event, ()).unwrap(),
        ["all but", except, event] => all.except(except).emit(event, ()).unwrap(),
        ["join", of, room] => all.to(of).join([room]),
        ["leave", of, room] => all.to(of).leave([room]),
        ["disconnect", of] => all.to(of).disconnect(false),
        ["close", of] => all.to(of).disconnect(true),
        ["am i in", room] => {
            let is_in = (
                socket.is_in(room),
                socket.rooms().iter().any(|it| it == room),
            );
            socket.emit("in", (is_in,)).unwrap();
        }
        ["am i there"] => socket.emit("there", (socket.is_connected(),)).unwrap(),
        _ => panic!("{words:?}"),
    }
}

async fn join(client: &mut WebSocket, room: &str) {
    client.send(&format!(r#"421["join","{room}"]"#)).await;
    while client.answer().await != "431[]" {}
}

/// The events that a client gets up to `end`, or up to its own end.
async fn events(client: &mut WebSocket) -> String {
    let mut events = String::new();
    loop {
        match client.answer().await.as_str() {
            r#"42["end"]"# => return events,
            "41" => return events + "!",
            packet => events.push_str(packet.trim_matches(|it| !char::is_alphabetic(it))),
        }
    }
}

#[tokio::test]
async fn what_is_emitted_to_a_room_that_many_join_and_leave_comes_to_those_who_are_in_it_by_then() {
    let mut crowd = Crowd::start().await;
    let id = |place: usize| crowd.others[place].1.clone();
    // Some that the walks come to at once, some that they come to last.
    let (left, back, told, last) = (id(3), id(4), id(5), id(CROWD - 3));
    crowd
        .go(&[
            ["join", "crowd", "hall"],
            ["am i in", "hall", ""],
            ["emit", "hall", "a"],
            ["leave", &left, "hall"],
            ["leave", &last, "hall"],
            ["emit", &told, "t"],
            ["emit", "hall", "b"],
            ["leave", "hall", "hall"],
            ["am i in", "hall", ""],
            ["join", &back, "hall"],
            ["emit", "hall", "c"],
            ["join", "crowd", "hall"],
            ["all but", "hall", "nobody"],
            ["emit", "hall", "d"],
            ["leave", "hall", "crowd"],
            ["emit", "crowd", "nobody"],
            ["emit", "hall", "end"],
        ])
        .await;
    let mut own = Vec::new();
    loop {
        match crowd.asking.answer().await.as_str() {
            r#"42["end"]"# => break,
            "437[]" => {}
            other => own.push(other.to_owned()),
        }
    }
    let [yes, no] = [r#"42["in",[true,true]]"#, r#"42["in",[false,false]]"#];
    assert_eq!(own, [yes, r#"42["a"]"#, r#"42["b"]"#, no, r#"42["d"]"#]);
    for (client, id) in &mut crowd.others {
        let expected = match &*id {
            id if *id == left || *id == last => "ad",
            id if *id == back => "abcd",
            id if *id == told => "atbd",
            _ => "abd",
        };
        assert_eq!(events(client).await, expected, "{id}");
    }
}

#[tokio::test]
async fn a_change_of_many_takes_many_short_turns_however_much_is_emitted_behind_it() {
    let mut crowd = Crowd::start().await;
    let before = crowd
        .gateway
        .metric("gateway_shard_turn_recipients_sum")
        .await;
    let letters = "abcdefghijklmnopqrstuvwxyz";
    let names: Vec<String> = letters.chars().map(|it| it.to_string()).collect();
    let mut steps = vec![["join", "crowd", "hall"]];
    steps.extend(names.iter().map(|it| ["emit", "hall", &**it]));
    steps.push(["emit", "hall", "end"]);
    crowd.go(&steps).await;
    let asking = events(&mut crowd.asking).await;
    assert_eq!(asking, letters);
    for (client, _) in &mut crowd.others {
        assert_eq!(events(client).await, letters);
    }
    // The joins, and all events together.
    let _before = before;
    crowd
        .assert_turns_are_short(2 * CROWD + before as usize)
        .await;
}

#[tokio::test]
async fn who_waits_for_a_change_of_many_is_told_when_all_are_changed() {
    let crowd = Crowd::start().await;
    let to = |room: &str| crowd.all().of("/").to(room);
    to("crowd").join_everywhere(["hall"]).await;
    assert_eq!(to("hall").fetch_sockets().await.found.len(), CROWD);
    // A list comes behind what was begun before.
    to("crowd").leave(["hall"]);
    assert_eq!(to("hall").fetch_sockets().await.found.len(), 0);
    to("crowd").join(["hall"]);
    to("hall").leave_everywhere(["crowd"]).await;
    assert_eq!(to("crowd").fetch_sockets().await.found.len(), 0);
    to("hall").disconnect_everywhere(false).await;
    assert_eq!(crowd.gone.load(Ordering::Relaxed), CROWD);
    let sockets = r#"gateway_sockets{namespace="/"}"#;
    assert_eq!(crowd.gateway.metric(sockets).await, 0.0);
    crowd.assert_turns_are_short(5 * CROWD).await;
}

#[tokio::test]
async fn who_is_about_to_be_disconnected_gets_nothing_more_and_handlers_may_emit_to_all() {
    let mut crowd = Crowd::start().await;
    let (mut watching, _) = crowd.gateway.client().await;
    join(&mut watching, "watch").await;
    let id = |place: usize| crowd.others[place].1.clone();
    let (told, last) = (id(3), id(CROWD - 3));
    crowd
        .go(&[
            ["emit", "crowd", "a"],
            ["disconnect", "crowd", ""],
            ["am i there", "", ""],
            ["emit", &told, "x"],
            ["join", &told, "hall"],
            ["leave", &last, "crowd"],
            ["emit", "crowd", "x"],
            ["emit", "hall", "x"],
        ])
        .await;
    assert_eq!(events(&mut crowd.asking).await, "a!");
    for (client, id) in &mut crowd.others {
        assert_eq!(events(client).await, "a!", "{id}");
    }
    for _ in 0..CROWD {
        watching.expect(r#"42["left"]"#).await;
    }
    assert_eq!(crowd.gone.load(Ordering::Relaxed), CROWD);
    crowd.all().of("/").emit("end", ()).unwrap();
    assert_eq!(events(&mut watching).await, "");
}

#[tokio::test]
async fn many_sessions_are_closed_in_many_turns() {
    let mut crowd = Crowd::start().await;
    let all = crowd.all().of("/");
    all.to("crowd").disconnect_everywhere(true).await;
    assert_eq!(crowd.gone.load(Ordering::Relaxed), CROWD);
    for (client, _) in &mut crowd.others {
        assert_eq!(events(client).await, "!");
        client.expect_close().await;
    }
    crowd.assert_turns_are_short(CROWD).await;
}
