//! The admin page: who may open it, what it is told, and what it may do. The page's own program is a scripted client
//! here; gateway/tests/cluster has the official page.

use std::sync::Arc;

use adapter::NodeId;
use adapter::memory::Cluster;
use gateway::{Config, Server};
use serde_json::{Value, json};

use crate::support::{TestGateway, WebSocket, config, until};

/// Of the password `s3cret`; the least work that there is.
pub(crate) const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuLZYjhNQAOdpbzt4WxWlUHjv1wsyH5DG";

const LOGIN: &str = r#"{"username":"admin","password":"s3cret"}"#;

/// With an admin page, and more settings of it.
fn with_page(settings: &str) -> Config {
    let text = format!(
        "cluster.secret = \"0123456789abcdef\"\nredis.url = \"redis://127.0.0.1:9\"\n\
         [admin]\nuser = \"admin\"\npassword = \"{HASH}\"\n{settings}"
    );
    let read = Config::from_toml(&text).unwrap();
    let mut config = config();
    (config.admin, config.cluster.secret) = (read.admin, read.cluster.secret);
    config
}

async fn start(settings: &str) -> TestGateway {
    TestGateway::start(Server::new(with_page(settings))).await
}

/// Nodes of one cluster, by these names.
async fn nodes<const N: usize>(settings: &str, names: [&str; N]) -> (Cluster, Vec<TestGateway>) {
    let cluster = Cluster::default();
    let mut nodes = Vec::new();
    for name in names {
        let (cluster, id) = (cluster.clone(), NodeId::new(name).unwrap());
        let server = Server::new(with_page(settings));
        let server = server.adapter(move |tag, inbox| Arc::new(cluster.join(id, tag, inbox)));
        nodes.push(TestGateway::start(server).await);
    }
    (cluster, nodes)
}

/// A page that sent its `CONNECT`.
async fn page(node: &TestGateway, auth: &str) -> WebSocket {
    let mut page = node.websocket().await;
    page.send(&format!("40/admin,{auth}")).await;
    page
}

/// A page that is logged in, and the id of its socket.
async fn logged_in(node: &TestGateway) -> (WebSocket, String) {
    let mut page = page(node, LOGIN).await;
    let answer = page.answer().await;
    let sid = answer.strip_prefix("40/admin,").expect(&answer);
    let sid: Value = serde_json::from_str(sid).unwrap();
    (page, sid["sid"].as_str().unwrap().to_owned())
}

/// The next event, its name first.
async fn event(page: &mut WebSocket) -> Vec<Value> {
    let packet = page.answer().await;
    let event = packet.strip_prefix("42/admin,").expect(&packet);
    serde_json::from_str(event).unwrap()
}

/// The next event of this name.
async fn next(page: &mut WebSocket, name: &str) -> Vec<Value> {
    loop {
        let event = event(page).await;
        if event[0] == name {
            return event;
        }
    }
}

/// The next event that is no numbers.
async fn detail(page: &mut WebSocket) -> Vec<Value> {
    loop {
        let event = event(page).await;
        if event[0] != "server_stats" {
            return event;
        }
    }
}

async fn operate(page: &mut WebSocket, operation: &Value) {
    page.send(&format!("42/admin,{operation}")).await;
}

#[tokio::test]
async fn a_page_logs_in_and_comes_back_by_its_session() {
    let (_cluster, nodes) = nodes("", ["a", "b"]).await;
    let (mut first, _) = logged_in(&nodes[0]).await;
    let session = event(&mut first).await;
    assert_eq!(session[0], "session");
    let id = session[1].as_str().unwrap();
    assert!(id.len() >= 64, "{id}");
    assert_eq!(event(&mut first).await[0], "config");

    let auth = json!({"sessionId": id}).to_string();
    for node in &nodes {
        let mut again = page(node, &auth).await;
        assert!(again.answer().await.starts_with("40/admin,{\"sid\""));
        // It has its session already.
        assert_eq!(event(&mut again).await[0], "config");
    }
    let login = |result: &str| format!("gateway_admin_logins_total{{result=\"{result}\"}}");
    assert_eq!(nodes[0].metric(&login("accepted")).await, 1.0);
    assert_eq!(nodes[0].metric(&login("resumed")).await, 1.0);
    assert_eq!(nodes[1].metric(&login("resumed")).await, 1.0);
}

