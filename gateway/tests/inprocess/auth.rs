//! Tokens: at connect, in the relay, refreshed, expired, and forged.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use gateway::{Config, Server};
use p521::ecdsa::signature::Signer;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use serde_json::{Value, json};

use crate::support::{Backend, Frame, TestGateway, WebSocket, config, sid, token_by, token_of};

const SECRET: &str = "a secret that only tests know";

async fn gateway(more: &str) -> TestGateway {
    let toml = format!("[auth]\njwt_secret = \"{SECRET}\"\n{more}");
    start(&toml).await
}

async fn start(toml: &str) -> TestGateway {
    let mut config = config();
    let read = Config::from_toml(toml).unwrap();
    config.auth = read.auth;
    config.cors = read.cors;
    config.namespaces = read.namespaces;
    TestGateway::start(Server::new(config)).await
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64
}

fn signed(algorithm: &str, claims: &Value) -> String {
    token_of(algorithm, SECRET.as_bytes(), claims)
}

/// A token that lasts for `seconds`, and what else it says.
fn token(seconds: i64, more: Value) -> String {
    let mut claims = json!({"sub": "ann", "exp": now() + seconds});
    claims
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    signed("HS256", &claims)
}

/// What a client with this token is answered in a namespace.
async fn answer(gateway: &TestGateway, namespace: &str, token: &str) -> String {
    let mut client = gateway.websocket().await;
    let auth = json!({"token": token});
    client.send(&format!("40{namespace}{auth}")).await;
    client.answer().await
}

fn refused(code: &str, message: &str) -> String {
    let error = json!({"message": message, "data": {"code": code}});
    let error: Value = error;
    format!(
        "44{{\"message\":{},\"data\":{}}}",
        error["message"], error["data"]
    )
}

fn invalid() -> String {
    refused("token_invalid", "the token is not valid")
}

async fn client(gateway: &TestGateway, token: &str) -> WebSocket {
    let mut client = gateway.websocket().await;
    client.send(&format!("40{}", json!({"token": token}))).await;
    sid(&client.answer().await);
    client
}

