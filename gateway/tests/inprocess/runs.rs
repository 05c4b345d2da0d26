//! Events of a busy shard that wait together: its sockets are come to once for all of them, and nothing else differs.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use gateway::{Config, Gateway};

use crate::support::{Connection, Frame, Polling, TestGateway, WebSocket, config, value};

/// More than those that do not wait for the others of their room.
const CROWD: usize = 200;

/// Events that one step emits one after the other.
const MANY: usize = 20;

/// How often events may find the shard in a moment in which none gather.
const MOST_ATTEMPTS: usize = 90;

/// One shard whose clients are in the room `crowd`, but for the first. That one sends `go` with steps that are all
/// taken before the shard has its next turn.
struct Busy {
    gateway: TestGateway,
    asking: WebSocket,
    crowd: Vec<(WebSocket, String)>,
}

/// What a shard has done for clients.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Work {
    /// Sockets that broadcasts came to.
    reached: f64,
    recipients: f64,
    packets: f64,
    writes: f64,
}

fn settings() -> Config {
    let mut config = config();
    config.shards = NonZeroUsize::MIN;
    config.engine.allow_eio3 = true;
    config.websocket.coalesce = Duration::from_secs(1);
    config
}

impl Busy {
    async fn start(config: Config) -> Self {
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
        let mut crowd = Vec::new();
        for _ in 0..CROWD {
            let (mut client, id) = gateway.client().await;
            join(&mut client).await;
            crowd.push((client, id));
        }
        Self {
            gateway,
            asking,
            crowd,
        }
    }

    fn id(&self, place: usize) -> String {
        self.crowd[place].1.clone()
    }

