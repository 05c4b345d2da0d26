//! Tokens and backends that change while the node serves.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::Reloadable;
use crate::support::{Backend, WebSocket, token, token_by, until};

const SECRET: &str = "a secret that only tests know";
const OTHER: &str = "another secret of the same tests";

fn claims() -> Value {
    json!({"sub": "ann", "exp": 4_000_000_000_u64, "iss": "issuer", "aud": "app"})
}

/// What a client is told that shows this token.
async fn shown(node: &Reloadable, token: &str) -> (WebSocket, String) {
    let mut client = node.gateway.websocket().await;
    client.send(&format!("40{}", json!({"token": token}))).await;
    let answer = client.answer().await;
    (client, answer)
}

async fn is_let_in(node: &Reloadable, token: &str) -> bool {
    shown(node, token).await.1.starts_with("40")
}

#[tokio::test]
async fn the_secret_of_tokens_changes_and_who_is_connected_stays() {
    let settings =
        |secret: &str| format!("auth = {{ jwt_secret = \"{secret}\", audience = [\"app\"] }}");
    let node = Reloadable::start("secret-of-tokens", &settings(SECRET)).await;
    let (old, new) = (token(SECRET, &claims()), token(OTHER, &claims()));
    let (mut ann, answer) = shown(&node, &old).await;
    assert!(answer.starts_with("40"), "{answer}");
    assert!(!is_let_in(&node, &new).await);

    node.changes(
        &settings(&format!("{OTHER},{SECRET}")),
        &["auth.jwt_secret"],
    )
    .await;
    assert!(is_let_in(&node, &old).await && is_let_in(&node, &new).await);
    node.changes(&settings(OTHER), &["auth.jwt_secret"]).await;
    assert!(!is_let_in(&node, &old).await && is_let_in(&node, &new).await);

    for (token, is_taken) in [(&old, false), (&new, true)] {
        ann.send(&format!("421{}", json!(["token", token]))).await;
        let answer = ann.answer().await;
        assert_eq!(answer.contains("\"ok\":true"), is_taken, "{answer}");
    }
    ann.send(r#"422["echo",1]"#).await;
    ann.expect("432[1]").await;

    let (changed, waiting) = node.reload("").await;
    assert_eq!(changed, [""; 0]);
    assert_eq!(waiting, ["auth.jwt_secret", "auth.audience"]);
    assert!(is_let_in(&node, &new).await && !is_let_in(&node, "").await);
}

#[tokio::test]
async fn what_tokens_have_to_say_changes() {
    let settings = |more: &str| format!("[auth]\njwt_secret = \"{SECRET}\"\n{more}");
    let node = Reloadable::start("rules", &settings("")).await;
    let token = token(SECRET, &claims());
    // It is for an audience, and none is set.
    assert!(!is_let_in(&node, &token).await);
    node.changes(&settings("audience = [\"app\"]"), &["auth.audience"])
        .await;
    assert!(is_let_in(&node, &token).await);
    let issuer =
        settings("audience = [\"app\"]\nissuer = \"somebody\"\nleeway = \"1s\"\ngrace = \"1s\"");
    node.changes(&issuer, &["auth.issuer", "auth.leeway", "auth.grace"])
        .await;
    assert!(!is_let_in(&node, &token).await);
    let cookie = settings("audience = [\"app\"]\ncookie = \"session\"");
    let all = ["auth.issuer", "auth.cookie", "auth.leeway", "auth.grace"];
    node.changes(&cookie, &all).await;
    let header = format!("Cookie: session={token}\r\n");
    let mut client = WebSocket::open_with(node.gateway.address(), "", &header).await;
    client.send("40").await;
    let answer = client.answer().await;
    assert!(answer.starts_with("40"), "{answer}");
}

#[tokio::test]
async fn a_public_key_is_another_one_when_its_file_is() {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reload-public.pem");
    let put = |name: &str| std::fs::copy(keys.join(name), &file).unwrap();
    put("p256.pem");
    let settings = format!("auth.jwt_public_key = {:?}", file.display().to_string());
    let node = Reloadable::start("public", &settings).await;
    node.changes(&settings, &[]).await;
    put("rsa.pem");
    node.changes(&settings, &["auth.jwt_public_key"]).await;
    node.changes(&settings, &[]).await;
    std::fs::write(&file, "half a key").unwrap();
    let why = node.refuses(&settings).await;
    assert!(
        why.contains("auth.jwt_public_key") && !why.contains("half a key"),
        "{why}"
    );
    put("rsa.pem");
    node.changes(&settings, &[]).await;
}

/// Publishes the public part of a key, unless it is away.
async fn issuer(is_away: Arc<AtomicBool>) -> (Backend, Ed25519KeyPair) {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    let key = json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "x": x});
    let issuer = Backend::start(move |_| match is_away.load(Ordering::Relaxed) {
        true => (503, Value::Null),
        false => (200, json!({"keys": [key]})),
    });
    (issuer.await, pair)
}

