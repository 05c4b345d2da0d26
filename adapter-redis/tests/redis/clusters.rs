//! Several servers: Redis Cluster in both formats, with a failover and a moved slot, and Sentinel.

use std::process::Command;
use std::time::{Duration, Instant};

use adapter::{Adapter, ArgumentsBuf, Interest, Selection};
use adapter_redis::wire::{Format, SubscriptionMode};
use adapter_redis::{Servers, StreamWriter};
use serde_json::json;
use testkit::wait::until;

use crate::gateway::{Gateway, rooms};
use crate::peer::Peer;
use crate::server::Redis;

const SHARDED: Format = Format::Sharded(SubscriptionMode::Dynamic);

#[test]
#[ignore = "needs Redis: make test"]
fn sharded_broadcasts_reach_all_nodes_of_a_cluster() {
    let cluster = Cluster::start();
    let nodes = cluster.gateways(SHARDED);
    let names = spread_names();
    let open = join_all(&nodes, &names);
    expect_all(&nodes, &names);
    let masters = cluster.servers.iter().take(3);
    for master in masters {
        let count = master.call(&["PUBSUB", "SHARDCHANNELS"]).lines().count();
        assert!(count > 10, "{count} channels on one master");
    }
    assert_eq!(nodes[0].peers().nodes.len(), 2);
    drop(open);
}

#[test]
#[ignore = "needs Redis: make test"]
fn sharded_nodes_share_a_cluster_with_node() {
    let cluster = Cluster::start();
    let nodes = cluster.gateways(SHARDED);
    let ports: Vec<u16> = cluster.servers.iter().map(|it| it.port).collect();
    let mut peer = Peer::start(&json!({"client": "redis", "cluster": ports, "mode": "sharded"}));
    peer.eval("await until(async () => (await io.of('/').adapter.serverCount()) === 4)");
    nodes[0].wait_until("counted", || nodes[0].peers().others == 1);
    let names = spread_names();
    let _open = join_all(&nodes, &names);
    for name in &names[..10] {
        peer.eval(&format!("io.to('{name}').emit('{name}')"));
        for node in &nodes {
            assert_eq!(node.next_event().1, *name);
        }
    }
    nodes[1].emit(Selection::everybody(), "hi", "1");
    assert_eq!(peer.received(1), json!([["hi", 1]]));
    assert_eq!(peer.eval("return (await io.fetchSockets()).length"), 4);
}

#[test]
#[ignore = "needs Redis: make test"]
fn sharded_broadcasts_reach_all_nodes_after_a_failover() {
    let mut cluster = Cluster::start();
    let nodes = cluster.gateways(SHARDED);
    let names = spread_names();
    let _open = join_all(&nodes, &names);
    cluster.servers[0].wait_until_counted();
    let killed = Instant::now();
    cluster.servers[0].kill();
    for node in &nodes {
        node.wait_until("down", || !node.adapter.is_up());
    }
    for (number, name) in names.iter().enumerate() {
        nodes[0].emit(rooms(&[name]), "meanwhile", &number.to_string());
    }
    for node in &nodes {
        node.wait_until_up();
    }
    eprintln!("up again {:?} after a master was killed", killed.elapsed());
    for node in &nodes[1..] {
        let mut numbers: Vec<usize> = names
            .iter()
            .map(|_| {
                let (_, event, arguments) = node.next_event();
                assert_eq!(event, "meanwhile");
                arguments.json.parse().unwrap()
            })
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..names.len()).collect::<Vec<_>>());
    }
    expect_all(&nodes, &names);
}

#[test]
#[ignore = "needs Redis: make test"]
fn sharded_broadcasts_follow_a_slot_that_moves() {
    let cluster = Cluster::start();
    let nodes = cluster.gateways(SHARDED);
    let names = spread_names();
    let _open = join_all(&nodes, &names);
    let channel = format!("socket.io#/#{}#", names[0]);
    let slot = cluster.servers[0].call(&["CLUSTER", "KEYSLOT", &channel]);
    let slot = slot.trim_start_matches(':').to_owned();
    let masters = &cluster.servers[..3];
    let ids: Vec<String> = masters.iter().map(node_id).collect();
    let owner = masters
        .iter()
        .position(|it| {
            it.call(&["PUBSUB", "SHARDNUMSUB", &channel])
                .ends_with(":3")
        })
        .unwrap();
    let target = (owner + 1) % 3;
    let emit = |number: u32| nodes[0].emit(rooms(&[&names[0]]), "n", &number.to_string());
    let expect = |number: u32| {
        for node in &nodes[1..] {
            assert_eq!(node.next_event().2.json, number.to_string());
        }
    };
    emit(0);
    expect(0);
    masters[target].call(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[owner]]);
    masters[owner].call(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[target]]);
    for server in [target, owner, 3 - target - owner] {
        let reply = masters[server].call(&["CLUSTER", "SETSLOT", &slot, "NODE", &ids[target]]);
        assert_eq!(reply, "+OK");
    }
    let count = ["PUBSUB", "SHARDNUMSUB", &channel];
    until("moved", || masters[target].call(&count).ends_with(":3"));
    for number in 1..100 {
        emit(number);
    }
    (1..100).for_each(expect);
    for node in &nodes {
        node.wait_until_up();
        node.drain();
    }
    expect_all(&nodes, &names);
}

