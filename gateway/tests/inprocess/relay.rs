//! The relay application, and what an emit to many promises.

use crate::support::TestGateway;

#[tokio::test]
async fn every_event_is_acknowledged() {
    let gateway = TestGateway::relay().await;
    let (mut client, id) = gateway.client().await;
    let refusal = |code: &str, message: &str| {
        format!(r#"[{{"error":{{"code":"{code}","message":"{message}"}},"ok":false}}]"#)
    };
    let ok = r#"[{"ok":true}]"#.to_owned();
    let bad_room = refusal(
        "bad_room",
        "a room is a string of 1 to 512 bytes, several are a list of such strings",
    );
    let bad_event = refusal(
        "bad_event",
        "an event to publish needs a name that is a string and not reserved",
    );
    let forbidden = refusal(
        "forbidden_room",
        "the room belongs to another socket or to a user",
    );
    for (event, answer) in [
        (r#"["join","a"]"#.to_owned(), &ok),
        (r#"["join",["a","b"]]"#.to_owned(), &ok),
        (r#"["leave",["a","nowhere"]]"#.to_owned(), &ok),
        // As Firestore, Firebase and xid name things.
        (r#"["join","Xq3vB0yT7mKd9RfLw2Zs"]"#.to_owned(), &ok),
        (r#"["join","-OaBcD3fGh1jKlMnOpQr"]"#.to_owned(), &ok),
        (r#"["join","9m4e2mr0ui3e8a215n4g"]"#.to_owned(), &ok),
        (r#"["publish","b","x",1]"#.to_owned(), &ok),
        (r#"["publish",["a","b"],"x"]"#.to_owned(), &ok),
        (r#"["broadcast","x"]"#.to_owned(), &ok),
        (r#"["join"]"#.to_owned(), &bad_room),
        (r#"["join",""]"#.to_owned(), &bad_room),
        (r#"["join",[]]"#.to_owned(), &bad_room),
        (r#"["join",7]"#.to_owned(), &bad_room),
        (r#"["leave",null]"#.to_owned(), &bad_room),
        (r#"["publish"]"#.to_owned(), &bad_room),
        (format!(r#"["join","{id}"]"#), &forbidden),
        (r#"["publish","a"]"#.to_owned(), &bad_event),
        (r#"["publish","a",1]"#.to_owned(), &bad_event),
        (r#"["broadcast","disconnect"]"#.to_owned(), &bad_event),
        (
            r#"["hello"]"#.to_owned(),
            &refusal("unknown_event", "there is no such event"),
        ),
        (r#"["echo",1,"x"]"#.to_owned(), &r#"[1,"x"]"#.to_owned()),
    ] {
        client.send(&format!("427{event}")).await;
        assert_eq!(client.next().await, format!("437{answer}"), "{event}");
    }
}

#[tokio::test]
async fn the_own_room_of_a_socket_stays_private_after_it() {
    let gateway = TestGateway::relay().await;
    let (mut client, _) = gateway.client().await;
    let (other, id) = gateway.client().await;
    other.vanish();
    gateway
        .until_metric("gateway_sockets{namespace=\"/\"}", 1.0)
        .await;
    client.send(&format!(r#"421["join","{id}"]"#)).await;
    let answer = client.next().await;
    assert!(answer.contains("forbidden_room"), "{answer}");
}

#[tokio::test]
async fn a_member_of_two_rooms_gets_one_copy_and_the_sender_none() {
    let gateway = TestGateway::relay().await;
    let mut clients = gateway.clients(4).await;
    for client in &mut clients {
        client.send(r#"421["join",["a","b"]]"#).await;
        client.expect(r#"431[{"ok":true}]"#).await;
    }
    clients[0].send(r#"42["publish",["a","b"],"x",1]"#).await;
    clients[0].send(r#"42["publish","a","y"]"#).await;
    for client in &mut clients[1..] {
        client.expect(r#"42["x",1]"#).await;
        client.expect(r#"42["y"]"#).await;
    }
    clients[0].sync().await;
}

#[tokio::test]
async fn broadcasts_arrive_on_all_shards_in_the_order_of_their_sender() {
    let gateway = TestGateway::relay().await;
    let mut clients = gateway.clients(4).await;
    let mut sender = clients.pop().unwrap();
    for number in 0..100 {
        sender
            .send(&format!(r#"42["broadcast","n",{number}]"#))
            .await;
    }
    for client in &mut clients {
        for number in 0..100 {
            client.expect(&format!(r#"42["n",{number}]"#)).await;
        }
    }
    sender.sync().await;
}

#[tokio::test]
async fn a_room_that_was_left_is_silent() {
    let gateway = TestGateway::relay().await;
    let mut clients = gateway.clients(2).await;
    clients[1].send(r#"421["join","a"]"#).await;
    clients[1].expect(r#"431[{"ok":true}]"#).await;
    clients[1].send(r#"422["leave","a"]"#).await;
    clients[1].expect(r#"432[{"ok":true}]"#).await;
    clients[0].send(r#"42["publish","a","x"]"#).await;
    clients[0].send(r#"42["broadcast","y"]"#).await;
    clients[1].expect(r#"42["y"]"#).await;
}

#[tokio::test]
async fn binary_travels_as_a_unit() {
    let gateway = TestGateway::relay().await;
    let mut clients = gateway.clients(2).await;
    clients[0]
        .send(r#"451-["broadcast","x",{"_placeholder":true,"num":0}]"#)
        .await;
    clients[0].send_binary(&[1, 2, 3]).await;
    clients[1]
        .expect(r#"451-["x",{"_placeholder":true,"num":0}]"#)
        .await;
    clients[1].expect_binary(&[1, 2, 3]).await;
}

/// The real client posts the head of a binary event by polling and sends the attachment behind the
/// upgrade.
#[tokio::test]
async fn a_binary_event_may_straddle_the_upgrade() {
    let gateway = TestGateway::relay().await;
    let mut polling = gateway.polling().await;
    polling.connect().await;
    let mut websocket = polling.probe().await;
    polling
        .send(r#"451-7["echo",{"_placeholder":true,"num":0}]"#)
        .await;
    websocket.send("5").await;
    websocket.send_binary(&[1, 2, 3]).await;
    websocket
        .expect(r#"461-7[{"_placeholder":true,"num":0}]"#)
        .await;
    websocket.expect_binary(&[1, 2, 3]).await;
}

#[tokio::test]
async fn an_upgrade_loses_and_reorders_nothing() {
    let gateway = TestGateway::relay().await;
    let (mut sender, _) = gateway.client().await;
    let mut polling = gateway.polling().await;
    polling.connect().await;
    sender.send(r#"42["broadcast","n",0]"#).await;
    polling.expect(r#"42["n",0]"#).await;
    let mut websocket = polling.probe().await;
    sender.send(r#"42["broadcast","n",1]"#).await;
    sender.sync().await;
    polling.expect(r#"42["n",1]"#).await;
    for number in 2..10 {
        sender
            .send(&format!(r#"42["broadcast","n",{number}]"#))
            .await;
    }
    sender.sync().await;
    websocket.send("5").await;
    for number in 10..20 {
        sender
            .send(&format!(r#"42["broadcast","n",{number}]"#))
            .await;
    }
    for number in 2..20 {
        websocket.expect(&format!(r#"42["n",{number}]"#)).await;
    }
    let refused = polling.poll().await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.body, r#"{"code":3,"message":"Bad request"}"#);
}
