//! Emitting from handlers and from anywhere.

use std::time::Duration;

use bytes::Bytes;
use gateway::Server;
use gateway::event::Binary;
use gateway::socket::AckError;
use tokio::sync::mpsc;

use crate::support::{TestGateway, config, soon};

/// An acknowledgement that is given comes in this time.
const LONG: Duration = Duration::from_secs(60);

/// One that is not given is not waited for much longer than this.
const SHORT: Duration = Duration::from_millis(20);

#[tokio::test]
async fn an_emit_to_all_and_one_to_the_socket_keep_their_order() {
    let gateway = TestGateway::handlers(|main| {
        main.on("both", |socket, _| {
            let all = socket.gateway().of("/");
            all.emit("all", (1,)).unwrap();
            socket.emit("own", (2,)).unwrap();
            all.emit("all", (3,)).unwrap();
        })
    })
    .await;
    for client in &mut gateway.clients(2).await {
        client.send(r#"42["both"]"#).await;
        for expected in [r#"42["all",1]"#, r#"42["own",2]"#, r#"42["all",3]"#] {
            loop {
                // What the other client had sent to all may come before.
                let next = client.next().await;
                if next == expected {
                    break;
                }
                assert!(next.contains("all"), "{next} before {expected}");
            }
        }
    }
}

#[tokio::test]
async fn rooms_and_sockets_can_be_left_out() {
    let gateway =
        TestGateway::handlers(|main| main.on("join", |socket, _| socket.join(["muted"]))).await;
    let emitter = gateway.gateway().of("/");
    let (mut muted, muted_id) = gateway.client().await;
    let (mut other, other_id) = gateway.client().await;
    let (mut third, _) = gateway.client().await;
    muted.send(r#"42["join"]"#).await;
    muted.send(r#"421["nothing"]"#).await;
    crate::support::until(async || {
        emitter
            .clone()
            .to("muted")
            .fetch_sockets()
            .await
            .found
            .len()
            == 1
    })
    .await;
    emitter.clone().except("muted").emit("a", ()).unwrap();
    emitter.clone().except(&*other_id).emit("b", ()).unwrap();
    emitter
        .clone()
        .to(&*muted_id)
        .to(&*other_id)
        .except("muted")
        .emit("c", ())
        .unwrap();
    emitter.emit("end", ()).unwrap();
    for expected in [r#"42["b"]"#, r#"42["end"]"#] {
        muted.expect(expected).await;
    }
    for expected in [r#"42["a"]"#, r#"42["c"]"#, r#"42["end"]"#] {
        other.expect(expected).await;
    }
    for expected in [r#"42["a"]"#, r#"42["b"]"#, r#"42["end"]"#] {
        third.expect(expected).await;
    }
}

#[tokio::test]
async fn a_reserved_name_is_not_emitted() {
    let gateway = TestGateway::relay().await;
    let emitter = gateway.gateway().of("/");
    assert!(emitter.emit("disconnect", ()).is_err());
    assert!(emitter.emit_with_ack("connect", (), LONG).is_err());
}

#[tokio::test]
async fn a_volatile_packet_is_dropped_while_no_poll_is_parked() {
    let gateway = TestGateway::handlers(|main| {
        main.on("go", |socket, _| {
            socket.emit_volatile("lost", ()).unwrap();
            socket
                .emit_volatile("lost too", (Binary(Bytes::from_static(b"x")),))
                .unwrap();
            socket.emit("kept", ()).unwrap();
        })
    })
    .await;
    let mut client = gateway.polling().await;
    client.connect().await;
    client.send(r#"42["go"]"#).await;
    client.expect(r#"42["kept"]"#).await;
    gateway
        .until_metric("gateway_volatile_dropped_total", 2.0)
        .await;
}

#[tokio::test]
async fn a_volatile_packet_is_sent_when_the_client_is_ready_for_it() {
    let gateway = TestGateway::handlers(|main| {
        main.on("go", |socket, _| {
            socket.emit_volatile("first", ()).unwrap();
            socket.emit_volatile("second", ()).unwrap();
            socket.emit("regular", ()).unwrap();
            socket.emit_volatile("third", ()).unwrap();
            socket.emit("end", ()).unwrap();
        })
    })
    .await;
    let (mut client, _) = gateway.client().await;
    client.send(r#"42["go"]"#).await;
    for expected in [r#"42["first"]"#, r#"42["regular"]"#, r#"42["end"]"#] {
        client.expect(expected).await;
    }
    gateway
        .until_metric("gateway_volatile_dropped_total", 2.0)
        .await;
}

#[tokio::test]
async fn volatile_binary_is_sent_as_a_unit() {
    let gateway = TestGateway::relay().await;
    let (mut client, _) = gateway.client().await;
    let emitter = gateway.gateway().of("/").volatile();
    emitter
        .emit("x", (Binary(Bytes::from_static(b"abc")),))
        .unwrap();
    client
        .expect(r#"451-["x",{"_placeholder":true,"num":0}]"#)
        .await;
    client.expect_binary(b"abc").await;
}

/// A gateway whose sockets ask `question` when told to, and what became of it.
async fn asking(
    timeout: Duration,
) -> (
    TestGateway,
    mpsc::UnboundedReceiver<Result<(String, u32), AckError>>,
) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let gateway = TestGateway::handlers(move |main| {
        main.on("ask me", move |socket, _| {
            let answer = socket.emit_with_ack("question", (1,), timeout).unwrap();
            let sender = sender.clone();
            tokio::task::spawn_local(async move {
                let answer = answer.await.map(|answer| answer.parse().unwrap());
                sender.send(answer).unwrap();
            });
        })
    })
    .await;
    (gateway, receiver)
}

fn ack_id(event: &str) -> &str {
    let digits = event.strip_prefix("42").unwrap();
    &digits[..digits.find('[').unwrap()]
}

#[tokio::test]
async fn an_answer_reaches_who_asked_and_counts_once() {
    let (gateway, mut answers) = asking(LONG).await;
    let (mut client, _) = gateway.client().await;
    client.send(r#"42["ask me"]"#).await;
    let question = client.next().await;
    assert!(question.ends_with(r#"["question",1]"#), "{question}");
    let id = ack_id(&question);
    client.send(r#"43987654["nobody asked"]"#).await;
    client.send(&format!(r#"43{id}["yes",7]"#)).await;
    client.send(&format!(r#"43{id}["no",8]"#)).await;
    let answer = soon(answers.recv()).await.unwrap();
    assert_eq!(answer, Ok(("yes".to_owned(), 7)));
    client.send(r#"42["ask me"]"#).await;
    assert_ne!(ack_id(&client.next().await), id);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_timeout() {
    let (gateway, mut answers) = asking(SHORT).await;
    let (mut client, _) = gateway.client().await;
    client.send(r#"42["ask me"]"#).await;
    let question = client.next().await;
    assert_eq!(soon(answers.recv()).await, Some(Err(AckError::Timeout)));
    client
        .send(&format!(r#"43{}["late",1]"#, ack_id(&question)))
        .await;
    client.send(r#"42["ask me"]"#).await;
    client.next().await;
    assert_eq!(soon(answers.recv()).await, Some(Err(AckError::Timeout)));
}

#[tokio::test]
async fn who_asked_learns_that_the_client_went() {
    let (gateway, mut answers) = asking(LONG).await;
    let (mut client, _) = gateway.client().await;
    client.send(r#"42["ask me"]"#).await;
    client.next().await;
    client.vanish();
    assert_eq!(
        soon(answers.recv()).await,
        Some(Err(AckError::Disconnected))
    );
}

#[tokio::test]
async fn all_recipients_of_a_broadcast_answer() {
    let gateway = TestGateway::relay().await;
    let mut clients = gateway.clients(3).await;
    let emitter = gateway.gateway().of("/");
    let answers = emitter.emit_with_ack("question", (), LONG).unwrap();
    for (number, client) in clients.iter_mut().enumerate() {
        let question = client.next().await;
        let answer = format!("43{}[{number}]", ack_id(&question));
        client.send(&answer).await;
        client.send(&answer).await;
    }
    let mut numbers: Vec<u32> = soon(answers)
        .await
        .unwrap()
        .iter()
        .map(|answer| answer.parse::<(u32,)>().unwrap().0)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2]);
}

#[tokio::test]
async fn answers_of_a_broadcast_that_came_in_time_are_kept() {
    let gateway = TestGateway::relay().await;
    let mut clients = gateway.clients(3).await;
    let emitter = gateway.gateway().of("/");
    let answers = emitter
        .emit_with_ack("question", (), Duration::from_millis(1500))
        .unwrap();
    let question = clients[1].next().await;
    clients[1]
        .send(&format!("43{}[7]", ack_id(&question)))
        .await;
    let missing = soon(answers).await.unwrap_err();
    assert_eq!(missing.expected, 3);
    assert_eq!(missing.answers.len(), 1);
    assert_eq!(missing.answers[0].parse::<(u32,)>().unwrap(), (7,));
}

#[tokio::test]
async fn an_acknowledgement_that_nobody_waits_for_any_more_takes_no_place() {
    let (sender, mut answers) = mpsc::unbounded_channel();
    let gateway = TestGateway::handlers(move |main| {
        main.on("ask me", move |socket, _| {
            for _ in 0..10_000 {
                drop(socket.emit_with_ack("x", (), LONG).unwrap());
            }
            let answer = socket.emit_with_ack("question", (), LONG).unwrap();
            let sender = sender.clone();
            tokio::task::spawn_local(async move {
                sender.send(answer.await.map(drop)).unwrap();
            });
        })
    })
    .await;
    let (mut client, _) = gateway.client().await;
    client.send(r#"42["ask me"]"#).await;
    let question = loop {
        let asked = client.next().await;
        if asked.ends_with(r#"["question"]"#) {
            break asked;
        }
    };
    client.send(&format!("43{}[1]", ack_id(&question))).await;
    assert_eq!(soon(answers.recv()).await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_broadcast_does_not_wait_for_recipients_that_went() {
    let gateway = TestGateway::relay().await;
    let mut clients = gateway.clients(2).await;
    let emitter = gateway.gateway().of("/");
    let answers = emitter.emit_with_ack("question", (), LONG).unwrap();
    let question = clients[0].next().await;
    clients[1].next().await;
    clients.pop().unwrap().vanish();
    clients[0]
        .send(&format!("43{}[7]", ack_id(&question)))
        .await;
    let missing = soon(answers).await.unwrap_err();
    assert_eq!((missing.expected, missing.answers.len()), (2, 1));
}

#[tokio::test]
async fn a_broadcast_to_nobody_is_answered_at_once() {
    let gateway = TestGateway::relay().await;
    let _somebody = gateway.clients(2).await;
    let emitter = gateway.gateway().of("/").to("empty");
    let answers = emitter.emit_with_ack("question", (), LONG).unwrap();
    assert_eq!(soon(answers).await.unwrap(), []);
}

#[tokio::test]
async fn sockets_of_all_shards_are_found_moved_and_disconnected() {
    let gateway = TestGateway::handlers(|main| {
        main.connected(|socket| socket.set_data(serde_json::json!({"seen": true})))
    })
    .await;
    let all = gateway.gateway().of("/");
    let mut ids = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (client, id) = gateway.client().await;
        clients.push(client);
        ids.push(id);
    }
    let found = all.fetch_sockets().await.found;
    assert_eq!(found.len(), 4);
    for socket in &found {
        assert!(ids.contains(&socket.id.to_string()));
        assert_eq!(socket.rooms, [socket.id.to_string()]);
        assert_eq!(socket.data.as_deref(), Some(r#"{"seen":true}"#));
    }
    let some = all.clone().to(&*ids[0]).to(&*ids[1]);
    some.join(["a", "b"]);
    some.leave(["b"]);
    let found = all.clone().to("a").fetch_sockets().await.found;
    assert_eq!(found.len(), 2);
    for socket in &found {
        assert_eq!(socket.rooms, [socket.id.to_string(), "a".to_owned()]);
    }
    assert!(all.clone().to("b").fetch_sockets().await.found.is_empty());
    all.clone().to("a").emit("last words", ()).unwrap();
    all.clone().to("a").disconnect(false);
    all.clone().except("a").to(&*ids[2]).disconnect(true);
    for client in &mut clients[..2] {
        client.expect(r#"42["last words"]"#).await;
        client.expect("41").await;
        client.connect().await;
    }
    clients[2].expect("41").await;
    clients[2].expect_close().await;
    all.emit("still here", ()).unwrap();
    clients[3].expect(r#"42["still here"]"#).await;
}

#[tokio::test]
async fn a_change_of_many_sockets_leaves_the_others_their_turn() {
    let gateway = TestGateway::start(Server::new(config())).await;
    let mut clients = gateway.clients(200).await;
    let rooms: Vec<String> = (0..2000).map(|number| format!("room-{number}")).collect();
    let joined = gateway.gateway().of("/").join_everywhere(rooms.clone());
    let joined = tokio::spawn(joined);
    clients[0].send(r#"421["echo",1]"#).await;
    assert_eq!(clients[0].answer().await, "431[1]");
    assert!(!joined.is_finished(), "an echo waited for 400,000 joins");
    assert!(joined.await.unwrap().is_complete());
    let everybody = gateway.gateway().of("/").to("room-1999");
    assert_eq!(everybody.fetch_sockets().await.found.len(), 200);

    let left = tokio::spawn(gateway.gateway().of("/").leave_everywhere(rooms));
    clients[0].send(r#"422["echo",2]"#).await;
    assert_eq!(clients[0].answer().await, "432[2]");
    assert!(!left.is_finished(), "an echo waited for 400,000 leaves");
    assert!(left.await.unwrap().is_complete());
    assert!(everybody.fetch_sockets().await.found.is_empty());
}
