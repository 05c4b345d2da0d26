//! Passwords, permissions and TLS.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use adapter::recovery::{LogName, Told};
use adapter::{Adapter, Selection};
use adapter_redis::wire::{Format, SubscriptionMode};
use testkit::wait::PATIENCE;

use crate::clusters::Cluster;
use crate::gateway::{Gateway, rooms, socket};
use crate::peer::Peer;
use crate::recovery::wire::{Node, publication};
use crate::server::Redis;

/// The recipe of docs/redis.md for prefix `socket.io`; since Redis 7.2 there is `+client|setinfo` too.
pub(crate) const COMMON: &str = "resetkeys resetchannels -@all +auth +client|setname +ping +role +select +unwatch +multi +exec \
     +set +get +mget +del +pexpire +sadd +srem +smembers ~socket.io-gateway{nodes}*";
pub(crate) const CLASSIC: &str = "+publish +subscribe +unsubscribe +pubsub|numsub \
     &socket.io#* &socket.io-request#* &socket.io-response#* &socket.io-gateway#*";
/// What recovery needs beside it.
pub(crate) const RECOVERY: &str = "+info +script|load +evalsha +time +hget +hset +hmget +hdel +hlen \
     +zadd +zrem +zrange +zrangebyscore +zrangebylex +zscore +rpush +lpop +llen +lindex +lrange +ltrim \
     +unlink +exists ~socket.io-gateway{recovery}*";
const SHARDED: &str = "+spublish +ssubscribe +sunsubscribe +pubsub|shardnumsub \
     &socket.io#* &socket.io-gateway#*";

#[test]
#[ignore = "needs Redis: make test"]
fn the_recipe_of_permissions_suffices() {
    let redis = Redis::start();
    let mut peer = Peer::classic(&redis, "redis");
    let url = redis_user(&redis, "pass word", &[COMMON, CLASSIC]);
    let gateway = Gateway::start_with(&url, "gw-a", |it| it.private_patterns = 0);
    let id = socket("gw-a").id;
    let _private = gateway.join(&id);
    peer.eval(&format!("io.to('{id}').emit('direct')"));
    assert_eq!(gateway.next_event().1, "direct");
    assert_eq!(peer.eval("return (await io.fetchSockets()).length"), 2);
    gateway.emit(Selection::everybody(), "hello", "");
    assert_eq!(peer.received(1)[0][0], "hello");
    gateway.wait_until("counted", || gateway.peers().others == 1);
    gateway.close();
    let log = redis.call(&["ACL", "LOG"]);
    assert_eq!(log, "*0", "{log}");
}

#[test]
#[ignore = "needs Redis: make test"]
fn the_recipe_for_recovery_suffices() {
    let redis = Redis::start();
    let url = redis_user(&redis, "secret", &[COMMON, CLASSIC, RECOVERY]);
    let mut node = Node::start_with(&url, "gw-a", |it| it.private_patterns = 0);
    let _room = node.gateway.join("room1");
    let places = node.publish(vec![publication(rooms(&["room1"]), "hi", "1")]);
    assert_eq!(node.ordered().entry.position, places[0]);
    let log = redis.call(&["ACL", "LOG"]);
    assert_eq!(log, "*0", "{log}");
}

#[test]
#[ignore = "needs Redis: make test"]
fn a_user_that_may_not_run_the_script_is_told_and_tries_slowly() {
    let redis = Redis::start();
    let recovery = RECOVERY.replace("+evalsha", "");
    let url = redis_user(&redis, "secret", &[COMMON, CLASSIC, &recovery]);
    let gateway = Gateway::start_with(&url, "gw-a", |it| it.private_patterns = 0);
    let mut node = Node::open(gateway);
    for _ in 0..3 {
        node.connect();
        node.send_beat();
        node.wait(|told| (*told == Told::Broken).then_some(()));
    }
    assert!(redis.calls("script|load") < 10, "no hot loop");
    let refused = node.gateway.adapter.counters().store_refused.value();
    assert_eq!(refused, 3);
    redis.call(&["ACL", "SETUSER", "gateway", "+evalsha"]);
    node.wait_until_whole();
}

#[test]
#[ignore = "needs Redis: make test"]
fn what_may_not_be_published_is_in_the_log_and_counted() {
    let redis = Redis::start();
    let url = redis_user(&redis, "secret", &[COMMON, CLASSIC, RECOVERY]);
    let mut node = Node::start_with(&url, "gw-a", |it| it.private_patterns = 0);
    let rest = CLASSIC.replace(
        "&socket.io#*",
        "resetchannels &socket.io#/# &socket.io#/#fine*",
    );
    redis_user(&redis, "secret", &[&rest]);
    let acts = ["secret", "fine"].map(|room| publication(rooms(&[room]), "hi", "1"));
    let places = node.publish(acts.into());
    let found = node.read(&["secret", "fine"].map(LogName::room));
    let found: Vec<_> = found.iter().flatten().map(|it| it.position).collect();
    assert_eq!(found, places);
    assert_eq!(node.gateway.adapter.counters().store_refused.value(), 1);
}

