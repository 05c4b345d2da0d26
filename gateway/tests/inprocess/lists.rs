//! Lists of all nodes: in parts, so that no answer is large, and nothing in them that nobody asked for.

use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::time::Duration;

use adapter::memory::{Cluster, MemoryAdapter};
use adapter::{
    Adapter, Answer, ClusterMessage, Entries, Inbox, Incoming, Interest, List, ListRequest, NodeId,
    NodeTag, Piece, Selection, SocketDetails,
};
use gateway::{Config, Server};
use serde_json::Value;

use crate::support::{Polling, TestGateway, config, request_with, until};

const KEY: &str = "a key that only tests know";

/// Sockets of the node that is made up.
const MANY: usize = 100_000;

async fn relay(cluster: &Cluster, name: &str) -> TestGateway {
    let mut config = config();
    let toml = format!("[api]\nkey = \"{KEY}\"");
    config.api = Config::from_toml(&toml).unwrap().api;
    // All nodes are there from the start: one is missing only if it does not answer, however busy the machine is.
    config.cluster.request_timeout = Duration::from_secs(30);
    let (cluster, id) = (cluster.clone(), NodeId::new(name).unwrap());
    let server = Server::new(config);
    TestGateway::start(server.adapter(move |tag, inbox| Arc::new(cluster.join(id, tag, inbox))))
        .await
}

async fn get(gateway: &TestGateway, target: &str) -> Value {
    let key = format!("Authorization: Bearer {KEY}\r\n");
    let head = format!("GET /api/v1/{target}");
    let answer = request_with(gateway.internal_address(), &head, &key, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

/// The same, and no node is missing.
async fn get_whole(gateway: &TestGateway, target: &str) -> Value {
    let page = get(gateway, target).await;
    assert_eq!(page["missing_nodes"], serde_json::json!([]), "{target}");
    page
}

/// A node without a gateway, which has [`MANY`] sockets of half as many users, or says what it heard.
#[derive(Default)]
struct Peer {
    adapter: OnceLock<MemoryAdapter>,
    asked: Mutex<Vec<ListRequest>>,
    other: Mutex<Vec<ClusterMessage>>,
    answers: Mutex<Vec<Answer>>,
}

impl Inbox for Peer {
    fn handle(&self, incoming: Incoming) {
        match incoming {
            Incoming::Message {
                message: ClusterMessage::List(request),
                reply_to: Some(to),
                ..
            } => {
                let piece = Answer::Piece(piece(&request));
                self.asked.lock().unwrap().push(request);
                self.adapter.get().unwrap().respond("/", &to, &piece);
            }
            Incoming::Message { message, .. } => self.other.lock().unwrap().push(message),
            Incoming::Response { response, .. } => {
                self.answers.lock().unwrap().push(response.answer);
            }
            Incoming::Members(_) | Incoming::Up(_) | Incoming::Store { .. } => {}
        }
    }
}

impl Peer {
    fn join(cluster: &Cluster) -> (Arc<Self>, Interest) {
        let peer = Arc::new(Self::default());
        let id = NodeId::new("peer").unwrap();
        let tag = NodeTag::new("peer").unwrap();
        let adapter = cluster.join(id, tag, Arc::clone(&peer) as Arc<dyn Inbox>);
        let interest = adapter.open_namespace("/");
        assert!(peer.adapter.set(adapter).is_ok());
        (peer, interest)
    }
}

/// The ids of the sockets of [`Peer`], and the names of its rooms or users with their counts; both in order.
static IDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let ids = (0..MANY).map(|number| format!("peerB{number:0>15}"));
    ids.collect()
});
static NAMES: LazyLock<Vec<(String, u64)>> = LazyLock::new(|| {
    let names = (0..MANY / 2).map(|number| (format!("name-{number:0>6}"), 2));
    [(String::new(), 7)].into_iter().chain(names).collect()
});

fn piece(request: &ListRequest) -> Piece {
    let is_before = |name: &str| request.after.as_ref().is_some_and(|it| *name <= **it);
    let (entries, behind) = match request.list {
        List::Sockets { .. } => {
            let behind = &IDS[IDS.partition_point(|id| is_before(id))..];
            let sockets = behind.iter().take(request.limit).map(|id| SocketDetails {
                handshake: "{}".to_owned(),
                rooms: vec![id.clone(), "r".to_owned()],
                data: "{}".to_owned(),
                extra: None,
                id: id.clone(),
            });
            (Entries::Sockets(sockets.collect()), behind.len())
        }
        List::Rooms { .. } | List::Users => {
            let behind = &NAMES[NAMES.partition_point(|(name, _)| is_before(name))..];
            let counts = behind.iter().take(request.limit).cloned();
            (Entries::Counts(counts.collect()), behind.len())
        }
    };
    Piece {
        entries,
        more: behind > request.limit,
        cut: false,
    }
}