fn issued(key: &Ed25519KeyPair) -> String {
    let header = json!({"typ": "JWT", "alg": "EdDSA"});
    token_by(&header, &claims(), |message| {
        key.sign(message).as_ref().to_owned()
    })
}

#[tokio::test]
async fn published_keys_stay_known_when_something_else_changes() {
    let is_away = Arc::<AtomicBool>::default();
    let (first, key) = issuer(Arc::clone(&is_away)).await;
    let (second, other) = issuer(Arc::default()).await;
    let settings = |of: &Backend, more: &str| {
        format!(
            "[auth]\naudience = [\"app\"]\njwks_url = \"http://{}/\"\n{more}",
            of.address()
        )
    };
    let node = Reloadable::start("jwks", &settings(&first, "")).await;
    assert!(is_let_in(&node, &issued(&key)).await);
    is_away.store(true, Ordering::Relaxed);
    let refresh = settings(&first, "jwks_refresh = \"1h\"");
    node.changes(&refresh, &["auth.jwks_refresh"]).await;
    assert!(is_let_in(&node, &issued(&key)).await);
    let moved = settings(&second, "jwks_refresh = \"1h\"");
    node.changes(&moved, &["auth.jwks_url"]).await;
    assert!(is_let_in(&node, &issued(&other)).await);
    assert!(!is_let_in(&node, &issued(&key)).await);
}

#[tokio::test]
async fn a_token_in_a_new_cookie_is_left_out_of_what_the_backend_gets() {
    let backend = backend("it", Arc::default()).await;
    let settings = |cookie: &str| {
        format!(
            "[auth]\njwt_secret = \"{SECRET}\"\naudience = [\"app\"]\n{cookie}\
             [backend]\nurl = {:?}\nsecret = \"{SECRET}\"\n",
            backend.url()
        )
    };
    let node = Reloadable::start("cookie", &settings("")).await;
    node.changes(&settings("cookie = \"jwt\"\n"), &["auth.cookie"])
        .await;
    let header = format!("Cookie: a=1; jwt={}\r\n", token(SECRET, &claims()));
    let mut client = WebSocket::open_with(node.gateway.address(), "", &header).await;
    client.send("40").await;
    let answer = client.answer().await;
    assert!(answer.starts_with("40"), "{answer}");
    assert_eq!(backend.calls()[0]["handshake"]["headers"]["cookie"], "a=1");
}

/// A backend that takes everybody and answers events with its name, those that wait when it is told to.
async fn backend(name: &'static str, go: Arc<Notify>) -> Backend {
    Backend::serve(([127, 0, 0, 1], 0).into(), move |_, body| {
        let call: Value = serde_json::from_slice(&body).unwrap();
        let go = Arc::clone(&go);
        Box::pin(async move {
            if call["event"] == "wait" {
                go.notified().await;
            }
            match call["type"].as_str() {
                Some("event") => (200, json!({"ack": [name]})),
                _ => (200, Value::Null),
            }
        })
    })
    .await
}

