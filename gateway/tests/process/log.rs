//! What it logs.

use crate::support::{Process, post, request};

#[test]
fn the_log_has_a_line_for_each_refusal_and_each_close_with_its_reason() {
    let levels = "off,gateway::http=debug,gateway::session=debug";
    let gateway = Process::start(&["--log-format=json", "--log-level", levels]);
    let target = "/socket.io/?EIO=4&transport=polling";
    let refused = request(
        gateway.clients,
        &format!("GET {target}&sid=nobody HTTP/1.1"),
    );
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    let opened = request(gateway.clients, &format!("GET {target} HTTP/1.1"));
    let (_, sid) = opened.split_once("\"sid\":\"").unwrap();
    let sid = sid.split('"').next().unwrap();
    let posted = post(gateway.clients, &format!("{target}&sid={sid}"), "1");
    assert!(posted.ends_with("\r\n\r\nok"), "{posted}");
    gateway.signal("INT");
    let lines = gateway.log();
    let said = |message: &str, field: &str| {
        let mut found = lines.iter().filter(|line| line["message"] == message);
        let line = found
            .next()
            .unwrap_or_else(|| panic!("{message}: {lines:?}"));
        assert!(found.next().is_none(), "{message} twice: {lines:?}");
        assert_eq!(line["level"], "DEBUG");
        assert!(line["address"].as_str().unwrap().starts_with("127.0.0.1:"));
        let target = line["target"].as_str().unwrap().to_owned();
        (target, line[field].as_str().unwrap_or_default().to_owned())
    };
    let pair = |target: &str, value: &str| (target.to_owned(), value.to_owned());
    assert_eq!(
        said("request refused", "reason"),
        pair("gateway::http::engineio", "unknown_sid")
    );
    assert_eq!(
        said("session opened", "transport"),
        pair("gateway::session", "polling")
    );
    assert_eq!(
        said("session closed", "reason"),
        pair("gateway::session", "transport_close")
    );
    assert_eq!(lines.len(), 3, "{lines:?}");
}

#[test]
fn packets_are_in_the_log_at_its_finest_and_neither_sid_nor_auth() {
    let gateway = Process::start(&["--log-level", "gateway::session=trace"]);
    let target = "/socket.io/?EIO=4&transport=polling";
    let opened = request(gateway.clients, &format!("GET {target} HTTP/1.1"));
    let (_, sid) = opened.split_once("\"sid\":\"").unwrap();
    let sid = sid.split('"').next().unwrap().to_owned();
    let packets = "40{\"token\":\"hunter2\"}\x1e420[\"echo\",\"hello\"]\x1e41";
    post(gateway.clients, &format!("{target}&sid={sid}"), packets);
    gateway.signal("INT");
    let log = gateway.log_text();
    for part in [
        "session opened",
        "kind=\"connect\"",
        "socket connected",
        "event=echo arguments=\"hello\"",
        "packet=430[\"hello\"]",
        "socket disconnected",
        "reason=\"client namespace disconnect\"",
        "session closed",
        "reason=\"server_shutting_down\"",
    ] {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    assert!(!log.contains(&sid) && !log.contains("hunter2"), "{log}");
}