#[tokio::test]
async fn lists_of_any_length_come_in_parts() {
    let cluster = Cluster::default();
    let nodes = [relay(&cluster, "a").await, relay(&cluster, "b").await];
    let (peer, _open) = Peer::join(&cluster);
    let mut clients = Vec::new();
    for (number, node) in nodes.iter().cycle().take(20).enumerate() {
        let (mut client, id) = node.client().await;
        client
            .send(&format!(r#"421["join",["r","room-{number}"]]"#))
            .await;
        client.expect(r#"431[{"ok":true}]"#).await;
        clients.push((client, id));
    }

    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let target = format!("sockets?room=r&limit=1000&cursor={cursor}");
        let page = get_whole(&nodes[0], &target).await;
        let entries = page["sockets"].as_array().unwrap();
        assert!(entries.len() <= 1000);
        ids.extend(
            entries
                .iter()
                .map(|it| it["id"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert!(ids.is_sorted_by(|a, b| a < b));
    assert_eq!(ids.len(), MANY + 20);
    assert!(clients.iter().all(|(_, id)| ids.contains(id)));

    let page = get_whole(&nodes[1], "rooms?limit=3&cursor=name-049998").await;
    assert_eq!(
        page["rooms"],
        serde_json::json!([
            {"name": "name-049999", "members": 2},
            {"name": "r", "members": 20},
            {"name": "room-0", "members": 1},
        ])
    );
    assert_eq!(page["next"], "room-0");
    let page = get_whole(&nodes[1], "presence?limit=2&cursor=name-049997").await;
    assert_eq!(page["users"].as_array().unwrap().len(), 2);
    assert_eq!(page["next"], Value::Null);
    assert_eq!(page["user_count"], MANY / 2);
    assert_eq!(page["anonymous"], 7 + 20);
    assert_eq!(page["socket_count"], MANY + 7 + 20);
    let page = get_whole(&nodes[1], "presence?counts=true").await;
    assert_eq!(
        (&page["users"], &page["user_count"]),
        (&serde_json::json!([]), &(MANY / 2).into())
    );

    for asked in peer.asked.lock().unwrap().iter() {
        assert!(
            asked.limit <= 5000 && asked.bytes <= 256 * 1024,
            "{asked:?}"
        );
        assert_ne!(asked.list, List::Sockets { handshakes: true });
    }
    let whole = |message: &ClusterMessage| {
        matches!(
            message,
            ClusterMessage::FetchSockets { .. } | ClusterMessage::AllRooms
        )
    };
    assert!(!peer.other.lock().unwrap().iter().any(whole));
}

#[tokio::test]
async fn what_clients_sent_crosses_only_if_somebody_asks_for_it() {
    let cluster = Cluster::default();
    let nodes = [relay(&cluster, "a").await, relay(&cluster, "b").await];
    let (peer, _open) = Peer::join(&cluster);
    let mut clients = Vec::new();
    for node in &nodes {
        let mut client = Polling::open_with(node.address(), "Cookie: secret=1\r\n").await;
        client.connect().await;
        clients.push(client);
    }
    let everybody = nodes[0].gateway().of("/").except("nobody");
    let tells = |json: String| json.contains("secret=1");
    let page = everybody.fetch_sockets_page(Some("peerZ"), 10).await;
    assert!(page.is_complete());
    let found = everybody.fetch_sockets_page(None, 10).await.found.entries;
    assert!(!found.iter().any(|it| tells(it.handshake_json())));
    let address = |json: String| json.contains("\"address\":\"127.0.0.1\"");
    let own = found.iter().filter(|it| address(it.handshake_json()));
    let asked = everybody.with_handshakes().fetch_sockets().await.found;
    assert_eq!(asked.len(), MANY + 2);
    assert_eq!(
        asked.iter().filter(|it| tells(it.handshake_json())).count(),
        2
    );
    assert!(own.count() <= 2);
    let asked = peer.asked.lock().unwrap();
    let named = |handshakes| {
        asked
            .iter()
            .filter(|it| it.list == List::Sockets { handshakes })
            .count()
    };
    assert_eq!((named(false), named(true)), (2, asked.len() - 2));
}

#[tokio::test]
async fn an_answer_that_is_too_large_for_a_message_leaves_out_what_clients_sent() {
    let cluster = Cluster::default();
    let node = relay(&cluster, "a").await;
    let (peer, _open) = Peer::join(&cluster);
    let cookie = format!("Cookie: {}\r\n", "x".repeat(14_000));
    let mut clients = Vec::new();
    let ask = || {
        let adapter = peer.adapter.get().unwrap();
        let selection = Selection::everybody();
        adapter.request(
            "/",
            &adapter.new_request(),
            &ClusterMessage::FetchSockets { selection },
        );
    };
    for (count, is_told) in [(20, true), (580, false)] {
        for _ in 0..count {
            let mut client = Polling::open_with(node.address(), &cookie).await;
            client.connect().await;
            clients.push(client);
        }
        ask();
        until(async || !peer.answers.lock().unwrap().is_empty()).await;
        let Some(Answer::Sockets(sockets)) = peer.answers.lock().unwrap().pop() else {
            panic!("another answer");
        };
        assert_eq!(sockets.len(), clients.len());
        let tells = |it: &SocketDetails| it.handshake.contains("xxxx");
        assert_eq!(sockets.iter().any(tells), is_told);
        assert!(sockets.iter().map(SocketDetails::size).sum::<usize>() < 16 << 20);
    }
}

#[tokio::test]
async fn an_answer_that_fits_into_no_message_is_counted() {
    let cluster = Cluster::default();
    let node = relay(&cluster, "a").await;
    let (peer, _open) = Peer::join(&cluster);
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(node.client().await);
    }
    let rooms = (0..1000).map(|number| format!("{number:0>500}"));
    node.gateway().of("/").join(rooms);
    let adapter = peer.adapter.get().unwrap();
    let selection = Selection::everybody();
    let message = ClusterMessage::FetchSockets { selection };
    adapter.request("/", &adapter.new_request(), &message);
    node.until_metric("gateway_cluster_answers_refused_total", 1.0)
        .await;
    assert_eq!(*peer.answers.lock().unwrap(), []);

    let found = node
        .gateway()
        .of("/")
        .local()
        .fetch_sockets_page(None, 100)
        .await;
    let page = found.found;
    assert!(found.missing_nodes.is_empty() && !found.truncated);
    assert!(
        page.entries.len() < 40 && page.next.is_some(),
        "{}",
        page.entries.len()
    );
}
