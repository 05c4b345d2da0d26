//! What the doctor says through what stands in front, and the health check.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::Duration;

use testkit::ports::free_address;

use crate::proxy::{self, Fault};
use crate::support::{Process, request};

const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates");

#[test]
fn nothing_is_wrong_with_a_gateway_or_a_good_proxy() {
    let gateway = Process::start(&["--engine-ping-interval=300ms"]);
    let proxy = proxy::start(Fault::None, &[gateway.clients]);
    for address in [gateway.clients, proxy] {
        let examined = doctor(&format!("http://{address}"), &["--idle-timeout=1s"]);
        assert_eq!(examined.code, 0, "{}", examined.said);
        for step in [
            "connection",
            "polling",
            "session",
            "websocket",
            "upgrade",
            "idle",
        ] {
            examined.expect("ok", step, "");
        }
        examined.expect("ok", "idle", "no idle timeout is shorter than the 300ms");
    }
}

#[test]
fn pings_in_between_are_no_wrong_answers() {
    // Shorter than the doctor lets a poll wait before it posts.
    let gateway = Process::start(&["--engine-ping-interval=50ms"]);
    let examined = doctor(
        &format!("http://{}", gateway.clients),
        &["--idle-timeout=1s"],
    );
    assert_eq!(examined.code, 0, "{}", examined.said);
    for step in ["session", "upgrade", "idle"] {
        examined.expect("ok", step, "");
    }
}

#[test]
fn an_idle_timeout_is_measured() {
    let gateway = Process::start(&[]);
    let idle = Fault::Idle(Duration::from_secs(1));
    let proxy = proxy::start(idle, &[gateway.clients]);
    let examined = doctor(&format!("http://{proxy}"), &["--idle-timeout=20s"]);
    assert_eq!(examined.code, 1);
    examined.expect("WRONG", "idle", "was cut after 1.");
    examined.expect_advice("engine.ping_interval");

    let short = doctor(
        &format!("http://{}", gateway.clients),
        &["--idle-timeout=1s"],
    );
    assert_eq!(short.code, 0, "{}", short.said);
    short.expect("ok", "idle", "give a longer --idle-timeout");
}

#[test]
fn an_upgrade_that_does_not_pass_is_found() {
    let gateway = Process::start(&[]);
    let proxy = proxy::start(Fault::NoUpgrade, &[gateway.clients]);
    let examined = doctor(&format!("http://{proxy}"), &[]);
    assert_eq!(examined.code, 1);
    examined.expect("ok", "polling", "");
    examined.expect("ok", "session", "");
    examined.expect("WRONG", "websocket", "Upgrade and Connection did not");
    examined.expect_advice("proxy_http_version 1.1");
    assert!(examined.said.ends_with("\n1 wrong\n"), "{}", examined.said);
}

#[test]
fn nodes_that_do_not_know_each_other_are_found() {
    let (one, two) = (Process::start(&[]), Process::start(&[]));
    let proxy = proxy::start(Fault::None, &[one.clients, two.clients]);
    let examined = doctor(&format!("http://{proxy}"), &[]);
    assert_eq!(examined.code, 1);
    examined.expect("WRONG", "session", "Session ID unknown");
    examined.expect_advice("redis.url");
}

#[test]
fn answers_that_are_held_back_are_found() {
    let gateway = Process::start(&[]);
    let holds = Fault::Holds(Duration::from_millis(2500));
    let proxy = proxy::start(holds, &[gateway.clients]);
    let examined = doctor(&format!("http://{proxy}"), &[]);
    assert_eq!(examined.code, 1);
    examined.expect("WRONG", "session", "after what it answers");
    examined.expect_advice("buffering");
}

#[test]
fn other_answers_than_a_gateways_are_told_apart() {
    for (answer, expected) in [
        (
            "HTTP/1.1 301 Moved\r\nLocation: https://example.com/\r\nContent-Length: 0\r\n\r\n",
            "https://example.com/",
        ),
        (
            "HTTP/1.1 404 Not Found\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n",
            "does not route it",
        ),
        (
            "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
            "reaches no gateway",
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
            "wants a login",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
            "Something else than a gateway",
        ),
        ("nonsense\r\n\r\n", "closes connections before it answers"),
    ] {
        let proxy = proxy::start(Fault::Answers(answer), &[]);
        let examined = doctor(&format!("http://{proxy}/socket.io"), &[]);
        assert_eq!(examined.code, 1);
        examined.expect("WRONG", "polling", "");
        examined.expect_advice(expected);
    }
}

