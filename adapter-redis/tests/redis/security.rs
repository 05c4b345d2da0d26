//! Passwords, permissions and TLS.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use adapter::{Adapter, Selection};

use crate::gateway::{Gateway, rooms, socket};
use crate::peer::Peer;
use crate::server::Redis;

/// The recipe of docs/redis.md for prefix `socket.io`; since Redis 7.2 there is `+client|setinfo` too.
const RULES: &[&str] = &[
    "resetkeys",
    "resetchannels",
    "-@all",
    "+auth",
    "+client|setname",
    "+hello",
    "+ping",
    "+select",
    "+unwatch",
    "+publish",
    "+subscribe",
    "+unsubscribe",
    "+pubsub|numsub",
    "+multi",
    "+exec",
    "+set",
    "+get",
    "+mget",
    "+del",
    "+pexpire",
    "+sadd",
    "+srem",
];
const NAMES: [&str; 6] = [
    "+smembers",
    "~socket.io-gateway{nodes}*",
    "&socket.io#*",
    "&socket.io-request#*",
    "&socket.io-response#*",
    "&socket.io-gateway#*",
];

#[test]
#[ignore = "needs Redis: make test"]
fn the_smallest_set_of_permissions_suffices() {
    let redis = Redis::start();
    let mut peer = Peer::classic(&redis, "redis");
    let user = ["ACL", "SETUSER", "gateway", "on", ">pass word"];
    let command: Vec<&str> = [&user[..], RULES, &NAMES].concat();
    assert_eq!(redis.call(&command), "+OK");
    let url = format!("redis://gateway:pass%20word@127.0.0.1:{}", redis.port);
    let gateway = Gateway::start_with(&url, "gw-a", |it| it.private_patterns = 0);
    let id = socket("gw-a").id;
    let _private = gateway.join(&id);
    peer.eval(&format!("io.to('{id}').emit('direct')"));
    assert_eq!(gateway.next_event().1, "direct");
    assert_eq!(peer.eval("return (await io.fetchSockets()).length"), 2);
    gateway.emit(Selection::everybody(), "hello", "");
    assert_eq!(peer.received(1)[0][0], "hello");
    gateway.wait_until("counted", || gateway.peers().others == 1);
    let log = redis.call(&["ACL", "LOG"]);
    assert_eq!(log, "*0", "{log}");
}

#[test]
#[ignore = "needs Redis: make test"]
fn patterns_need_the_permission_for_all_channels() {
    let redis = Redis::start();
    let user = ["ACL", "SETUSER", "gateway", "on", ">secret"];
    let command: Vec<&str> = [&user[..], RULES, &NAMES, &["+psubscribe", "+punsubscribe"]].concat();
    assert_eq!(redis.call(&command), "+OK");
    let url = format!("redis://gateway:secret@127.0.0.1:{}", redis.port);
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
    let tls_port = crate::server::free_port();
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
    let [a, b] = ["gw-a", "gw-b"].map(|id| Gateway::start(&url, id));
    let _room = b.join("room1");
    let text = format!("\"{}\"", "x".repeat(1_000_000));
    a.emit(rooms(&["room1"]), "large", &text);
    assert_eq!(b.next_event().2.json, text);
    a.wait_until("known", || a.adapter.members().len() == 2);
}

/// Not a test: the same with another authority.
#[test]
#[ignore = "is a process of another test"]
fn over_tls_in_vain() {
    let Ok(url) = std::env::var("ADAPTER_REDIS_URL") else {
        return;
    };
    let gateway = Gateway::launch(&url, "gw-a", |_| {});
    let is_up = || gateway.adapter.is_up();
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(!is_up());
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