    async fn work(&self) -> Work {
        let text = self.gateway.metrics().await;
        let value = |series| value(&text, series).unwrap();
        Work {
            reached: value("gateway_shard_turn_recipients_sum"),
            recipients: value("gateway_broadcast_recipients_sum"),
            packets: value(r#"gateway_packets_sent_total{type="event"}"#),
            writes: value(r#"gateway_writes_total{transport="websocket"}"#),
        }
    }

    /// Has all steps be taken in one go.
    async fn go(&mut self, steps: &[[&str; 3]]) {
        let steps: Vec<Vec<&str>> = steps
            .iter()
            .map(|step| step.iter().copied().filter(|it| !it.is_empty()).collect())
            .collect();
        let steps = serde_json::to_string(&steps).unwrap();
        self.asking.send(&format!(r#"427["go",{steps}]"#)).await;
        while self.asking.answer().await != "437[]" {}
    }

    /// Lets the shard have much to write, so that events gather.
    async fn warm_up(&mut self) {
        for _ in 0..3 {
            self.go(&[["emit", "crowd", "warm"]]).await;
        }
    }

    /// Makes an attempt, over and over, until it finds events gathering, so that the crowd was come to at most so many
    /// times. Returns what the shard did for that one.
    async fn until_a_run(
        &mut self,
        most: usize,
        mut attempt: impl AsyncFnMut(&mut Self, usize),
    ) -> Work {
        for number in 0..MOST_ATTEMPTS {
            self.warm_up().await;
            let before = self.work().await;
            attempt(self, number).await;
            let after = self.work().await;
            if after.reached - before.reached <= (most * CROWD) as f64 {
                return Work {
                    reached: after.reached - before.reached,
                    recipients: after.recipients - before.recipients,
                    packets: after.packets - before.packets,
                    writes: after.writes - before.writes,
                };
            }
        }
        panic!("no events gathered");
    }
}

fn take(gateway: &Gateway, step: &[String]) {
    let words: Vec<&str> = step.iter().map(String::as_str).collect();
    let all = gateway.of("/");
    match words[..] {
        ["emit", room, event] => all.to(room).emit(event, ()).unwrap(),
        ["many", room, event] => {
            let emit = |number| all.clone().to(room).emit(event, (number,)).unwrap();
            (0..MANY).for_each(emit);
        }
        ["many by id", ids, event] => {
            let all = ids.split(',').fold(all, |all, id| all.to(id));
            let emit = |number| all.clone().emit(event, (number,)).unwrap();
            (0..MANY).for_each(emit);
        }
        ["large", room, event] => all.to(room).emit(event, ("x".repeat(6000),)).unwrap(),
        ["volatile", room, event] => all.volatile().to(room).emit(event, ()).unwrap(),
        ["all", event] => all.emit(event, ()).unwrap(),
        ["all but", except, event] => all.to("crowd").except(except).emit(event, ()).unwrap(),
        ["join", id] => all.to(id).join(["crowd"]),
        ["leave", id] => all.to(id).leave(["crowd"]),
        ["disconnect", id] => all.to(id).disconnect(false),
        ["close", id] => all.to(id).disconnect(true),
        _ => panic!("{words:?}"),
    }
}

async fn join(client: &mut WebSocket) {
    client.send(r#"421["join"]"#).await;
    while client.answer().await != "431[]" {}
}

/// The names of the events up to `end`, or up to the end of the client, without those that warmed up.
async fn events(client: &mut WebSocket) -> String {
    let mut events = String::new();
    loop {
        match client.answer().await.as_str() {
            r#"42["end"]"# => return events,
            r#"42["warm"]"# => {}
            "41" => return events + "!",
            packet => events.push_str(name(packet)),
        }
    }
}

/// A volatile event is dropped if events do not gather, but it is not out of place.
fn without_volatile(events: String) -> String {
    match events.split_once('v') {
        Some((before, after)) => {
            assert!(before.ends_with(['c', 'd']) && after.starts_with(['e', 'f']));
            format!("{before}{after}")
        }
        None => events,
    }
}

fn name(packet: &str) -> &str {
    packet.trim_matches(|it| !char::is_alphabetic(it))
}

#[tokio::test]
async fn many_events_for_a_room_come_to_each_member_once_and_go_in_one_write() {
    let mut busy = Busy::start(settings()).await;
    let done = busy
        .until_a_run(2, async |busy, _| {
            busy.go(&[["many", "crowd", "tick"], ["emit", "crowd", "end"]])
                .await;
            for (client, _) in &mut busy.crowd {
                loop {
                    match client.answer().await.as_str() {
                        r#"42["warm"]"# => {}
                        first => break assert_eq!(first, r#"42["tick",0]"#),
                    }
                }
                for number in 1..MANY {
                    client.expect(&format!(r#"42["tick",{number}]"#)).await;
                }
                client.expect(r#"42["end"]"#).await;
            }
        })
        .await;
    let all = (CROWD * (MANY + 1)) as f64;
    // The answer to who asked, and what warmed up may have been left.
    assert!(done.writes <= (2 * CROWD + 10) as f64, "{done:?}");
    assert!(done.packets >= all, "{done:?}");
    assert!(done.recipients >= all, "{done:?}");
}

#[tokio::test]
async fn whatever_happens_to_a_member_of_a_run_everything_comes_once_and_in_order() {
    let mut busy = Busy::start(settings()).await;
    let (mut outside, outside_id) = busy.gateway.client().await;
    let (told, left, excepted) = (busy.id(3), busy.id(4), busy.id(6));
    // Two go with each attempt.
    busy.until_a_run(5, async |busy, attempt| {
        let (first, second) = (2 * attempt + 10, 2 * attempt + 11);
        let (disconnected, closed) = (busy.id(first), busy.id(second));
        busy.go(&[
            ["emit", "crowd", "a"],
            ["emit", "crowd", "b"],
            ["emit", &told, "x"],
            ["leave", &left, ""],
            ["join", &outside_id, ""],
            ["disconnect", &disconnected, ""],
            ["close", &closed, ""],
            ["emit", "crowd", "c"],
            ["all but", &excepted, "d"],
            ["volatile", "crowd", "v"],
            ["emit", "crowd", "e"],
            ["all but", &told, "f"],
            ["leave", &outside_id, ""],
            ["join", &left, ""],
            ["emit", &outside_id, "end"],
            ["emit", "crowd", "end"],
        ])
        .await;
        for (place, (client, id)) in busy.crowd.iter_mut().enumerate() {
            let expected = match &*id {
                _ if (10..first).contains(&place) => continue,
                _ if place == first || place == second => "ab!",
                id if *id == told => "abxcde",
                id if *id == left => "ab",
                id if *id == excepted => "abcef",
                _ => "abcdef",
            };
            assert_eq!(without_volatile(events(client).await), expected, "{place}");
        }
        assert_eq!(without_volatile(events(&mut outside).await), "cdef");
    })
    .await;
}

#[tokio::test]
async fn rooms_whose_events_take_turns_keep_their_order() {
    let mut busy = Busy::start(settings()).await;
    // Those that follow each other come together.
    busy.until_a_run(5 * MANY / 2, async |busy, _| {
        let steps = [
            ["emit", "crowd", "a"],
            ["all", "b", ""],
            ["emit", "crowd", "c"],
        ];
        let mut all: Vec<[&str; 3]> = steps.iter().cycle().take(3 * MANY).copied().collect();
        all.push(["emit", "crowd", "end"]);
        busy.go(&all).await;
        for (client, _) in &mut busy.crowd {
            assert_eq!(events(client).await, "abc".repeat(MANY));
        }
    })
    .await;
}

#[tokio::test]
async fn clients_that_take_other_bytes_get_a_run_event_by_event() {
    let mut busy = Busy::start(settings()).await;
    let mut polling = busy.gateway.polling().await;
    polling.connect().await;
    polling.send(r#"421["join"]"#).await;
    polling.expect("431[]").await;
    let mut old = old_client(busy.gateway.address()).await;
    join(&mut old).await;
    let mut packed = busy.gateway.websocket().await;
    packed.send_binary(b"\x82\xa4type\x00\xa3nsp\xa1/").await;
    let join = b"\x84\xa4type\x02\xa3nsp\xa1/\xa2id\x01\xa4data\x91\xa4join";
    packed.send_binary(join).await;
    let all = "tick".repeat(MANY);
    busy.until_a_run(2, async |busy, _| {
        busy.go(&[["many", "crowd", "tick"], ["emit", "crowd", "end"]])
            .await;
        for (client, _) in &mut busy.crowd {
            assert_eq!(events(client).await, all);
        }
        assert_eq!(polled(&mut polling).await, all);
        assert_eq!(events(&mut old).await, all);
        assert_eq!(unpacked(&mut packed).await, all);
    })
    .await;
}

#[cfg(feature = "webtransport")]
#[tokio::test]
async fn a_client_of_webtransport_gets_a_run_event_by_event() {
    use crate::support::WebTransport;

    let config = Config {
        webtransport: crate::webtransport::configured("").webtransport,
        ..settings()
    };
    let mut busy = Busy::start(config).await;
    let mut other = WebTransport::open(busy.gateway.webtransport_address()).await;
    other.connect().await;
    other.send(r#"421["join"]"#).await;
    other.expect("431[]").await;
    busy.until_a_run(2, async |busy, _| {
        busy.go(&[["many", "crowd", "tick"], ["emit", "crowd", "end"]])
            .await;
        for (client, _) in &mut busy.crowd {
            assert_eq!(events(client).await, "tick".repeat(MANY));
        }
        let mut ticks = 0;
        loop {
            match other.next().await.as_str() {
                r#"42["end"]"# => break assert_eq!(ticks, MANY),
                r#"42["warm"]"# => {}
                packet => {
                    assert_eq!(packet, format!(r#"42["tick",{ticks}]"#));
                    ticks += 1;
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_trace_has_a_line_for_each_event_that_a_busy_shard_sends() {
    let config = Config {
        api: crate::traces::settings().api,
        ..settings()
    };
    let mut busy = Busy::start(config).await;
    let traced = busy.id(3);
    let query = format!("socket={traced}&arguments=true");
    let mut reader = crate::traces::Reader::open(&busy.gateway, &query, 1).await;
    reader.up_to("present").await;
    for _ in 0..10 {
        busy.warm_up().await;
        busy.go(&[["many", "crowd", "tick"], ["emit", "crowd", "end"]])
            .await;
        for (client, _) in &mut busy.crowd {
            assert_eq!(events(client).await, "tick".repeat(MANY));
        }
        let mut ticks = 0;
        loop {
            let line = reader.up_to("sent").await.pop().unwrap();
            match line["event"].as_str().unwrap() {
                "end" => break assert_eq!(ticks, MANY),
                "warm" => {}
                _ => {
                    assert_eq!(line["event"], "tick");
                    assert_eq!(line["arguments"], ticks.to_string(), "{line}");
                    ticks += 1;
                }
            }
        }
    }
}

/// The first event of a round goes at once, and of sockets that are selected by their ids nobody knows which is.
#[tokio::test]
async fn events_for_many_clients_by_their_ids_wait_for_no_others() {
    let mut busy = Busy::start(settings()).await;
    let ids: Vec<String> = busy.crowd.iter().map(|(_, id)| id.clone()).collect();
    let ids = ids.join(",");
    for _ in 0..10 {
        busy.warm_up().await;
        let before = busy.work().await.reached;
        busy.go(&[["many by id", &ids, "tick"], ["emit", "crowd", "end"]])
            .await;
        for (client, _) in &mut busy.crowd {
            assert_eq!(events(client).await, "tick".repeat(MANY));
        }
        let reached = busy.work().await.reached - before;
        assert!(reached >= (MANY * CROWD) as f64, "{reached}");
    }
}

/// A client of Socket.IO 2.
async fn old_client(address: SocketAddr) -> WebSocket {
    let mut connection = Connection::open(address).await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let head = "GET /socket.io/?EIO=3&transport=websocket";
    connection.send_with(head, upgrade, "").await;
    assert_eq!(connection.response().await.status, 101);
    WebSocket::on(connection)
}

/// The same as [`events`] by polling.
async fn polled(client: &mut Polling) -> String {
    let mut events = String::new();
    loop {
        match client.next().await.as_str() {
            r#"42["end"]"# => return events,
            r#"42["warm"]"# => {}
            "2" => client.send("3").await,
            packet => events.push_str(name(packet)),
        }
    }
}

/// The same in msgpack.
async fn unpacked(client: &mut WebSocket) -> String {
    let mut events = String::new();
    loop {
        match client.frame().await {
            Frame::Binary(packet) => {
                let has = |text: &[u8]| packet.windows(text.len()).any(|it| it == text);
                if has(b"\xa4tick") {
                    events.push_str("tick");
                } else if has(b"\xa3end") {
                    return events;
                }
            }
            Frame::Text(text) => assert!(text == "2" || text.starts_with("0{"), "{text}"),
            other @ (Frame::Close(_) | Frame::End) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_member_that_takes_nothing_is_bounded_and_costs_the_others_nothing() {
    let mut config = settings();
    config.limits.outbox_bytes = 256 * 1024;
    let mut busy = Busy::start(config).await;
    let mut slow = WebSocket::open_narrow(busy.gateway.address()).await;
    slow.connect().await;
    join(&mut slow).await;
    let slow_ones = "gateway_slow_consumers_total";
    let mut rounds = 0;
    while busy.gateway.metric(slow_ones).await == 0.0 {
        let mut steps = vec![["large", "crowd", "big"]; 30];
        steps.push(["emit", "crowd", "end"]);
        busy.warm_up().await;
        busy.go(&steps).await;
        for (client, _) in &mut busy.crowd {
            loop {
                match client.answer().await.as_str() {
                    r#"42["end"]"# => break,
                    r#"42["warm"]"# => {}
                    packet => assert!(packet.starts_with(r#"42["big","xxx"#)),
                }
            }
        }
        rounds += 1;
        assert!(rounds < 100, "it was not closed");
    }
    assert_eq!(busy.gateway.metric(slow_ones).await, 1.0);
    busy.gateway.until_metric("gateway_outbox_bytes", 0.0).await;
    let memory = "gateway_outbox_memory_bytes";
    busy.gateway.until_metric(memory, 0.0).await;
}

#[tokio::test]
async fn what_waits_when_the_node_ends_goes_out_before_the_end() {
    let mut busy = Busy::start(settings()).await;
    busy.warm_up().await;
    busy.go(&[["many", "crowd", "tick"]]).await;
    let Busy {
        gateway,
        mut crowd,
        asking: _asking,
        ..
    } = busy;
    let stopping = tokio::spawn(gateway.stop());
    for (client, _) in &mut crowd {
        let mut ticks = 0;
        loop {
            match client.frame().await {
                Frame::Text(text) if text.starts_with(r#"42["tick""#) => {
                    assert_eq!(text, format!(r#"42["tick",{ticks}]"#));
                    ticks += 1;
                }
                Frame::Text(_) => {}
                Frame::Close(_) | Frame::End => break,
                other @ Frame::Binary(_) => panic!("{other:?}"),
            }
        }
        assert_eq!(ticks, MANY);
    }
    drop(crowd);
    stopping.await.unwrap();
}