#[test]
#[ignore = "needs Redis: make test"]
fn entries_follow_a_slot_that_moves() {
    let cluster = Cluster::start();
    let servers: Servers = cluster.url().parse().unwrap();
    let writer = StreamWriter::new(&servers, "entries", 1000).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let append = || runtime.block_on(writer.append(&[vec![("field", b"value".as_slice())]]));
    append().unwrap();
    let masters = &cluster.servers[..3];
    let length = |server: &Redis| server.call(&["XLEN", "entries"]);
    let owner = masters.iter().position(|it| length(it) == ":1").unwrap();
    let target = (owner + 1) % 3;
    let slot = masters[0].call(&["CLUSTER", "KEYSLOT", "entries"]);
    let slot = slot.trim_start_matches(':').to_owned();
    let ids: Vec<String> = masters.iter().map(node_id).collect();
    masters[target].call(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[owner]]);
    masters[owner].call(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[target]]);
    let port = masters[target].port.to_string();
    let moved = masters[owner].call(&["MIGRATE", "127.0.0.1", &port, "entries", "0", "1000"]);
    assert_eq!(moved, "+OK");
    for server in [target, owner, 3 - target - owner] {
        let reply = masters[server].call(&["CLUSTER", "SETSLOT", &slot, "NODE", &ids[target]]);
        assert_eq!(reply, "+OK");
    }
    append().unwrap();
    assert_eq!(length(&masters[target]), ":2");
}

#[test]
#[ignore = "needs Redis: make test"]
fn classic_nodes_share_a_cluster_with_node() {
    let mut cluster = Cluster::start();
    let format = Format::Classic {
        specific_responses: false,
    };
    let nodes = cluster.gateways(format);
    let ports: Vec<u16> = cluster.servers.iter().map(|it| it.port).collect();
    let mut peer = Peer::start(&json!({"client": "ioredis", "cluster": ports, "mode": "classic"}));
    peer.eval("await until(async () => (await io.of('/').adapter.serverCount()) === 4)");
    nodes[0].wait_until("known", || nodes[0].adapter.members().len() == 3);
    nodes[0].wait_until("counted", || {
        let peers = nodes[0].peers();
        (peers.nodes.len(), peers.others) == (2, 1)
    });
    let names = ["room1".to_owned(), "room2".to_owned()];
    let _open = join_all(&nodes, &names);
    expect_all(&nodes, &names);
    peer.eval("io.emit('hello', 1)");
    for node in &nodes {
        assert_eq!(node.next_event().1, "hello");
    }
    // Three of ours to all, and its own.
    peer.received(4);
    nodes[0].emit(Selection::everybody(), "hi", "");
    assert_eq!(peer.received(1), json!([["hi"]]));
    for node in &nodes[1..] {
        assert_eq!(node.next_event().1, "hi");
    }

    cluster.servers[0].kill();
    let reaches_all = || {
        let name = &names[0];
        nodes[0].emit(rooms(&[name]), name, "");
        nodes[1..]
            .iter()
            .all(|node| node.try_next(Duration::from_millis(300)).is_some())
    };
    until("back", || {
        nodes.iter().all(|it| it.adapter.is_up()) && reaches_all()
    });
}

#[test]
#[ignore = "needs Redis: make test"]
fn sentinels_tell_the_new_master() {
    let mut setup = Sentinels::start();
    let nodes = ["gw-a", "gw-b"].map(|id| Gateway::start(&setup.url(), id));
    let _room = nodes[1].join("room1");
    nodes[0].emit(rooms(&["room1"]), "before", "");
    assert_eq!(nodes[1].next_event().1, "before");
    setup.master.wait_until_counted();
    setup.master.kill();
    for node in &nodes {
        node.wait_until("down", || !node.adapter.is_up());
    }
    nodes[0].emit(rooms(&["room1"]), "meanwhile", "");
    for node in &nodes {
        node.wait_until_up();
    }
    nodes[0].emit(rooms(&["room1"]), "after", "");
    assert_eq!(nodes[1].next_event().1, "meanwhile");
    assert_eq!(nodes[1].next_event().1, "after");
    nodes[0].wait_until("known", || nodes[0].adapter.members().len() == 2);
    assert_eq!(nodes[0].peers().nodes.len(), 1);
    assert_eq!(setup.replica.subscribers("socket.io-request#/#"), 2);
}