#[tokio::test]
async fn a_token_may_come_in_auth_header_or_query() {
    let gateway = gateway("").await;
    let token = token(60, json!({}));
    client(&gateway, &token).await;
    let header = format!("Authorization: Bearer {token}\r\n");
    let mut client = WebSocket::open_with(gateway.address(), "", &header).await;
    client.connect().await;
    let query = format!("&token={token}");
    let mut client = WebSocket::open_with(gateway.address(), &query, "").await;
    client.connect().await;
    let mut client =
        WebSocket::open_with(gateway.address(), "", "Authorization: Basic YQ==\r\n").await;
    client.send("40").await;
    assert_eq!(
        client.answer().await,
        refused("token_missing", "a token is needed")
    );
    gateway
        .until_metric("gateway_tokens_total{result=\"accepted\"}", 3.0)
        .await;
    gateway
        .until_metric("gateway_tokens_total{result=\"missing\"}", 1.0)
        .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_token_is_told_by_a_code() {
    let gateway = gateway("").await;
    let expired = refused("token_expired", "the token has expired");
    assert_eq!(answer(&gateway, "", &token(-100, json!({}))).await, expired);
    let namespaces = token(60, json!({"namespaces": ["/chat-*"]}));
    let forbidden = refused(
        "namespace_forbidden",
        "the token does not allow this namespace",
    );
    assert_eq!(answer(&gateway, "", &namespaces).await, forbidden);
    for wrong in [
        token(60, json!({"nbf": now() + 100})),
        token(60, json!({"aud": "somebody else"})),
        token(60, json!({"sub": 7.5})),
        token(60, json!({"sub": ""})),
        signed("HS256", &json!({"sub": "ann"})),
        String::new(),
        "x".to_owned(),
        "a.b.c".to_owned(),
    ] {
        assert_eq!(answer(&gateway, "", &wrong).await, invalid(), "{wrong}");
    }
    let mut client = gateway.websocket().await;
    client.send("40{\"token\":7}").await;
    assert_eq!(client.answer().await, invalid());
}

#[tokio::test]
async fn every_hmac_algorithm_is_taken() {
    let gateway = gateway("").await;
    for algorithm in ["HS256", "HS384", "HS512"] {
        client(&gateway, &signed(algorithm, &json!({"exp": now() + 60}))).await;
    }
}

#[tokio::test]
async fn issuer_and_audience_are_checked() {
    let gateway = gateway("issuer = \"me\"\naudience = [\"chat\", \"news\"]\n").await;
    client(&gateway, &token(60, json!({"iss": "me", "aud": "news"}))).await;
    client(
        &gateway,
        &token(60, json!({"iss": "me", "aud": ["x", "chat"]})),
    )
    .await;
    for wrong in [
        json!({}),
        json!({"iss": "me"}),
        json!({"aud": "chat"}),
        json!({"iss": "you", "aud": "chat"}),
        json!({"iss": "me", "aud": "x"}),
        json!({"iss": ["me"], "aud": []}),
    ] {
        let token = token(60, wrong.clone());
        assert_eq!(answer(&gateway, "", &token).await, invalid(), "{wrong}");
    }
}

#[tokio::test]
async fn the_relay_keeps_to_the_rights_of_the_token() {
    let gateway = gateway("").await;
    let rooms = json!({"rooms": {"chat:*": ["join", "publish"], "news": ["join"]}});
    let mut client = client(&gateway, &token(60, rooms)).await;
    let ok = r#"431[{"ok":true}]"#;
    let forbidden =
        r#"431[{"error":{"code":"forbidden","message":"the token does not allow it"},"ok":false}]"#;
    let private = r#"431[{"error":{"code":"forbidden_room","message":"the room belongs to another socket or to a user"},"ok":false}]"#;
    for (event, expected) in [
        (r#"["join","chat:1"]"#, ok),
        (r#"["join",["chat:1","news"]]"#, ok),
        (r#"["join","other"]"#, forbidden),
        (r#"["join",["chat:1","other"]]"#, forbidden),
        (r#"["join","$user:ann"]"#, private),
        (r#"["leave","$user:ann"]"#, private),
        (r#"["publish","chat:1","x"]"#, ok),
        (r#"["publish","news","x"]"#, forbidden),
        (r#"["broadcast","x"]"#, forbidden),
        (r#"["leave","other"]"#, ok),
    ] {
        client.send(&format!("421{event}")).await;
        assert_eq!(client.answer().await, expected, "{event}");
    }
}

#[tokio::test]
async fn a_new_token_takes_the_place_of_the_old_one() {
    let gateway = gateway("grace = \"100ms\"\n").await;
    let short = token(2, json!({"rooms": {}}));
    // It keeps its token, so that it tells when that is over.
    let mut other = client(&gateway, &short).await;
    let mut client = client(&gateway, &short).await;
    let longer = token(600, json!({}));
    client
        .send(&format!("421{}", json!(["token", longer])))
        .await;
    let expires = client.answer().await;
    assert!(expires.contains(r#""ok":true"#), "{expires}");
    client.send(r#"422["join","anywhere"]"#).await;
    client.expect(r#"432[{"ok":true}]"#).await;
    for (wrong, code) in [
        (json!(token(600, json!({"sub": "bob"}))), "forbidden"),
        (json!(token(-100, json!({}))), "token_expired"),
        (json!({"token": "x"}), "token_invalid"),
        (json!(7), "token_missing"),
    ] {
        client
            .send(&format!("423{}", json!(["token", wrong])))
            .await;
        let answer = client.answer().await;
        assert!(answer.contains(&format!(r#""code":"{code}""#)), "{answer}");
    }
    let over = other.answer().await;
    assert!(over.contains(r#""code":"token_expired""#), "{over}");
    assert_eq!(other.frame().await, Frame::Close(None));
    client.sync().await;
    gateway
        .until_metric("gateway_tokens_expired_total", 1.0)
        .await;
}

#[tokio::test]
async fn a_socket_is_told_and_closed_when_its_token_is_over() {
    let gateway = gateway("grace = \"300ms\"\n").await;
    let mut client = client(&gateway, &token(1, json!({}))).await;
    let told = client.answer().await;
    assert_eq!(
        told,
        r#"42["token",{"closes_in":0.3,"code":"token_expired"}]"#
    );
    assert_eq!(client.frame().await, Frame::Close(None));
    gateway
        .until_metric("gateway_tokens_expired_total", 1.0)
        .await;
    gateway
        .until_metric("gateway_connections{transport=\"websocket\"}", 0.0)
        .await;
}

#[tokio::test]
async fn a_polling_client_comes_back_after_its_token_is_over() {
    let gateway = gateway("grace = \"100ms\"\n").await;
    let mut client = gateway.polling().await;
    client
        .send(&format!("40{}", json!({"token": token(1, json!({}))})))
        .await;
    assert!(client.next().await.starts_with("40{"));
    assert!(client.next().await.contains("token_expired"));
    // Not the close packet, which some clients take for the end.
    let over = client.poll().await;
    assert_eq!(over.status, 400, "{over:?}");
    let closed = r#"gateway_connections_closed_total{reason="token_expired",transport="polling"}"#;
    gateway.until_metric(closed, 1.0).await;
}

/// A key pair of an issuer, and its public part as a JWK.
fn issuer(id: &str) -> (Ed25519KeyPair, Value) {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    let jwk =
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": id, "x": x});
    (pair, jwk)
}

fn issued(key: &Ed25519KeyPair, id: Option<&str>) -> String {
    let mut header = json!({"typ": "JWT", "alg": "EdDSA"});
    if let Some(id) = id {
        header["kid"] = id.into();
    }
    by_hand(&header, |message| key.sign(message).as_ref().to_owned())
}

#[tokio::test]
async fn published_keys_are_fetched_once_and_rotated() {
    let (first, first_jwk) = issuer("first");
    let (second, second_jwk) = issuer("second");
    let published = Arc::new(Mutex::new(vec![first_jwk]));
    let keys = Arc::clone(&published);
    let backend = Backend::start(move |_| (200, json!({"keys": *keys.lock().unwrap()}))).await;
    let gateway = start(&format!(
        "[auth]\njwks_url = \"http://{}/jwks\"",
        backend.address()
    ))
    .await;
    assert_eq!(
        answer(&gateway, "", &issued(&second, Some("second"))).await,
        invalid()
    );
    for id in [Some("first"), None] {
        client(&gateway, &issued(&first, id)).await;
    }
    // An unknown name does not have the keys fetched again within ten seconds.
    for id in ["second", "../../etc/passwd", "x' OR 1=1"] {
        assert_eq!(
            answer(&gateway, "", &issued(&second, Some(id))).await,
            invalid()
        );
    }
    assert_eq!(backend.calls().len(), 1);
    published.lock().unwrap()[0] = second_jwk;
    let second_token = issued(&second, Some("second"));
    crate::support::until(async || answer(&gateway, "", &second_token).await != invalid()).await;
    client(&gateway, &second_token).await;
    assert_eq!(
        answer(&gateway, "", &issued(&first, Some("first"))).await,
        invalid()
    );
    assert_eq!(backend.calls().len(), 2);
}

#[tokio::test]
async fn an_issuer_that_is_away_is_no_fault_of_the_token() {
    let (key, jwk) = issuer("k");
    let backend = Backend::start(|_| (503, json!({}))).await;
    let address = backend.address();
    let gateway = start(&format!("[auth]\njwks_url = \"http://{address}/jwks\"")).await;
    // No `connect_error`, which would be final for official clients: the transport closes.
    let mut early = gateway.websocket().await;
    early
        .send(&format!(r#"40{{"token":"{}"}}"#, issued(&key, None)))
        .await;
    early.expect_close().await;
    drop(backend);
    let keys = json!({"keys": [jwk]});
    let published = move |_: &Value| (200, keys.clone());
    crate::support::until(async || std::net::TcpListener::bind(address).is_ok()).await;
    let _backend = Backend::start_at(address, published).await;
    crate::support::until(async || {
        let mut client = gateway.websocket().await;
        let token = issued(&key, None);
        client.send(&format!(r#"40{{"token":"{token}"}}"#)).await;
        matches!(client.frame().await, Frame::Text(text) if text.starts_with("40"))
    })
    .await;
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let (key, jwk) = issuer("k");
    let public = URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
    let backend = Backend::start(move |_| (200, json!({"keys": [jwk]}))).await;
    let gateway = start(&format!(
        "[auth]\njwt_secret = \"{SECRET}\"\njwks_url = \"http://{}/\"",
        backend.address()
    ))
    .await;
    client(&gateway, &issued(&key, Some("k"))).await;
    let good = token(60, json!({}));
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let claims = part(json!({"sub": "eve", "exp": now() + 60}));
    let (head, rest) = good.split_once('.').unwrap();
    let signature = rest.rsplit('.').next().unwrap();
    let confused = token_of("HS256", &public, &json!({"exp": now() + 60}));
    let secret = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let critical = by_hand(&json!({"alg": "HS256", "crit": ["b64"]}), |message| {
        hmac::sign(&secret, message).as_ref().to_owned()
    });
    let (own, own_jwk) = issuer("k");
    let embedded = by_hand(&json!({"alg": "EdDSA", "jwk": own_jwk}), |message| {
        own.sign(message).as_ref().to_owned()
    });
    for forged in [
        format!("{}.{claims}.", part(json!({"alg": "none"}))),
        format!("{}.{claims}.{signature}", part(json!({"alg": "none"}))),
        format!("{}.{claims}.", part(json!({"alg": "NoNe", "typ": "JWT"}))),
        format!("{head}.{claims}."),
        format!("{head}.{claims}.{signature}"),
        format!(
            "{}.{claims}.{signature}",
            part(json!({"alg": "EdDSA", "kid": "k"}))
        ),
        confused,
        critical,
        embedded,
        good[..good.len() - 1].to_owned(),
        format!("{good}."),
        format!("{good}.x"),
        format!(" {good}"),
        token(60, json!({"pad": "x".repeat(9000)})),
        "x".repeat(500_000),
    ] {
        let shown: String = forged.chars().take(60).collect();
        assert_eq!(answer(&gateway, "", &forged).await, invalid(), "{shown}");
    }
}

/// A token made by hand, with a header and a signature of any kind.
fn by_hand(header: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    token_by(header, &json!({"sub": "ann", "exp": now() + 60}), sign)
}

#[tokio::test]
async fn every_kind_of_published_key_is_taken_however_it_is_written() {
    let random = SystemRandom::new();
    let rsa = RsaKeyPair::from_pkcs8(include_bytes!("../keys/rsa.pk8")).unwrap();
    let modulus = PublicKeyComponents::<Vec<u8>>::from(rsa.public()).n;
    let curves = [
        ("P-256", "ES256", &ECDSA_P256_SHA256_FIXED_SIGNING),
        ("P-384", "ES384", &ECDSA_P384_SHA384_FIXED_SIGNING),
    ];
    let curves = curves.map(|(curve, name, kind)| {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let jwk = json!({"kty": "EC", "kid": curve, "crv": curve, "x": x, "y": y});
        (name, pair, jwk)
    });
    // Below the order of the curve, which has 521 bits.
    let mut scalar = [7; 66];
    scalar[0] = 0;
    let p521 = p521::ecdsa::SigningKey::from_slice(&scalar).unwrap();
    let point = p521.verifying_key().to_sec1_point(false).as_bytes()[1..].to_owned();
    let (edwards, _) = issuer("new");
    let keys = json!({"keys": [
        {"kty": "RSA", "kid": "padded", "n": URL_SAFE.encode(&modulus), "e": "AQAB"},
        {"kty": "RSA", "kid": "standard", "n": STANDARD.encode(&modulus), "e": "AQAB"},
        {"kty": "EC", "kid": "p521", "crv": "P-521", "alg": "ES512",
         "x": URL_SAFE.encode(&point[..66]), "y": URL_SAFE.encode(&point[66..])},
        {"kty": "OKP", "kid": "new", "crv": "Ed25519", "alg": "Ed25519",
         "x": URL_SAFE.encode(edwards.public_key())},
        curves[0].2, curves[1].2,
        {"kty": "RSA", "kid": "enc", "use": "enc", "n": "AQAB", "e": "AQAB"},
    ]});
    let backend = Backend::start(move |_| (200, keys.clone())).await;
    let url = format!("[auth]\njwks_url = \"http://{}/\"", backend.address());
    let gateway = start(&url).await;
    for (name, algorithm) in [
        ("RS256", &RSA_PKCS1_SHA256 as &dyn RsaEncoding),
        ("RS384", &RSA_PKCS1_SHA384),
        ("RS512", &RSA_PKCS1_SHA512),
        ("PS256", &RSA_PSS_SHA256),
        ("PS384", &RSA_PSS_SHA384),
        ("PS512", &RSA_PSS_SHA512),
    ] {
        let sign = |message: &[u8]| {
            let mut signature = vec![0; rsa.public().modulus_len()];
            rsa.sign(algorithm, &random, message, &mut signature)
                .unwrap();
            signature
        };
        for kid in ["padded", "standard"] {
            client(&gateway, &by_hand(&json!({"alg": name, "kid": kid}), sign)).await;
        }
    }
    for (name, pair, jwk) in &curves {
        let header = json!({"alg": name, "kid": jwk["kid"]});
        let sign = |message: &[u8]| pair.sign(&random, message).unwrap().as_ref().to_owned();
        client(&gateway, &by_hand(&header, sign)).await;
    }
    let sign = |message: &[u8]| {
        let signature: p521::ecdsa::Signature = p521.sign(message);
        signature.to_bytes().to_vec()
    };
    let good = by_hand(&json!({"alg": "ES512", "kid": "p521"}), sign);
    client(&gateway, &good).await;
    let forged = by_hand(&json!({"alg": "ES512", "kid": "p521"}), |_| vec![1; 132]);
    assert_eq!(answer(&gateway, "", &forged).await, invalid());
    let sign = |message: &[u8]| edwards.sign(message).as_ref().to_owned();
    for name in ["EdDSA", "Ed25519"] {
        client(
            &gateway,
            &by_hand(&json!({"alg": name, "kid": "new"}), sign),
        )
        .await;
    }
}

#[tokio::test]
async fn good_keys_stay_when_the_issuer_publishes_none() {
    let (key, jwk) = issuer("k");
    let published = Arc::new(Mutex::new(json!({"keys": [jwk]})));
    let keys = Arc::clone(&published);
    let backend = Backend::start(move |_| (200, keys.lock().unwrap().clone())).await;
    let gateway = start(&format!(
        "[auth]\njwks_refresh = \"1s\"\njwks_url = \"http://{}/\"",
        backend.address()
    ))
    .await;
    client(&gateway, &issued(&key, Some("k"))).await;
    // Keys are not fetched twice within ten seconds, unless that failed.
    for nothing in [
        json!({"keys": []}),
        json!({}),
        json!({"keys": [{"kty": "RSA"}]}),
    ] {
        *published.lock().unwrap() = nothing;
        let before = backend.calls().len();
        crate::support::until(async || {
            client(&gateway, &issued(&key, Some("k"))).await;
            backend.calls().len() > before + 1
        })
        .await;
    }
    client(&gateway, &issued(&key, Some("k"))).await;
}

#[tokio::test]
async fn each_of_several_secrets_is_as_good() {
    let other = "the secret that comes after it";
    for secrets in [
        format!("\"{SECRET},{other}\""),
        format!("[\"{other}\", \"{SECRET}\"]"),
    ] {
        let gateway = start(&format!("[auth]\njwt_secret = {secrets}")).await;
        client(&gateway, &token(60, json!({}))).await;
        let claims = json!({"exp": now() + 60});
        client(&gateway, &token_of("HS256", other.as_bytes(), &claims)).await;
        let unparted = format!("{SECRET},{other}");
        let token = token_of("HS256", unparted.as_bytes(), &claims);
        if secrets.contains(&unparted) {
            client(&gateway, &token).await;
        } else {
            assert_eq!(answer(&gateway, "", &token).await, invalid());
        }
        let wrong = token_of("HS256", b"a secret that nobody configured", &claims);
        assert_eq!(answer(&gateway, "", &wrong).await, invalid());
    }
}

#[tokio::test]
async fn a_user_may_be_a_number_and_a_token_come_with_its_scheme() {
    let gateway = gateway("").await;
    let token = token(60, json!({"sub": 7}));
    client(&gateway, &format!("Bearer {token}")).await;
    let mut client = client(&gateway, &token).await;
    client
        .send(&format!(
            "421{}",
            json!(["token", format!("bearer {token}")])
        ))
        .await;
    let answer = client.answer().await;
    assert!(answer.contains(r#""ok":true"#), "{answer}");
}

#[tokio::test]
async fn a_token_may_come_in_a_cookie_for_pages_that_may() {
    let toml = format!(
        "[auth]\njwt_secret = \"{SECRET}\"\ncookie = \"jwt\"\n\
         [cors]\norigins = [\"https://app.example.com\"]\n"
    );
    let gateway = start(&toml).await;
    let token = token(60, json!({}));
    let cookie = format!("Cookie: a=b; jwt={token}; c=d\r\n");
    for (origin, taken) in [
        ("", true),
        ("Origin: https://app.example.com\r\n", true),
        ("Origin: https://evil.example.com\r\n", false),
        ("Origin: null\r\n", false),
    ] {
        let headers = format!("{cookie}{origin}");
        let mut client = WebSocket::open_with(gateway.address(), "", &headers).await;
        client.send("40").await;
        let answer = client.answer().await;
        if taken {
            sid(&answer);
        } else {
            assert_eq!(answer, refused("token_missing", "a token is needed"));
        }
    }
}

#[tokio::test]
async fn each_fault_of_a_token_is_counted_by_its_reason() {
    let gateway = gateway("issuer = \"me\"\naudience = [\"chat\"]\n").await;
    let good = json!({"iss": "me", "aud": "chat"});
    let with = |more: Value| {
        let mut claims = good.clone();
        let more = more.as_object().unwrap().clone();
        claims.as_object_mut().unwrap().extend(more);
        token(60, claims)
    };
    let claims = json!({"exp": now() + 60});
    let other = token_of("HS256", b"a secret that nobody configured", &claims);
    let (edwards, _) = issuer("k");
    for (token, reason) in [
        ("x".to_owned(), "malformed"),
        (issued(&edwards, None), "algorithm"),
        (other, "signature"),
        (with(json!({"exp": now() - 100})), "expired"),
        (with(json!({"nbf": now() + 100})), "not_yet_valid"),
        (with(json!({"iss": "you"})), "issuer"),
        (with(json!({"aud": "mail"})), "audience"),
        (with(json!({"sub": true})), "claim"),
        (with(json!({"namespaces": ["/x"]})), "namespace"),
    ] {
        let answer = answer(&gateway, "", &token).await;
        assert!(answer.starts_with("44"), "{reason}: {answer}");
        let metric = format!("gateway_tokens_refused_total{{reason=\"{reason}\"}}");
        gateway.until_metric(&metric, 1.0).await;
    }
}
