//! A handler that panics.

use gateway::handlers::Namespace;

use crate::support::{TestGateway, WebSocket, until};

fn panicking(main: Namespace) -> Namespace {
    main.on("echo", |_, event| event.ack(event.arguments()).unwrap())
        .on("panic", |_, _| panic!("as the test wants it"))
        .on_async("panic later", |_, _| async {
            tokio::task::yield_now().await;
            panic!("as the test wants it")
        })
        .on("panic at the end", |socket, _| socket.set_data(true))
        .disconnecting(|socket, _| assert!(socket.data::<bool>().is_none(), "as the test wants it"))
        .disconnect(|socket, _| assert!(socket.data::<bool>().is_none(), "as the test wants it"))
        .middleware(|socket| {
            assert_ne!(
                &*socket.auth_json(),
                r#"{"panic":1}"#,
                "as the test wants it"
            );
            Ok(())
        })
}

/// Others on both shards are served, and new clients are.
async fn others_are_served(gateway: &TestGateway, others: &mut [WebSocket]) {
    for other in others {
        other.sync().await;
    }
    for mut other in gateway.clients(2).await {
        other.sync().await;
        other.vanish();
    }
}

#[tokio::test]
async fn a_panicking_handler_closes_its_session_alone() {
    for event in ["panic", "panic later"] {
        let gateway = TestGateway::handlers(panicking).await;
        let mut others = gateway.clients(2).await;
        for _ in 0..2 {
            let (mut client, _) = gateway.client().await;
            client.send(&format!(r#"42["{event}"]"#)).await;
            client.expect_close().await;
        }
        for _ in 0..2 {
            let mut client = gateway.polling().await;
            client.connect().await;
            let posted = client.post(&format!(r#"42["{event}"]"#)).await;
            assert_eq!(posted.body, "ok");
            assert!(["1", "6\x1e1"].contains(&client.poll().await.body.as_str()));
        }
        until(async || gateway.gateway().connections() == 2).await;
        others_are_served(&gateway, &mut others).await;
    }
}

#[tokio::test]
async fn a_panicking_middleware_refuses() {
    let gateway = TestGateway::handlers(panicking).await;
    let mut others = gateway.clients(2).await;
    for _ in 0..2 {
        let mut client = gateway.websocket().await;
        client.send(r#"40{"panic":1}"#).await;
        client.expect(r#"44{"message":"Internal error"}"#).await;
        client.connect().await;
        client.sync().await;
        client.vanish();
    }
    others_are_served(&gateway, &mut others).await;
}

#[tokio::test]
async fn a_panic_at_the_end_of_a_socket_leaves_nothing_behind() {
    let gateway = TestGateway::handlers(panicking).await;
    for last in ["41", "1", "2", ""] {
        for _ in 0..2 {
            let (mut client, _) = gateway.client().await;
            client.send(r#"42["panic at the end"]"#).await;
            client.sync().await;
            if last.is_empty() {
                client.vanish();
            } else {
                client.send(last).await;
                client.expect_close().await;
            }
        }
    }
    for _ in 0..2 {
        let mut polling = gateway.polling().await;
        polling.connect().await;
        polling.send(r#"42["panic at the end"]"#).await;
        polling.park().await;
        gateway.gateway().of("/").disconnect(true);
        polling.polled().await;
        polling.poll().await;
    }
    until(async || gateway.gateway().connections() == 0).await;
    gateway
        .until_metric(r#"gateway_sockets{namespace="/"}"#, 0.0)
        .await;
    others_are_served(&gateway, &mut []).await;
}