/// Three masters with a replica each.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Redis>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
        let servers: Vec<Redis> = (0..6).map(|_| Redis::start_with(&arguments)).collect();
        let addresses = servers.iter().map(|it| format!("127.0.0.1:{}", it.port));
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .expect("redis-cli is needed: apt-get install redis-tools");
        assert!(created.status.success(), "{created:?}");
        let cluster = Self { servers };
        for server in &cluster.servers {
            until("ok", || {
                let info = server.call(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:6")
            });
        }
        // A master without a replica would not be replaced.
        for server in &cluster.servers[..3] {
            until("replicated", || {
                server
                    .call(&["INFO", "replication"])
                    .contains("state=online")
            });
        }
        cluster
    }

    pub(crate) fn url(&self) -> String {
        let hosts = self
            .servers
            .iter()
            .map(|it| format!("127.0.0.1:{}", it.port));
        format!("redis+cluster://{}", hosts.collect::<Vec<_>>().join(","))
    }

    fn gateways(&self, format: Format) -> [Gateway; 3] {
        let nodes = ["gw-a", "gw-b", "gw-c"].map(|id| {
            Gateway::launch(&self.url(), id, |it| {
                it.format = format;
                it.timing.topology = Duration::from_millis(500);
            })
        });
        for node in &nodes {
            node.wait_until_up();
            node.wait_until("known", || node.adapter.members().len() == 3);
        }
        nodes
    }
}

/// A master, its replica, and three sentinels.
pub(crate) struct Sentinels {
    pub(crate) master: Redis,
    pub(crate) replica: Redis,
    sentinels: Vec<Redis>,
}

impl Sentinels {
    pub(crate) fn start() -> Self {
        let master = Redis::start();
        let port = master.port.to_string();
        let replica = Redis::start_with(&["--replicaof", "127.0.0.1", &port]);
        until("replicated", || {
            master
                .call(&["INFO", "replication"])
                .contains("state=online")
        });
        let sentinels = (0..3).map(|_| Redis::start_sentinel(master.port)).collect();
        let setup = Self {
            master,
            replica,
            sentinels,
        };
        for sentinel in &setup.sentinels {
            until("complete", || {
                let info = sentinel.call(&["INFO", "sentinel"]);
                info.contains("slaves=1,sentinels=3")
            });
        }
        setup
    }

    pub(crate) fn url(&self) -> String {
        let hosts = self
            .sentinels
            .iter()
            .map(|it| format!("127.0.0.1:{}", it.port));
        format!(
            "redis+sentinel://{}/mymaster",
            hosts.collect::<Vec<_>>().join(",")
        )
    }
}

fn node_id(server: &Redis) -> String {
    let reply = server.call(&["CLUSTER", "MYID"]);
    reply.lines().nth(1).unwrap().to_owned()
}

/// Rooms in many slots.
fn spread_names() -> Vec<String> {
    (0..60).map(|number| format!("room{number}")).collect()
}

fn join_all(nodes: &[Gateway], names: &[String]) -> Vec<Interest> {
    let open = nodes
        .iter()
        .flat_map(|node| names.iter().map(|it| node.adapter.open_room("/", it)));
    let open: Vec<_> = open.collect();
    until("in force", || open.iter().all(Interest::is_in_force));
    open
}

/// Every node emits to every room and to all, and every other node receives that once.
fn expect_all(nodes: &[Gateway], names: &[String]) {
    for (index, sender) in nodes.iter().enumerate() {
        for name in names {
            sender.emit_event(rooms(&[name]), name, ArgumentsBuf::from_json("1"));
        }
        sender.emit(Selection::everybody(), "all", "");
        let mut expected: Vec<String> = names.to_vec();
        expected.push("all".to_owned());
        expected.sort();
        for (other, node) in nodes.iter().enumerate() {
            if other == index {
                continue;
            }
            let mut events: Vec<String> = expected.iter().map(|_| node.next_event().1).collect();
            events.sort();
            assert_eq!(events, expected, "from {index} to {other}");
        }
    }
}
