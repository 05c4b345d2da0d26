//! The application made of closures.

use std::sync::Arc;
use std::time::Duration;

use gateway::application::Refusal;
use gateway::handlers::Namespace;
use tokio::sync::{Notify, mpsc};

use crate::support::{Frame, TestGateway, config, soon};

fn log() -> (
    mpsc::UnboundedSender<String>,
    mpsc::UnboundedReceiver<String>,
) {
    mpsc::unbounded_channel()
}

async fn next(log: &mut mpsc::UnboundedReceiver<String>) -> String {
    soon(log.recv()).await.expect("somebody writes")
}

#[tokio::test]
async fn a_middleware_may_refuse_with_data() {
    let gateway = TestGateway::handlers(|main| {
        main.middleware(|socket| match socket.auth::<serde_json::Value>() {
            Ok(auth) if auth["token"] == "good" => Ok(()),
            _ => Err(Refusal::new("who are you?").with_data(&serde_json::json!({"code": 7}))),
        })
    })
    .await;
    let mut client = gateway.websocket().await;
    let refusal = r#"44{"message":"who are you?","data":{"code":7}}"#;
    for connect in ["40", r#"40{"token":"bad"}"#] {
        client.send(connect).await;
        client.expect(refusal).await;
    }
    assert_eq!(
        gateway.metric(r#"gateway_sockets{namespace="/"}"#).await,
        0.0
    );
    client.send(r#"40{"token":"good"}"#).await;
    assert!(client.next().await.starts_with("40"));
}

#[tokio::test]
async fn middlewares_run_in_their_order_and_the_first_refusal_counts() {
    let (sender, mut log) = log();
    let gateway = TestGateway::handlers(move |main| {
        let write = move |line: &str| sender.send(line.to_owned()).unwrap();
        let (first, second, third) = (write.clone(), write.clone(), write);
        main.middleware(move |_| {
            first("first");
            Ok(())
        })
        .middleware_async(move |socket| {
            let second = second.clone();
            async move {
                tokio::task::yield_now().await;
                assert!(!socket.is_connected());
                second("second");
                Err(Refusal::new("second"))
            }
        })
        .middleware_async(move |_| {
            let third = third.clone();
            async move {
                third("third");
                Ok(())
            }
        })
        .connected(|_| panic!("nobody was accepted"))
    })
    .await;
    let mut client = gateway.websocket().await;
    client.send("40").await;
    client.expect(r#"44{"message":"second"}"#).await;
    assert_eq!(next(&mut log).await, "first");
    assert_eq!(next(&mut log).await, "second");
    drop(gateway);
    assert_eq!(log.recv().await, None);
}

#[tokio::test]
async fn a_client_that_goes_while_it_is_decided_about_is_not_connected() {
    struct Dropped(mpsc::UnboundedSender<String>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.send("dropped".to_owned()).ok();
        }
    }
    let (sender, mut log) = log();
    let gateway = TestGateway::handlers(move |main| {
        main.middleware_async(move |socket| {
            socket.join(["early"]);
            let sender = sender.clone();
            async move {
                sender.send("deciding".to_owned()).unwrap();
                let _dropped = Dropped(sender);
                std::future::pending().await
            }
        })
        .connected(|_| panic!("nobody was accepted"))
        .disconnect(|_, _| panic!("nobody was connected"))
    })
    .await;
    let mut client = gateway.websocket().await;
    client.send("40").await;
    assert_eq!(next(&mut log).await, "deciding");
    assert!(
        gateway
            .gateway()
            .of("/")
            .fetch_sockets()
            .await
            .found
            .is_empty()
    );
    client.vanish();
    assert_eq!(next(&mut log).await, "dropped");
    gateway
        .until_metric(r#"gateway_connections{transport="websocket"}"#, 0.0)
        .await;
    assert_eq!(gateway.metric(r#"gateway_rooms{namespace="/"}"#).await, 0.0);
}

#[tokio::test]
async fn events_wait_for_the_one_before_but_heartbeats_and_acks_go_on() {
    let (sender, mut log) = log();
    let go_on = Arc::new(Notify::new());
    let wait = Arc::clone(&go_on);
    let mut config = config();
    config.engine.ping_interval = Duration::from_millis(20);
    let gateway = TestGateway::configured(config, move |main| {
        let slow = sender.clone();
        main.on_async("slow", move |socket, _| {
            let (slow, wait) = (slow.clone(), Arc::clone(&wait));
            async move {
                slow.send("slow begins".to_owned()).unwrap();
                let asked = socket.emit_with_ack("question", (), Duration::from_secs(60));
                asked.unwrap().await.unwrap();
                slow.send("slow was answered".to_owned()).unwrap();
                wait.notified().await;
                slow.send("slow ends".to_owned()).unwrap();
            }
        })
        .on("fast", move |_, event| {
            sender.send("fast".to_owned()).unwrap();
            event.ack((event.name(),)).unwrap();
        })
    })
    .await;
    let (mut client, _) = gateway.client().await;
    client.send(r#"42["slow"]"#).await;
    client.send(r#"421["fast"]"#).await;
    let question = client.answer().await;
    assert_eq!(next(&mut log).await, "slow begins");
    let id = question.trim_start_matches("42").split('[').next().unwrap();
    client.send(&format!("43{id}[]")).await;
    assert_eq!(next(&mut log).await, "slow was answered");
    for _ in 0..5 {
        client.expect("2").await;
        client.send("3").await;
    }
    assert!(log.try_recv().is_err());
    go_on.notify_one();
    assert_eq!(client.answer().await, r#"431["fast"]"#);
    assert_eq!(next(&mut log).await, "slow ends");
    assert_eq!(next(&mut log).await, "fast");
}

#[tokio::test]
async fn on_any_hears_every_event_before_its_handler() {
    let (sender, mut log) = log();
    let gateway = TestGateway::handlers(move |main| {
        let any = sender.clone();
        main.on_any(move |_, event| any.send(format!("any {}", event.name())).unwrap())
            .on("known", move |_, _| {
                sender.send("known".to_owned()).unwrap()
            })
    })
    .await;
    let (mut client, _) = gateway.client().await;
    client.send(r#"42["known"]"#).await;
    client.send(r#"42["unknown"]"#).await;
    for expected in ["any known", "known", "any unknown"] {
        assert_eq!(next(&mut log).await, expected);
    }
}

#[tokio::test]
async fn a_socket_keeps_data_from_its_middleware_to_its_end() {
    let (sender, mut log) = log();
    let gateway = TestGateway::handlers(move |main| {
        main.middleware(|socket| {
            socket.set_data(vec!["ann".to_owned()]);
            Ok(())
        })
        .disconnect(move |socket, _| {
            assert!(socket.data::<u32>().is_none());
            let data = socket.data::<Vec<String>>().unwrap();
            sender.send(data.concat()).unwrap();
        })
    })
    .await;
    let (client, _) = gateway.client().await;
    client.vanish();
    assert_eq!(next(&mut log).await, "ann");
}

/// Tells of everybody who goes: the reason, and the rooms before and after.
fn farewells(main: Namespace, sender: mpsc::UnboundedSender<String>) -> Namespace {
    let before = sender.clone();
    main.connected(|socket| socket.join(["r"]))
        .on("leave me", |socket, _| socket.disconnect(false))
        .on("close me", |socket, _| socket.disconnect(true))
        .disconnecting(move |socket, _| {
            assert_eq!(socket.rooms(), [socket.id().to_string(), "r".to_owned()]);
            before.send("disconnecting".to_owned()).unwrap();
        })
        .disconnect(move |socket, reason| {
            assert_eq!(socket.room_count(), 0);
            assert!(!socket.is_connected());
            sender.send(reason.as_node().to_owned()).unwrap();
        })
}

#[tokio::test]
async fn every_way_to_go_has_its_reason() {
    let (sender, mut log) = log();
    let gateway = TestGateway::handlers(|main| farewells(main, sender)).await;
    for (packet, reason) in [
        ("41", "client namespace disconnect"),
        (r#"42["leave me"]"#, "server namespace disconnect"),
        (r#"42["close me"]"#, "server namespace disconnect"),
        ("1", "transport close"),
        ("2", "transport error"),
        ("x", "parse error"),
        ("40", "forced close"),
        ("4nonsense", "forced close"),
    ] {
        let (mut client, _) = gateway.client().await;
        client.send(packet).await;
        assert_eq!(next(&mut log).await, "disconnecting", "{packet}");
        assert_eq!(next(&mut log).await, reason, "{packet}");
    }
    let (client, _) = gateway.client().await;
    client.vanish();
    assert_eq!(next(&mut log).await, "disconnecting");
    assert_eq!(next(&mut log).await, "transport close");
    let (mut client, _) = gateway.client().await;
    client.send_close().await;
    assert_eq!(next(&mut log).await, "disconnecting");
    assert_eq!(next(&mut log).await, "transport close");
    assert_eq!(client.frame().await, Frame::Close(None));
    let _client = gateway.client().await;
    gateway.stop().await;
    assert_eq!(next(&mut log).await, "disconnecting");
    assert_eq!(next(&mut log).await, "server shutting down");
    assert_eq!(log.recv().await, None);
}

#[tokio::test]
async fn a_client_that_does_not_answer_pings_times_out() {
    let (sender, mut log) = log();
    let mut config = config();
    config.engine.ping_interval = Duration::from_millis(20);
    config.engine.ping_timeout = Duration::from_millis(20);
    let gateway = TestGateway::configured(config, |main| farewells(main, sender)).await;
    let mut client = gateway.websocket().await;
    client.send("40").await;
    assert_eq!(next(&mut log).await, "disconnecting");
    assert_eq!(next(&mut log).await, "ping timeout");
    gateway
        .until_metric("gateway_heartbeat_timeouts_total", 1.0)
        .await;
    assert!(gateway.metric("gateway_heartbeats_sent_total").await >= 1.0);
}

#[tokio::test]
async fn an_abandoned_poll_is_a_transport_error() {
    let (sender, mut log) = log();
    let gateway = TestGateway::handlers(|main| farewells(main, sender)).await;
    let mut client = gateway.polling().await;
    client.connect().await;
    client.park().await;
    drop(client);
    assert_eq!(next(&mut log).await, "disconnecting");
    assert_eq!(next(&mut log).await, "transport error");
}