#[test]
#[ignore = "needs Redis: make test"]
fn the_recipe_for_the_sharded_format_suffices() {
    let redis = Redis::start();
    let url = redis_user(&redis, "secret", &[COMMON, SHARDED]);
    let [a, b] = ["gw-a", "gw-b"].map(|id| {
        Gateway::start_with(&url, id, |it| {
            it.format = Format::Sharded(SubscriptionMode::DynamicPrivate);
        })
    });
    let _room = a.join("room1");
    b.emit(rooms(&["room1"]), "room", "");
    assert_eq!(a.next_event().1, "room");
    a.wait_until("counted", || a.peers().nodes.len() == 1);
    a.close();
    b.close();
    let log = redis.call(&["ACL", "LOG"]);
    assert_eq!(log, "*0", "{log}");
}

#[test]
#[ignore = "needs Redis: make test"]
fn the_recipe_suffices_on_a_cluster() {
    let cluster = Cluster::start();
    for server in &cluster.servers {
        redis_user(
            server,
            "secret",
            &[COMMON, CLASSIC, SHARDED, "+cluster|slots"],
        );
    }
    let url = cluster.url().replace("://", "://gateway:secret@");
    for format in [
        Format::Sharded(SubscriptionMode::Dynamic),
        Format::Classic {
            specific_responses: false,
        },
    ] {
        let [a, b] = ["gw-a", "gw-b"].map(|id| {
            Gateway::start_with(&url, id, |it| {
                it.format = format;
                it.private_patterns = 0;
            })
        });
        let _room = a.join("room1");
        b.emit(rooms(&["room1"]), "room", "");
        assert_eq!(a.next_event().1, "room");
        a.wait_until("counted", || a.peers().nodes.len() == 1);
        a.close();
        b.close();
    }
    for server in &cluster.servers {
        let log = server.call(&["ACL", "LOG"]);
        assert_eq!(log, "*0", "{log}");
    }
}

#[test]
#[ignore = "needs Redis: make test"]
fn patterns_need_the_permission_for_all_channels() {
    let redis = Redis::start();
    let url = redis_user(
        &redis,
        "secret",
        &[COMMON, CLASSIC, "+psubscribe +punsubscribe"],
    );
    let gateway = Gateway::launch(&url, "gw-a", |_| {});
    let refused = || redis.call(&["ACL", "LOG"]).contains("psubscribe");
    gateway.wait_until("refused", refused);
    assert!(!gateway.adapter.is_up());
    let rest = ["ACL", "SETUSER", "gateway", "allchannels"];
    assert_eq!(redis.call(&rest), "+OK");
    gateway.wait_until_up();
}

