//! Nodes that are joined in this process: one server for their clients.

use std::sync::Arc;
use std::time::Duration;

use adapter::memory::Cluster;
use adapter::{
    Adapter, ArgumentsBuf, Broadcast, ClusterMessage, EventBuf, NodeId, NodeTag, Selection,
};
use gateway::event::OwnedArguments;
use gateway::handlers::{Handlers, Namespace};
use gateway::{Config, Server};

use crate::support::{TestGateway, config, request, soon, until};

/// What is given comes in this time.
const LONG: Duration = Duration::from_secs(60);

/// What is not given is not waited for much longer than this.
const SHORT: Duration = Duration::from_millis(50);

fn node(cluster: &Cluster, name: &str, config: Config) -> Server {
    let (cluster, id) = (cluster.clone(), NodeId::new(name).unwrap());
    Server::new(config).adapter(move |tag, inbox| Arc::new(cluster.join(id, tag, inbox)))
}

async fn relays(names: [&str; 2]) -> (Cluster, [TestGateway; 2]) {
    let cluster = Cluster::default();
    let [a, b] = names.map(|name| node(&cluster, name, config()));
    let nodes = [TestGateway::start(a).await, TestGateway::start(b).await];
    (cluster, nodes)
}

async fn handlers(
    define: impl Fn(Namespace) -> Namespace,
    config: impl Fn() -> Config,
) -> (Cluster, [TestGateway; 2]) {
    let cluster = Cluster::default();
    let start = |name| {
        let handlers = Handlers::new().namespace("/", &define);
        TestGateway::start(node(&cluster, name, config()).application(handlers))
    };
    let nodes = [start("a").await, start("b").await];
    (cluster, nodes)
}