#[test]
fn a_gateway_that_refuses_is_told_from_one_that_is_not_there() {
    let gateway = Process::start(&["--limits-connections=1", "--engine-connect-timeout=1d"]);
    let handshake = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1";
    assert!(request(gateway.clients, handshake).starts_with("HTTP/1.1 200 "));
    let examined = doctor(&format!("http://{}", gateway.clients), &[]);
    assert_eq!(examined.code, 1);
    examined.expect("WRONG", "polling", "Too many connections");
    examined.expect_advice("limits.*");

    let examined = doctor(&format!("http://{}", free_address()), &[]);
    assert_eq!(examined.code, 1);
    examined.expect("WRONG", "connection", "no server answers");
}

#[test]
fn certificates_are_judged() {
    let files = [
        format!("--tls-cert={CERTIFICATES}/one.crt"),
        format!("--tls-key={CERTIFICATES}/one.key"),
    ];
    let gateway = Process::start(&[&files[0], &files[1]]);
    let url = format!("https://localhost:{}", gateway.clients.port());
    let ca = format!("--ca={CERTIFICATES}/one.crt");
    let examined = doctor(&url, &["--idle-timeout=0", &ca]);
    assert_eq!(examined.code, 0, "{}", examined.said);
    examined.expect("ok", "connection", "TLS and certificate are good");

    let examined = doctor(&url, &[]);
    assert_eq!(examined.code, 1);
    examined.expect("WRONG", "connection", "certificate that is not valid");

    let unchecked = doctor(&url, &["--idle-timeout=0", "--tls-verify=none"]);
    assert_eq!(unchecked.code, 0, "{}", unchecked.said);
    unchecked.expect("ok", "connection", "nobody looked at the certificate");
    let other = format!("--ca={CERTIFICATES}/two.crt");
    let examined = doctor(&url, &["--idle-timeout=0", &other, "--tls-verify=ca"]);
    examined.expect("WRONG", "connection", "certificate that is not valid");
    let plain = doctor(&format!("http://{}", gateway.clients), &[]);
    assert_eq!(plain.code, 1);
    plain.expect("WRONG", "polling", "");
}

#[test]
fn a_url_may_lack_its_scheme_and_hold_a_namespace() {
    let gateway = Process::start(&["--namespaces=/,/chat"]);
    let examined = doctor(&gateway.clients.to_string(), &["--idle-timeout=0"]);
    assert_eq!(examined.code, 0, "{}", examined.said);
    examined.expect(
        "..",
        "url",
        &format!("taken for http://{}", gateway.clients),
    );
    examined.expect("ok", "namespace", "connected to /");

    let examined = doctor(
        &format!("http://{}/chat", gateway.clients),
        &["--idle-timeout=0"],
    );
    assert_eq!(examined.code, 0, "{}", examined.said);
    examined.expect("..", "url", "/chat is taken for a namespace");
    examined.expect("ok", "namespace", "connected to /chat");

    for (url, flags) in [("/news", &[][..]), ("", &["--namespace=news"])] {
        let url = format!("http://{}{url}", gateway.clients);
        let examined = doctor(&url, &[&["--idle-timeout=0"], flags].concat());
        assert_eq!(examined.code, 1, "{}", examined.said);
        examined.expect(
            "WRONG",
            "namespace",
            "/news refuses this client: Invalid namespace",
        );
    }
}

#[test]
fn the_internal_port_is_known() {
    let gateway = Process::start(&[]);
    let examined = doctor(&format!("http://{}", gateway.internal), &[]);
    assert_eq!(examined.code, 1);
    examined.expect("WRONG", "polling", "this is the internal port of a gateway");
    examined.expect_advice("the setting listen");
}