#[test]
#[ignore = "needs Redis: make test"]
fn a_room_that_may_not_be_subscribed_to_takes_no_other_with_it() {
    let redis = Redis::start();
    let other = Gateway::start(&redis.url(), "gw-b");
    let channels = CLASSIC.replace("&socket.io#*", "&socket.io#/# &socket.io#/#fine*");
    let url = redis_user(&redis, "secret", &[COMMON, &channels]);
    let gateway = Gateway::start_with(&url, "gw-a", |it| it.private_patterns = 0);
    let open = |room: String| gateway.adapter.open_room("/", &room);
    let before: Vec<_> = (0..50).map(|n| open(format!("fine{n}"))).collect();
    let secret = open("secret".to_owned());
    let after: Vec<_> = (50..100).map(|n| open(format!("fine{n}"))).collect();
    let all = || before.iter().chain(&after).all(|it| it.is_in_force());
    gateway.wait_until("in force", all);
    let refused = || secret.in_force().is_refused();
    gateway.wait_until("told that it is refused", refused);
    let count = || gateway.adapter.counters().subscriptions_refused.value();
    assert_eq!(count(), 1);
    assert!(gateway.adapter.is_up());
    other.emit(rooms(&["fine99"]), "hello", "");
    assert_eq!(gateway.next_event().1, "hello");
    // After a reconnect as well.
    redis.call(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    gateway.wait_until("lost", || !all());
    gateway.wait_until("in force again", all);
    gateway.wait_until_up();
}

#[test]
#[ignore = "needs Redis: make test"]
fn a_long_name_disturbs_nobody() {
    let redis = Redis::start();
    let [a, b] = ["gw-a", "gw-b"].map(|id| Gateway::start(&redis.url(), id));
    let long = "r".repeat(200_000);
    let _short = a.join("short");
    let _long = a.join(&long);
    b.emit(rooms(&[&long]), "to the long one", "");
    b.emit(rooms(&["short"]), "to the short one", "");
    assert_eq!(a.next_event().1, "to the long one");
    assert_eq!(a.next_event().1, "to the short one");
    assert_eq!(a.adapter.counters().reconnects.value(), 0);
}

/// Makes the user `gateway`; the URL by which it logs in.
pub(crate) fn redis_user(redis: &Redis, password: &str, rules: &[&str]) -> String {
    let secret = format!(">{password}");
    let mut command = vec!["ACL", "SETUSER", "gateway", "on", &secret];
    command.extend(rules.iter().flat_map(|it| it.split_whitespace()));
    assert_eq!(redis.call(&command), "+OK");
    let password = password.replace(' ', "%20");
    format!("redis://gateway:{password}@127.0.0.1:{}", redis.port)
}

#[test]
#[ignore = "needs Redis: make test"]
fn a_wrong_password_keeps_the_node_down() {
    let redis = Redis::start();
    redis.call(&[
        "ACL",
        "SETUSER",
        "gateway",
        "on",
        ">right",
        "allkeys",
        "allchannels",
        "+@all",
    ]);
    let url = format!("redis://gateway:wrong@127.0.0.1:{}", redis.port);
    let gateway = Gateway::launch(&url, "gw-a", |_| {});
    gateway.wait_until("refused", || redis.call(&["ACL", "LOG"]).contains("auth"));
    assert!(!gateway.adapter.is_up());
    redis.call(&["ACL", "SETUSER", "gateway", ">wrong"]);
    gateway.wait_until_up();
}

#[test]
#[ignore = "needs Redis: make test"]
fn connections_are_encrypted_and_servers_checked() {
    let keys = Keys::make();
    let path = |name: &str| keys.0.join(name).to_str().unwrap().to_owned();
    let tls_port = testkit::ports::free_port();
    let redis = Redis::start_with(&[
        "--tls-port",
        &tls_port.to_string(),
        "--tls-cert-file",
        &path("server.crt"),
        "--tls-key-file",
        &path("server.key"),
        "--tls-ca-cert-file",
        &path("ca.crt"),
        "--tls-auth-clients",
        "no",
    ]);
    let url = format!("rediss://127.0.0.1:{tls_port}");
    assert!(in_another_process("over_tls", &url, &keys.0.join("ca.crt")));
    // Another authority's word counts for nothing.
    assert!(in_another_process(
        "over_tls_in_vain",
        &url,
        &keys.0.join("other.crt")
    ));
    drop(redis);
}

/// Not a test: a process that trusts `SSL_CERT_FILE`.
#[test]
#[ignore = "is a process of another test"]
fn over_tls() {
    let Ok(url) = std::env::var("ADAPTER_REDIS_URL") else {
        return;
    };
    let [a, b] = ["gw-a", "gw-b"].map(|id| {
        // A handshake of a debug build on a busy machine takes its time.
        Gateway::start_with(&url, id, |it| it.timing.connect = PATIENCE)
    });
    let _room = b.join("room1");
    let text = format!("\"{}\"", "x".repeat(1_000_000));
    a.emit(rooms(&["room1"]), "large", &text);
    assert_eq!(b.next_event().2.json, text);
    a.wait_until("known", || a.adapter.members().len() == 2);
    let mut node = Node::open(a);
    node.wait_until_whole();
    node.publish(vec![publication(Selection::everybody(), "hi", "1")]);
}

/// Not a test: the same with another authority.
#[test]
#[ignore = "is a process of another test"]
fn over_tls_in_vain() {
    let Ok(url) = std::env::var("ADAPTER_REDIS_URL") else {
        return;
    };
    let gateway = Gateway::launch(&url, "gw-a", |_| {});
    gateway.wait_until("a certificate is refused", || {
        let trouble = gateway.adapter.trouble();
        trouble.is_some_and(|it| it.contains("certificate"))
    });
    assert!(!gateway.adapter.is_up());
}

fn in_another_process(test: &str, url: &str, authority: &Path) -> bool {
    let name = format!("security::{test}");
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", &name])
        .env("ADAPTER_REDIS_URL", url)
        .env("SSL_CERT_FILE", authority)
        .status();
    status.unwrap().success()
}

/// A certificate authority, a server's certificate for 127.0.0.1, and another authority.
struct Keys(PathBuf);

impl Keys {
    fn make() -> Self {
        let directory =
            std::env::temp_dir().join(format!("adapter-redis-tls-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("san"), "subjectAltName=IP:127.0.0.1").unwrap();
        let keys = Self(directory);
        let authority =
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test";
        keys.openssl(&format!("{authority} -keyout ca.key -out ca.crt"));
        keys.openssl(&format!("{authority} -keyout other.key -out other.crt"));
        keys.openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server -keyout server.key -out server.csr");
        keys.openssl("x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.crt");
        keys
    }

    fn openssl(&self, arguments: &str) {
        let status = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(&self.0)
            .stderr(Stdio::null())
            .status()
            .expect("openssl is needed");
        assert!(status.success(), "openssl {arguments}");
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // What is left behind is a temporary file.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