#[tokio::test]
async fn nobody_else_gets_in() {
    let node = start("").await;
    // What @socket.io/admin-ui answers, byte for byte.
    let invalid = r#"44/admin,{"message":"invalid credentials"}"#;
    for auth in [
        "",
        "{}",
        r#"{"username":"admin"}"#,
        r#"{"username":"admin","password":"nope"}"#,
        r#"{"username":"Admin","password":"s3cret"}"#,
        r#"{"username":"","password":""}"#,
        r#"{"username":["admin"],"password":{"length":6}}"#,
        r#"{"sessionId":"zzz"}"#,
        r#"{"sessionId":"874ac7cc4b064911"}"#,
    ] {
        let mut page = page(&node, auth).await;
        page.expect(invalid).await;
        // It is in no namespace: what it does ends its session.
        page.send(r#"42/admin,["_disconnect","/",true]"#).await;
        page.expect_close().await;
    }
    assert_eq!(node.metric("gateway_admin_pages").await, 0.0);
    let refused = r#"gateway_admin_logins_total{result="refused"}"#;
    assert_eq!(node.metric(refused).await, 9.0);
}

#[tokio::test]
async fn an_address_tries_so_many_passwords_in_a_minute() {
    let node = start("").await;
    let wrong = r#"{"username":"admin","password":"nope"}"#;
    for _ in 0..10 {
        page(&node, wrong).await.answer().await;
    }
    for auth in [wrong, LOGIN] {
        let answer = page(&node, auth).await.answer().await;
        assert!(answer.contains("too many attempts"), "{answer}");
    }
    let too_many = r#"gateway_admin_logins_total{result="too_many"}"#;
    assert_eq!(node.metric(too_many).await, 2.0);
}

#[tokio::test]
async fn a_page_is_told_what_it_may_do() {
    let all = "EMIT JOIN LEAVE DISCONNECT MJOIN MLEAVE MDISCONNECT AGGREGATED_EVENTS";
    // As @socket.io/admin-ui tells it in each mode.
    for (settings, expected) in [
        ("", all.to_owned()),
        ("mode = \"development\"", format!("{all} ALL_EVENTS")),
        ("read_only = true", "AGGREGATED_EVENTS".to_owned()),
        (
            "read_only = true\nmode = \"development\"",
            "AGGREGATED_EVENTS ALL_EVENTS".to_owned(),
        ),
    ] {
        let node = start(settings).await;
        let (mut page, _) = logged_in(&node).await;
        let config = next(&mut page, "config").await;
        let features: Vec<_> = expected.split(' ').collect();
        assert_eq!(config[1], json!({"supportedFeatures": features}));
    }
}

#[tokio::test]
async fn every_node_tells_its_numbers_at_once_and_then_again_and_again() {
    let (_cluster, nodes) = nodes("", ["a", "b"]).await;
    let mut clients = nodes[1].clients(2).await;
    clients.push(nodes[0].client().await.0);
    let (mut page, _) = logged_in(&nodes[0]).await;
    let mut seen = std::collections::BTreeMap::new();
    while seen.len() < 2 {
        let stats = next(&mut page, "server_stats").await.remove(1);
        let server = stats["serverId"].as_str().unwrap().to_owned();
        seen.insert(server, stats);
    }
    let (a, b) = (&seen["a"], &seen["b"]);
    assert_eq!([&a["clientsCount"], &b["clientsCount"]], [2, 2]);
    assert_eq!(a["pollingClientsCount"], 0);
    let sockets = |stats: &Value, name: &str| {
        let mut namespaces = stats["namespaces"].as_array().unwrap().iter();
        let found = namespaces.find(|it| it["name"] == name);
        found.map_or(0, |it| it["socketsCount"].as_u64().unwrap())
    };
    assert_eq!([sockets(a, "/"), sockets(a, "/admin")], [1, 1]);
    assert_eq!([sockets(b, "/"), sockets(b, "/admin")], [2, 0]);
    for field in ["hostname", "pid", "uptime", "aggregatedEvents"] {
        assert!(!a[field].is_null(), "{field} of {a}");
    }
    clients.push(nodes[1].client().await.0);
    loop {
        let stats = next(&mut page, "server_stats").await.remove(1);
        if stats["serverId"] == "b" && stats["clientsCount"] == 3 {
            let opened = json!({"type": "rawConnection", "count": 1});
            let events = stats["aggregatedEvents"].as_array().unwrap();
            let is_opened = |it: &&Value| it["type"] == opened["type"];
            assert_eq!(events.iter().find(is_opened).unwrap()["count"], 1);
            break;
        }
    }
}

#[tokio::test]
async fn a_page_disconnects_joins_leaves_and_emits_on_all_nodes() {
    let (_cluster, nodes) = nodes("", ["a", "b"]).await;
    let (mut ann, ann_id) = nodes[0].client().await;
    let (mut bob, bob_id) = nodes[1].client().await;
    let (mut page, _) = logged_in(&nodes[0]).await;

    operate(&mut page, &json!(["join", "/", "room", bob_id])).await;
    operate(&mut page, &json!(["emit", "/", "room", "one", {"a": 1}, 2])).await;
    bob.expect(r#"42["one",{"a":1},2]"#).await;
    operate(&mut page, &json!(["join", "/", "room"])).await;
    operate(&mut page, &json!(["emit", "/", "room", "both"])).await;
    for client in [&mut ann, &mut bob] {
        client.expect(r#"42["both"]"#).await;
    }
    operate(&mut page, &json!(["leave", "/", "room", ann_id])).await;
    operate(&mut page, &json!(["emit", "/", "room", "one again"])).await;
    operate(&mut page, &json!(["emit", "/", null, "all"])).await;
    ann.expect(r#"42["all"]"#).await;
    bob.expect(r#"42["one again"]"#).await;
    bob.expect(r#"42["all"]"#).await;

    operate(&mut page, &json!(["_disconnect", "/", false, ann_id])).await;
    ann.expect("41").await;
    operate(&mut page, &json!(["_disconnect", "/", true, bob_id])).await;
    bob.expect("41").await;
    bob.expect_close().await;
    let done = r#"gateway_admin_operations_total{operation="disconnect",result="done"}"#;
    assert_eq!(nodes[0].metric(done).await, 2.0);
}

#[tokio::test]
async fn what_a_page_must_not_do_is_refused_and_counted() {
    let node = start("").await;
    let (mut ann, ann_id) = node.client().await;
    let (mut page, page_id) = logged_in(&node).await;
    let operations = [
        json!(["_disconnect", "/nowhere", false]),
        json!(["join", "/", ann_id, page_id]),
        json!(["emit", "/admin", null, "server_stats", {}]),
        json!(["_disconnect", "/admin", false]),
        json!(["emit", "/", null, "connect"]),
        json!(["join", "/"]),
    ];
    for operation in &operations {
        operate(&mut page, operation).await;
    }
    // It ignores what is no operation.
    operate(&mut page, &json!(["session", "x"])).await;
    let refused = |name: &str| {
        format!("gateway_admin_operations_total{{operation=\"{name}\",result=\"refused\"}}")
    };
    node.until_metric(&refused("join"), 2.0).await;
    node.until_metric(&refused("emit"), 2.0).await;
    node.until_metric(&refused("disconnect"), 2.0).await;
    ann.sync().await;
}

#[tokio::test]
async fn a_page_that_only_shows_changes_nothing() {
    let node = start("read_only = true").await;
    let (mut ann, ann_id) = node.client().await;
    let (mut page, _) = logged_in(&node).await;
    operate(&mut page, &json!(["_disconnect", "/", true, ann_id])).await;
    let refused = r#"gateway_admin_operations_total{operation="disconnect",result="read_only"}"#;
    node.until_metric(refused, 1.0).await;
    ann.sync().await;
}

#[tokio::test]
async fn without_a_page_the_namespace_is_one_like_others() {
    let node = TestGateway::relay().await;
    let mut client = node.websocket().await;
    client.send("40/admin,{}").await;
    client
        .expect(r#"44/admin,{"message":"Invalid namespace"}"#)
        .await;
    let mut config = config();
    config.namespaces = Config::from_toml("namespaces = [\"/admin\"]")
        .unwrap()
        .namespaces;
    let node = TestGateway::start(Server::new(config)).await;
    let mut client = node.websocket().await;
    client.send("40/admin,").await;
    assert!(client.answer().await.starts_with("40/admin,{\"sid\""));
    client.send(r#"42/admin,1["echo",7]"#).await;
    client.expect("43/admin,1[7]").await;
}

#[tokio::test]
async fn development_shows_what_happens_to_sockets_on_all_nodes() {
    let (_cluster, nodes) = nodes(
        "mode = \"development\"\nevents_per_second = 10000",
        ["a", "b"],
    )
    .await;
    let (mut ann, ann_id) = nodes[1].client().await;
    ann.send(r#"421["join","chat"]"#).await;
    ann.answer().await;
    let (mut page, page_id) = logged_in(&nodes[0]).await;
    let list = next(&mut page, "all_sockets").await.remove(1);
    let list = list.as_array().unwrap();
    let ids: Vec<_> = list.iter().map(|socket| &socket["id"]).collect();
    assert!(
        ids.contains(&&json!(ann_id)) && ids.contains(&&json!(page_id)),
        "{ids:?}"
    );
    let of_ann = list.iter().find(|socket| socket["id"] == *ann_id).unwrap();
    assert_eq!(of_ann["rooms"], json!([ann_id, "chat"]));
    assert_eq!([&of_ann["nsp"], &of_ann["transport"]], ["/", "websocket"]);
    let handshake = &of_ann["handshake"];
    assert_eq!(
        [&handshake["address"], &handshake["headers"]],
        [&json!("127.0.0.1"), &json!({})]
    );

    // The other node knows of the page by now: its own numbers say so.
    next(&mut page, "server_stats").await;
    until(async || {
        ann.send(r#"429["echo","x",{"y":1}]"#).await;
        ann.answer().await;
        let shown = nodes[0]
            .metric(r#"gateway_admin_events_total{result="shown"}"#)
            .await;
        shown > 10.0
    })
    .await;
    let received = next(&mut page, "event_received").await;
    assert_eq!(
        received[1..4],
        [json!("/"), json!(ann_id), json!(["echo", "x", {"y": 1}])]
    );

    let mut bob = nodes[1].websocket().await;
    let bob_id = bob.connect().await;
    let connected = next(&mut page, "socket_connected").await;
    assert_eq!(connected[1]["id"], *bob_id);
    assert_ne!(connected[1]["clientId"], json!(bob.sid.get(..12)));
    bob.send(r#"421["join","chat"]"#).await;
    bob.answer().await;
    let joined = next(&mut page, "room_joined").await;
    assert_eq!(joined[1..4], [json!("/"), json!("chat"), json!(bob_id)]);
    bob.send(r#"422["publish","chat","said","hi"]"#).await;
    bob.answer().await;
    let sent = next(&mut page, "event_sent").await;
    assert_eq!(
        sent[1..4],
        [json!("/"), json!(ann_id), json!(["said", "hi"])]
    );
    operate(&mut page, &json!(["_disconnect", "/", false, bob_id])).await;
    for expected in [
        vec![json!("room_left"), json!("/"), json!("chat"), json!(bob_id)],
        vec![json!("room_left"), json!("/"), json!(bob_id), json!(bob_id)],
        vec![
            json!("socket_disconnected"),
            json!("/"),
            json!(bob_id),
            json!("server namespace disconnect"),
        ],
    ] {
        let told = detail(&mut page).await;
        assert_eq!(told[..4], expected);
    }
}

#[tokio::test]
async fn a_page_is_shown_no_id_of_a_session_and_no_header() {
    let node = start("mode = \"development\"").await;
    let cookie = "Cookie: token=hunter2\r\nAuthorization: Bearer hunter2\r\n";
    let mut ann = WebSocket::open_with(node.address(), "&token=hunter2", cookie).await;
    ann.connect().await;
    let mut page = page(&node, LOGIN).await;
    let (mut texts, mut lists) = (String::new(), 0);
    while lists == 0 {
        let packet = page.answer().await;
        lists += usize::from(packet.contains("all_sockets"));
        texts.push_str(&packet);
    }
    assert!(!texts.contains("hunter2"), "{texts}");
    for sid in [&ann.sid, &page.sid] {
        assert!(!texts.contains(&sid[..12]), "{texts}");
    }
}

#[tokio::test]
async fn a_page_shows_so_many_sockets_and_counts_all() {
    let node = start("mode = \"development\"\nsockets = 3").await;
    let mut clients = node.clients(8).await;
    let (mut page, _) = logged_in(&node).await;
    let list = next(&mut page, "all_sockets").await.remove(1);
    assert_eq!(list.as_array().unwrap().len(), 3);
    let stats = next(&mut page, "server_stats").await.remove(1);
    assert_eq!(stats["clientsCount"], 9);
    clients.push(node.client().await.0);
    let beyond = r#"gateway_admin_events_total{result="beyond"}"#;
    until(async || node.metric(beyond).await >= 1.0).await;
}

#[tokio::test]
async fn what_happens_to_sockets_that_no_page_shows_takes_nothing_of_what_may_be_told() {
    let settings = "mode = \"development\"\nsockets = 4\nevents_per_second = 20";
    let (_cluster, nodes) = nodes(settings, ["a", "b"]).await;
    let mut clients = std::collections::BTreeMap::new();
    for node in &nodes {
        for _ in 0..6 {
            let (client, id) = node.client().await;
            clients.insert(id, client);
        }
    }
    let (mut page, _) = logged_in(&nodes[0]).await;
    let list = next(&mut page, "all_sockets").await.remove(1);
    let list = list.as_array().unwrap().iter();
    let shown: Vec<String> = list
        .map(|it| it["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(shown, clients.keys().take(4).cloned().collect::<Vec<_>>());
    let mut hidden = clients.split_off(&format!("{} ", shown[3]));
    assert_eq!((clients.len(), hidden.len()), (4, 8));

    let all = async |result: &str| {
        let series = format!("gateway_admin_events_total{{result=\"{result}\"}}");
        [
            nodes[0].metric(&series).await,
            nodes[1].metric(&series).await,
        ]
    };
    // From now on each node knows where the list ends.
    let mut not_told = 0.0;
    for client in hidden.values_mut() {
        until(async || {
            let before: f64 = all("beyond").await.iter().sum();
            not_told = all("not_told").await.iter().sum();
            client.send(r#"421["echo"]"#).await;
            client.answer().await;
            all("beyond").await.iter().sum::<f64>() > before
        })
        .await;
    }
    for client in hidden.values_mut() {
        for _ in 0..100 {
            client.send(r#"421["echo","hidden"]"#).await;
            client.answer().await;
        }
    }
    let client = clients.get_mut(&shown[0]).unwrap();
    client.send(r#"421["echo","shown"]"#).await;
    client.answer().await;
    loop {
        let received = next(&mut page, "event_received").await;
        assert_ne!(received[3], json!(["echo", "hidden"]));
        if received[3] == json!(["echo", "shown"]) {
            assert_eq!(received[2], json!(shown[0]));
            break;
        }
    }
    assert_eq!(all("not_told").await.iter().sum::<f64>(), not_told);
}

#[tokio::test]
async fn more_events_than_may_be_told_are_left_out_and_the_list_comes_again() {
    let node = start("mode = \"development\"\nevents_per_second = 2").await;
    let (mut page, _) = logged_in(&node).await;
    next(&mut page, "all_sockets").await;
    let mut clients = node.clients(30).await;
    let not_told = r#"gateway_admin_events_total{result="not_told"}"#;
    assert!(node.metric(not_told).await > 10.0);
    let list = next(&mut page, "all_sockets").await.remove(1);
    assert_eq!(list.as_array().unwrap().len(), 31);
    clients[0].sync().await;
}

#[tokio::test]
async fn nothing_is_told_when_the_last_page_is_gone() {
    let node = start("mode = \"development\"").await;
    let (mut page, _) = logged_in(&node).await;
    next(&mut page, "all_sockets").await;
    assert_eq!(node.metric("gateway_admin_pages").await, 1.0);
    page.send("41/admin,").await;
    node.until_metric("gateway_admin_pages", 0.0).await;
    let shown = r#"gateway_admin_events_total{result="shown"}"#;
    let (_second, _) = logged_in(&node).await;
    drop(_second);
    node.until_metric("gateway_admin_pages", 0.0).await;
    let before = node.metric(shown).await;
    let (mut ann, _) = node.client().await;
    ann.sync().await;
    assert_eq!(node.metric(shown).await, before);
}

#[tokio::test]
async fn pages_are_left_out_of_recovery() {
    let mut config = with_page("mode = \"development\"");
    let recovery = "[recovery]\nwindow = \"1m\"\nnamespaces = [\"/\", \"/admin\"]\n";
    config.recovery = Config::from_toml(recovery).unwrap().recovery;
    let node = TestGateway::start(Server::new(config)).await;
    let mut ann = node.websocket().await;
    ann.send("40").await;
    let connected = ann.answer().await;
    let connected: Value = serde_json::from_str(&connected[2..]).unwrap();
    let pid = connected["pid"].as_str().expect("clients are recovered");

    let auth = json!({"username": "admin", "password": "s3cret", "pid": pid, "offset": "x"});
    let mut page = page(&node, &auth.to_string()).await;
    let answer = page.answer().await;
    let answer: Value = serde_json::from_str(answer.strip_prefix("40/admin,").unwrap()).unwrap();
    assert!(
        answer["sid"].is_string() && answer["pid"].is_null(),
        "{answer}"
    );
    // Their events have no place in a log, and nothing is put in order for them.
    let features = next(&mut page, "config").await;
    assert_eq!(features.len(), 2, "{features:?}");
    next(&mut page, "all_sockets").await;
    for _ in 0..2 {
        assert_eq!(next(&mut page, "server_stats").await.len(), 2);
    }
    let published = node.metric("gateway_recovery_published_total").await;
    ann.send(r#"42["broadcast","said"]"#).await;
    node.until_metric("gateway_recovery_published_total", published + 1.0)
        .await;
    assert_eq!(published, 0.0);
}