#[test]
fn tokens_are_shown_and_judged() {
    let secret = "--auth-jwt-secret=0123456789abcdef";
    let gateway = Process::start(&[secret, "--auth-leeway=0"]);
    let url = format!("http://{}", gateway.clients);
    let token = |flags: &[&str]| {
        let output = program(&[&["token", secret], flags].concat());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let without = doctor(&url, &["--idle-timeout=0"]);
    assert_eq!(without.code, 0, "{}", without.said);
    without.expect("warn", "namespace", "(token_missing)");
    without.expect_advice("--token");
    assert!(
        without.said.ends_with("\nnothing is wrong, 1 to look at\n"),
        "{}",
        without.said
    );

    let good = doctor(&url, &["--idle-timeout=0", "--token", &token(&[])]);
    assert_eq!(good.code, 0, "{}", good.said);
    good.expect("ok", "namespace", "connected to / with the token");

    for (shown, code) in [
        ("nonsense".to_owned(), "(token_invalid)"),
        (token(&["--ttl=0"]), "(token_expired)"),
        (token(&["--namespace=/chat"]), "(namespace_forbidden)"),
    ] {
        let refused = doctor(&url, &["--idle-timeout=0", "--token", &shown]);
        assert_eq!(refused.code, 1, "{}", refused.said);
        refused.expect("WRONG", "namespace", code);
        assert!(!refused.said.contains(&shown), "{}", refused.said);
    }
}

#[test]
fn origins_are_judged() {
    let listed = "--cors-origins=https://a.example";
    let gateway = Process::start(&[listed]);
    let url = format!("http://{}", gateway.clients);
    let own = url.clone();
    for (origin, mark, part) in [
        (
            "https://a.example",
            "ok",
            "Access-Control-Allow-Origin: https://a.example",
        ),
        (&*own, "ok", "the gateway's own"),
        (
            "https://b.example",
            "WRONG",
            "no Access-Control-Allow-Origin",
        ),
    ] {
        let examined = doctor(&url, &["--idle-timeout=0", "--origin", origin]);
        examined.expect(mark, "origin", part);
        assert_eq!(
            examined.code,
            i32::from(mark == "WRONG"),
            "{}",
            examined.said
        );
    }
    let strict = Process::start(&[listed, "--cors-enforce=true"]);
    let url = format!("http://{}", strict.clients);
    let examined = doctor(&url, &["--idle-timeout=0", "--origin=https://b.example"]);
    assert_eq!(examined.code, 1, "{}", examined.said);
    examined.expect_advice("cors.origins");
}

#[test]
fn a_certificate_that_only_rust_refuses_is_a_warning_with_the_remedy() {
    let files = [
        format!("--tls-cert={CERTIFICATES}/marked.crt"),
        format!("--tls-key={CERTIFICATES}/two.key"),
    ];
    let gateway = Process::start(&[&files[0], &files[1]]);
    let url = format!("https://localhost:{}", gateway.clients.port());
    let ca = format!("--ca={CERTIFICATES}/one.crt");
    let examined = doctor(&url, &["--idle-timeout=0", &ca]);
    assert_eq!(examined.code, 0, "{}", examined.said);
    examined.expect("warn", "connection", "CaUsedAsEndEntity");
    examined.expect_advice("CA:FALSE");
    // Without the authority nobody takes it.
    let examined = doctor(&url, &["--idle-timeout=0"]);
    assert_eq!(examined.code, 1, "{}", examined.said);
    examined.expect("WRONG", "connection", "UnknownIssuer");
}

#[test]
fn what_is_no_order_ends_with_2() {
    for arguments in [
        &["doctor"][..],
        &["doctor", "http://localhost", "--origin=example.com"],
        &["doctor", "http://localhost", "--token="],
        &["doctor", "ftp://localhost"],
        &["doctor", "unix:/run/gateway.sock"],
        &["doctor", "http://localhost", "--idle-timeout=70x"],
        &["doctor", "https://localhost", "--ca=missing.pem"],
        &["doctor", "https://localhost", "--tls-verify=some"],
        &["doctor", "https://localhost", "--cert=missing.pem"],
        &[
            "doctor",
            "https://localhost",
            "--cert=missing.pem",
            "--key=missing.pem",
        ],
        &["doctor", "http://localhost", "--idle-timout=70s"],
    ] {
        let output = program(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn the_health_check_tells_ready_from_draining_and_gone() {
    let mut gateway = Process::start(&["--shutdown-drain=1d"]);
    let check = |internal: SocketAddr| {
        let output = program(&["healthcheck", &format!("--internal-listen={internal}")]);
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    };
    let (status, said) = check(gateway.internal);
    assert_eq!((status, said.trim()), (Some(0), r#"{"ready":true}"#));
    let everywhere = SocketAddr::from(([0, 0, 0, 0], gateway.internal.port()));
    assert_eq!(check(everywhere).0, Some(0));
    request(gateway.internal, "POST /drain HTTP/1.1");
    let (status, said) = check(gateway.internal);
    assert_eq!(status, Some(1));
    assert_eq!(said.trim(), r#"{"ready":false,"reason":"draining"}"#);
    let internal = format!("--internal-listen={}", gateway.internal);
    let live = || program(&["healthcheck", "--live", &internal]);
    assert_eq!(live().status.code(), Some(0));
    gateway.kill();
    assert_eq!(check(gateway.internal).0, Some(1));
    assert_eq!(live().status.code(), Some(1));
}

struct Examined {
    code: i32,
    said: String,
}

impl Examined {
    /// There is a line of that step which says that.
    fn expect(&self, mark: &str, step: &str, part: &str) {
        let begin = format!("{mark:<6} {step:<11} ");
        let mut lines = self.said.lines().filter(|line| line.starts_with(&begin));
        assert!(lines.any(|line| line.contains(part)), "{}", self.said);
    }

    fn expect_advice(&self, part: &str) {
        let mut lines = self.said.lines().filter(|line| line.contains(" -> "));
        assert!(lines.any(|line| line.contains(part)), "{}", self.said);
    }
}

fn doctor(url: &str, flags: &[&str]) -> Examined {
    let output = program(&[&["doctor", url], flags].concat());
    Examined {
        code: output.status.code().unwrap(),
        said: String::from_utf8(output.stdout).unwrap(),
    }
}

fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(arguments)
        .env_clear()
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap()
}