#[tokio::test]
async fn events_go_to_the_new_backend_and_calls_under_way_end_at_the_old_one() {
    let go = Arc::<Notify>::default();
    let (old, new) = (
        backend("old", Arc::clone(&go)).await,
        backend("new", Arc::clone(&go)).await,
    );
    let settings = |url: &str, more: &str| {
        format!("[backend]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n{more}")
    };
    let node = Reloadable::start("backend", &settings(&old.url(), "")).await;
    let (mut ann, _) = node.gateway.client().await;
    let (mut bob, _) = node.gateway.client().await;
    ann.send(r#"421["wait"]"#).await;
    until(async || old.calls().iter().any(|call| call["event"] == "wait")).await;

    node.changes(&settings(&new.url(), ""), &["backend.url"])
        .await;
    bob.send(r#"421["e"]"#).await;
    bob.expect(r#"431["new"]"#).await;
    assert_eq!(node.gateway.metric("gateway_backend_in_flight").await, 1.0);
    // One socket's events keep their order, whichever backend they go to.
    ann.send(r#"422["e"]"#).await;
    go.notify_one();
    ann.expect(r#"431["old"]"#).await;
    ann.expect(r#"432["new"]"#).await;
    until(async || node.gateway.metric("gateway_backend_in_flight").await == 0.0).await;
    drop(old);
    ann.send(r#"423["e"]"#).await;
    ann.expect(r#"433["new"]"#).await;

    let routes = format!(
        "routes = [\"/ here {}\", \"/ silent nowhere\", \"/ echo relay\"]",
        new.url()
    );
    node.changes(&settings(&new.url(), &routes), &["backend.routes"])
        .await;
    for (event, answer) in [("here", r#"434["new"]"#), ("echo", "434[]")] {
        ann.send(&format!("424[{event:?}]")).await;
        ann.expect(answer).await;
    }
    ann.send(r#"425["silent"]"#).await;
    let answer = ann.answer().await;
    assert!(answer.contains("unknown_event"), "{answer}");
}

#[tokio::test]
async fn requests_are_made_as_the_new_settings_say() {
    let go = Arc::<Notify>::default();
    let backend = backend("it", go).await;
    let settings = |more: &str| {
        format!(
            "[backend]\nurl = {:?}\nsecret = \"{SECRET}\"\n{more}",
            backend.url()
        )
    };
    let node = Reloadable::start("requests-to-it", &settings("")).await;
    let (mut ann, _) = node.gateway.client().await;
    let more = "timeout = \"100ms\"\nconcurrency = 2\nqueue = 3\nbatch = 4\nretries = 0\nidempotent = true\n\
                breaker_failures = 1\nbreaker_pause = \"10m\"\nhttp2 = false\n";
    let names = [
        "backend.timeout",
        "backend.concurrency",
        "backend.queue",
        "backend.batch",
        "backend.retries",
        "backend.idempotent",
        "backend.breaker_failures",
        "backend.breaker_pause",
    ];
    node.changes(&settings(more), &names).await;
    // The first failure is enough now, and it comes soon.
    ann.send(r#"421["wait"]"#).await;
    let answer = ann.answer().await;
    assert!(answer.contains("backend_timeout"), "{answer}");
    ann.send(r#"422["e"]"#).await;
    let answer = ann.answer().await;
    assert!(answer.contains("backend_unavailable"), "{answer}");
    let open = "gateway_backend_breakers_open";
    assert_eq!(node.gateway.metric(open).await, 1.0);
    // What is like before is left as it is.
    let routed = settings(&format!("{more}routes = [\"/ echo relay\"]\n"));
    node.changes(&routed, &["backend.routes"]).await;
    assert_eq!(node.gateway.metric(open).await, 1.0);
    let mended = settings("http2 = true\n");
    let (changed, _) = node.reload(&mended).await;
    assert!(changed.contains(&"backend.http2"), "{changed:?}");
    node.reload(&settings("")).await;
    ann.send(r#"423["e"]"#).await;
    ann.expect(r#"433["it"]"#).await;
    let other = settings("").replace(SECRET, OTHER);
    node.changes(&other, &["backend.secret"]).await;
    let (changed, waiting) = node.reload("").await;
    assert_eq!(changed, [""; 0]);
    assert_eq!(waiting, ["backend.url"]);
}

#[tokio::test]
async fn whom_to_trust_is_read_again() {
    let certificates = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (ca, key) = (folder.join("reload-ca.crt"), folder.join("reload-ca.key"));
    let put = |name: &str| {
        std::fs::copy(certificates.join(format!("{name}.crt")), &ca).unwrap();
        std::fs::copy(certificates.join(format!("{name}.key")), &key).unwrap();
    };
    put("one");
    for (section, more) in [
        (
            "backend",
            format!("url = \"https://127.0.0.1:9\"\nsecret = \"{SECRET}\""),
        ),
        ("auth", "jwks_url = \"https://127.0.0.1:9\"".to_owned()),
    ] {
        put("one");
        let plain = format!("[{section}]\n{more}\n");
        let node = Reloadable::start(&format!("trust-{section}"), &plain).await;
        let (ca, key) = (ca.display(), key.display());
        let trusting = format!(
            "{plain}ca_file = \"{ca}\"\ntls_verify = \"ca\"\ntls_cert = \"{ca}\"\ntls_key = \"{key}\"\n"
        );
        let (changed, waiting) = node.reload(&trusting).await;
        assert_eq!(waiting, [""; 0]);
        let names = match section {
            "backend" => [
                "backend.ca_file",
                "backend.tls_verify",
                "backend.tls_cert",
                "backend.tls_key",
            ],
            _ => [
                "auth.ca_file",
                "auth.tls_verify",
                "auth.tls_cert",
                "auth.tls_key",
            ],
        };
        assert!(
            changed.iter().all(|it| names.contains(it)) && changed.len() >= 3,
            "{changed:?}"
        );
        node.changes(&trusting, &[]).await;
        put("two");
        let (changed, _) = node.reload(&trusting).await;
        assert!(
            changed.contains(&names[0]) && changed.contains(&names[2]),
            "{changed:?}"
        );
        std::fs::write(folder.join("reload-ca.crt"), "no certificate").unwrap();
        let why = node.refuses(&trusting).await;
        assert!(why.contains(names[0]), "{why}");
    }
}

#[tokio::test]
async fn the_admin_page_changes_and_another_password_ends_all_logins() {
    // Of `s3cret` and of `other1`.
    let old = crate::admin::HASH;
    let new = "$2b$04$abcdefghijklmnopqrstuuKNhebnFV.7Fj6Y8tVLJz4wkHQJCotaW";
    let settings = |user: &str, hash: &str, more: &str| {
        format!("[admin]\nuser = \"{user}\"\npassword = \"{hash}\"\n{more}")
    };
    let node = Reloadable::start("admin", &settings("ann", old, "")).await;
    let log_in = async |user: &str, password: &str| {
        let mut page = node.gateway.websocket().await;
        let auth = json!({"username": user, "password": password});
        page.send(&format!("40/admin,{auth}")).await;
        let answer = page.answer().await;
        (page, answer.starts_with("40"))
    };
    let (mut page, is_in) = log_in("ann", "s3cret").await;
    assert!(is_in);
    let more = "mode = \"development\"\nread_only = true\nsockets = 7\nevents_per_second = 7";
    let changed = [
        "admin.mode",
        "admin.read_only",
        "admin.sockets",
        "admin.events_per_second",
    ];
    node.changes(&settings("ann", old, more), &changed).await;
    let (mut second, _) = log_in("ann", "s3cret").await;
    let config = r#"42/admin,["config",{"supportedFeatures":["AGGREGATED_EVENTS","ALL_EVENTS"]}]"#;
    while second.answer().await != config {}

    node.changes(&settings("ann", new, more), &["admin.password"])
        .await;
    for page in [&mut page, &mut second] {
        while page.answer().await != "41/admin," {}
    }
    assert!(!log_in("ann", "s3cret").await.1 && log_in("ann", "other1").await.1);
    node.changes(&settings("bob", new, more), &["admin.user"])
        .await;
    assert!(!log_in("ann", "other1").await.1 && log_in("bob", "other1").await.1);
    let (changed, waiting) = node.reload("").await;
    assert_eq!((changed, waiting), (vec![], vec!["admin.user"]));
    assert!(log_in("bob", "other1").await.1);
}