#[tokio::test]
async fn a_publish_reaches_members_on_every_node_once_and_not_the_sender() {
    let (_cluster, [a, b]) = relays(["a", "b"]).await;
    let (mut sender, _) = a.client().await;
    let (mut member, _) = b.client().await;
    let (mut stranger, _) = b.client().await;
    for client in [&mut sender, &mut member] {
        client.send(r#"421["join",["r","s"]]"#).await;
        client.expect(r#"431[{"ok":true}]"#).await;
    }
    sender.send(r#"422["publish",["r","s"],"hi",1]"#).await;
    sender.expect(r#"432[{"ok":true}]"#).await;
    sender.send(r#"423["broadcast","all",2]"#).await;
    sender.expect(r#"433[{"ok":true}]"#).await;
    member.expect(r#"42["hi",1]"#).await;
    member.expect(r#"42["all",2]"#).await;
    stranger.expect(r#"42["all",2]"#).await;
    for client in [&mut sender, &mut member, &mut stranger] {
        client.sync().await;
    }
}

#[tokio::test]
async fn binary_reaches_the_other_node() {
    let (_cluster, [a, b]) = relays(["a", "b"]).await;
    let (mut sender, _) = a.client().await;
    let (mut other, _) = b.client().await;
    sender
        .send(r#"451-["broadcast","bin",{"_placeholder":true,"num":0}]"#)
        .await;
    sender.send_binary(b"\x01\x02").await;
    other
        .expect(r#"451-["bin",{"_placeholder":true,"num":0}]"#)
        .await;
    other.expect_binary(b"\x01\x02").await;
}

#[tokio::test]
async fn an_emit_to_the_id_of_a_socket_finds_it_on_its_node() {
    let (_cluster, [a, b]) = relays(["a", "b"]).await;
    let (mut client, id) = b.client().await;
    let (mut other, _) = b.client().await;
    let emitter = a.gateway().of("/");
    emitter.clone().to(&*id).emit("you", ()).unwrap();
    emitter.clone().except(&*id).emit("others", ()).unwrap();
    emitter.local().emit("nobody", ()).unwrap();
    client.expect(r#"42["you"]"#).await;
    client.sync().await;
    other.expect(r#"42["others"]"#).await;
    other.sync().await;
}

#[tokio::test]
async fn acknowledgements_of_all_nodes_come_together() {
    let (_cluster, [a, b]) = handlers(|main| main.on("echo", |_, _| ()), config).await;
    let (mut here, _) = a.client().await;
    let (mut there, _) = b.client().await;
    let asking = a.gateway().of("/").emit_with_ack("who", (), LONG).unwrap();
    let asking = tokio::spawn(asking);
    for (client, name) in [(&mut here, "here"), (&mut there, "there")] {
        let asked = client.next().await;
        let id = asked.strip_prefix("42").unwrap().replace("[\"who\"]", "");
        client.send(&format!("43{id}[\"{name}\"]")).await;
    }
    let answers = asking.await.unwrap().unwrap();
    let mut answers: Vec<_> = answers
        .iter()
        .map(|answer| answer.parse::<(String,)>().unwrap().0)
        .collect();
    answers.sort_unstable();
    assert_eq!(answers, ["here", "there"]);
}

#[tokio::test]
async fn who_does_not_acknowledge_is_counted_as_missing() {
    let (_cluster, [a, b]) = handlers(|main| main, config).await;
    let (_silent, _) = b.client().await;
    let asked = a.gateway().of("/").emit_with_ack("who", (), SHORT);
    let missing = asked.unwrap().await.unwrap_err();
    assert_eq!(missing.answers.len(), 0);
    assert_eq!(missing.expected, 1);
    assert_eq!(missing.missing_nodes, ["b"]);
}

/// A value that a socket keeps, by which one sees whether the socket itself is kept.
struct Probe(Arc<()>);

impl serde::Serialize for Probe {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let _ = &self.0;
        serializer.serialize_unit()
    }
}

#[tokio::test]
async fn a_socket_that_went_is_not_kept_for_an_acknowledgement_that_another_node_awaits() {
    let probe = Arc::new(());
    let kept = Arc::downgrade(&probe);
    let cluster = Cluster::default();
    let handlers = Handlers::new().namespace("/", move |main| {
        main.on("keep", move |socket, event| {
            socket.set_data(Probe(kept.upgrade().unwrap()));
            event.ack(()).unwrap();
        })
    });
    let gateway = TestGateway::start(node(&cluster, "a", config()).application(handlers)).await;
    let (mut first, _) = gateway.client().await;
    let (mut second, _) = gateway.client().await;
    for client in [&mut first, &mut second] {
        client.send(r#"421["keep"]"#).await;
        client.expect("431[]").await;
    }
    assert_eq!(Arc::strong_count(&probe), 3);

    let (heard, _) = std::sync::mpsc::sync_channel(100);
    let inbox = move |incoming| drop(heard.try_send(incoming));
    let peer = cluster.join(NodeId::new("b").unwrap(), tag(), Arc::new(inbox));
    let mut selection = Selection::everybody();
    selection.flags.timeout = Some(Duration::from_secs(3600));
    let event = EventBuf {
        name: "who".to_owned(),
        arguments: ArgumentsBuf::default(),
    };
    let message = ClusterMessage::Broadcast(Broadcast { selection, event });
    for _ in 0..3 {
        peer.request("/", &peer.new_request(), &message);
        // One never answers, and the other answers.
        let asked = first.next().await;
        let id = asked.strip_prefix("42").unwrap().replace("[\"who\"]", "");
        first.send(&format!("43{id}[1]")).await;
        second.next().await;
    }
    first.vanish();
    until(async || Arc::strong_count(&probe) == 2).await;
    second.vanish();
    until(async || Arc::strong_count(&probe) == 1).await;
}

fn tag() -> NodeTag {
    NodeTag::new("peer").unwrap()
}

#[tokio::test]
async fn sockets_of_all_nodes_are_found_joined_moved_and_disconnected() {
    let (_cluster, [a, b]) = relays(["a", "b"]).await;
    let (mut here, here_id) = a.client().await;
    let (mut there, there_id) = b.client().await;
    let all = a.gateway().of("/");

    let found = all.fetch_sockets().await;
    assert!(found.is_complete());
    let mut found: Vec<_> = found
        .found
        .iter()
        .map(|it| (&*it.id, it.node.as_deref()))
        .collect();
    found.sort_unstable_by_key(|it| it.1);
    assert_eq!(found, [(&*here_id, Some("a")), (&*there_id, Some("b"))]);

    all.join(["r"]);
    until(async || all.clone().to("r").fetch_sockets().await.found.len() == 2).await;
    let rooms = b.gateway().of("/").rooms().await.found;
    assert!(
        rooms.contains(&"r".to_owned()) && rooms.contains(&here_id),
        "{rooms:?}"
    );
    all.clone().to("r").emit("joined", ()).unwrap();
    for client in [&mut here, &mut there] {
        client.expect(r#"42["joined"]"#).await;
    }
    all.clone().to(&*there_id).leave(["r"]);
    until(async || all.clone().to("r").fetch_sockets().await.found.len() == 1).await;
    all.clone().except(&*here_id).disconnect(true);
    there.expect("41").await;
    there.expect_close().await;
    here.sync().await;
}

/// A name as Firestore makes them.
const NAME: &str = "Xq3vB0yT7mKd9RfLw2Zs";

#[tokio::test]
async fn a_room_may_be_as_long_as_an_id_on_every_node_and_no_id() {
    let (cluster, [a, b]) = relays(["a", "b"]).await;
    let (mut here, here_id) = a.client().await;
    let (mut there, there_id) = b.client().await;
    for client in [&mut here, &mut there] {
        client.send(&format!(r#"421["join","{NAME}"]"#)).await;
        client.expect(r#"431[{"ok":true}]"#).await;
        for id in [&here_id, &there_id] {
            client.send(&format!(r#"422["join",["r","{id}"]]"#)).await;
            let answer = client.next().await;
            assert!(answer.contains("forbidden_room"), "{answer}");
        }
    }
    let publish = format!(r#"42["publish","{NAME}","x"]"#);
    here.send(&publish).await;
    there.expect(r#"42["x"]"#).await;
    there.send(&publish).await;
    here.expect(r#"42["x"]"#).await;
    let room = a.gateway().of("/").to(NAME);
    assert_eq!(room.fetch_sockets().await.found.len(), 2);

    // A node of an earlier version makes ids that only its tag tells.
    let peer = cluster.join(NodeId::new("c").unwrap(), tag(), Arc::new(drop));
    here.send(r#"424["join","peerBY2mKd9RfLw2Zs7x"]"#).await;
    let answer = here.next().await;
    assert!(answer.contains("forbidden_room"), "{answer}");
    drop(peer);
    here.send(r#"425["join","peerBY2mKd9RfLw2Zs7x"]"#).await;
    here.expect(r#"435[{"ok":true}]"#).await;
}

#[tokio::test]
async fn a_room_that_may_be_a_sockets_own_is_not_joined_while_nobody_can_be_asked() {
    let (cluster, [a, _b]) = relays(["a", "b"]).await;
    let (mut client, _) = a.client().await;
    client.send(&format!(r#"421["join","{NAME}"]"#)).await;
    client.expect(r#"431[{"ok":true}]"#).await;
    cluster.kill(&NodeId::new("a").unwrap());
    // It was asked about.
    client.send(&format!(r#"422["join","{NAME}"]"#)).await;
    client.expect(r#"432[{"ok":true}]"#).await;
    client
        .send(r#"423["join",["r","9m4e2mr0ui3e8a215n4g"]]"#)
        .await;
    let answer = client.next().await;
    assert!(answer.contains(r#""code":"unavailable""#), "{answer}");
    let rooms = a.gateway().of("/").local().rooms().await.found;
    assert!(!rooms.iter().any(|room| room == "r"), "{rooms:?}");
}

#[tokio::test]
async fn an_answer_names_the_node_that_died_until_it_has_left() {
    let (cluster, [a, b]) = relays(["a", "b"]).await;
    let (_there, _) = b.client().await;
    let dead = NodeId::new("b").unwrap();
    cluster.kill(&dead);
    let found = a.gateway().of("/").fetch_sockets().await;
    assert_eq!(found.found.len(), 0);
    assert_eq!(found.missing_nodes, ["b"]);
    assert!(!found.is_complete());
    let partial = r#"gateway_cluster_requests_total{result="partial",type="sockets"}"#;
    assert_eq!(a.metric(partial).await, 1.0);
    cluster.forget(&dead);
    assert!(a.gateway().of("/").fetch_sockets().await.is_complete());
    assert_eq!(a.gateway().nodes().len(), 1);
}

#[tokio::test]
async fn servers_emit_to_each_other() {
    let (_cluster, [a, b]) = handlers(
        |main| {
            main.on_server_side("add", |gateway, event| {
                let (x, y): (u32, u32) = event.parse().unwrap();
                gateway.of("/").local().emit("sum", (x + y,)).unwrap();
                if let Some(ack) = event.take_ack() {
                    ack.send((x + y,)).unwrap();
                }
            })
        },
        config,
    )
    .await;
    let (mut there, _) = b.client().await;
    let servers = a.gateway().of("/");
    servers.server_side_emit("add", (1, 2)).unwrap();
    there.expect(r#"42["sum",3]"#).await;
    let answers = servers
        .server_side_emit_with_ack("add", (3, 4))
        .unwrap()
        .await;
    assert!(answers.is_complete());
    assert_eq!(answers.found.len(), 1);
    assert_eq!(answers.found[0].parse::<(u32,)>().unwrap(), (7,));
}

#[tokio::test]
async fn a_server_that_does_not_handle_an_event_says_so_at_once() {
    let forgets =
        |main: Namespace| main.on_server_side("forgotten", |_, event| drop(event.take_ack()));
    let patient = || {
        let mut config = config();
        config.cluster.request_timeout = LONG;
        config
    };
    let (_cluster, [a, _b]) = handlers(forgets, patient).await;
    for event in ["unknown", "forgotten"] {
        let answers = a.gateway().of("/").server_side_emit_with_ack(event, ());
        let answers = soon(answers.unwrap()).await;
        assert!(answers.is_complete());
        assert_eq!(answers.found, [OwnedArguments::default()]);
    }
}

#[tokio::test]
async fn a_node_of_a_cluster_is_ready_and_counts_what_it_hears() {
    let (_cluster, [a, b]) = relays(["a", "b"]).await;
    let (mut here, _) = a.client().await;
    let (_there, _) = b.client().await;
    assert_eq!(
        request(a.internal_address(), "GET /ready", "").await.status,
        200
    );
    b.gateway().of("/").emit("x", ()).unwrap();
    here.expect(r#"42["x"]"#).await;
    assert_eq!(a.metric("gateway_adapter_up").await, 1.0);
    assert_eq!(a.metric("gateway_cluster_nodes").await, 2.0);
    let heard = r#"gateway_broadcasts_total{origin="cluster"}"#;
    a.until_metric(heard, 2.0).await;
}

#[tokio::test]
async fn recovery_wants_a_wire_that_has_a_store() {
    let mut settings = config();
    settings.recovery.window = Some(Duration::from_secs(60));
    let server = node(&Cluster::default(), "a", settings);
    let Err(error) = server.start().await else {
        panic!("a node of a cluster without a store started");
    };
    assert!(
        error.to_string().starts_with("recovery.window: "),
        "{error}"
    );
}
