//! What it logs.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::process::Stdio;

use crate::support::{Process, post, request};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// Serves a client whatever becomes of the log, and drains.
fn serves_and_drains(gateway: Process) {
    let opened = request(gateway.clients, &format!("GET {POLLING} HTTP/1.1"));
    let (_, sid) = opened.split_once("\"sid\":\"").unwrap();
    let sid = sid.split('"').next().unwrap();
    let session = format!("{POLLING}&sid={sid}");
    let posted = post(gateway.clients, &session, "40\x1e420[\"echo\",1]");
    assert!(posted.ends_with("\r\n\r\nok"), "{posted}");
    let polled = request(gateway.clients, &format!("GET {session} HTTP/1.1"));
    assert!(polled.contains("430[1]"), "{polled}");
    gateway.signal("TERM");
    gateway.until_not_ready();
    assert_eq!(gateway.ended().code(), Some(0));
}

fn lost(gateway: &Process, reason: &str) -> f64 {
    let series = format!("gateway_log_lines_lost_total{{reason=\"{reason}\"}} ");
    let metrics = request(gateway.internal, "GET /metrics HTTP/1.1");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
    line.unwrap_or_else(|| panic!("no {series}"))
        .parse()
        .unwrap()
}

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// A line with names in place of what differs from run to run.
fn shape(line: &str) -> String {
    let words = line.split(' ').map(|word| match word.split_once('=') {
        Some((name @ ("address" | "session" | "socket"), _)) => format!("{name}=.."),
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_lines_that_the_page_shows_are_those_that_it_writes() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/logs.md");
    let page = std::fs::read_to_string(page).unwrap();
    let shown = page.split("```text\n").nth(1).unwrap();
    let shown = shown.split("```").next().unwrap();
    let gateway = Process::start(&["--log-level=info,gateway=debug", "--shutdown-drain=0s"]);
    request(
        gateway.clients,
        "GET /socket.io/?EIO=4&transport=foo HTTP/1.1",
    );
    let opened = request(gateway.clients, &format!("GET {POLLING} HTTP/1.1"));
    let (_, sid) = opened.split_once("\"sid\":\"").unwrap();
    let session = format!("{POLLING}&sid={}", sid.split('"').next().unwrap());
    for body in ["40/x,", "40", "42[\"nope\"]", "rubbish"] {
        post(gateway.clients, &session, body);
    }
    gateway.until(|gateway| gateway.said("socket disconnected"));
    gateway.signal("TERM");
    let log = gateway.log_text();
    let written: Vec<String> = log.lines().map(shape).collect();
    assert!(shown.lines().count() >= 7);
    for line in shown.lines() {
        let expected = shape(line);
        let is_written = written.iter().any(|line| line.ends_with(&expected));
        assert!(is_written, "{line}\n{log}");
    }
}

#[test]
fn a_log_that_cannot_be_written_hurts_nobody_and_is_counted() {
    let gateway = Process::with_log(&["--log-level=trace", "--shutdown-drain=1s"], full());
    gateway.until(|gateway| lost(gateway, "failed") > 0.0);
    serves_and_drains(gateway);
}

#[test]
fn a_log_whose_reader_has_left_hurts_nobody() {
    let (reader, writer) = std::io::pipe().unwrap();
    let gateway = Process::with_log(&["--log-level=trace", "--shutdown-drain=1s"], writer);
    drop(reader);
    serves_and_drains(gateway);
}

#[test]
fn a_log_whose_reader_stands_still_hurts_nobody_and_is_counted() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let gateway = Process::with_log(&["--log-level=trace", "--shutdown-drain=1s"], writer);
    let opened = request(gateway.clients, &format!("GET {POLLING} HTTP/1.1"));
    let (_, sid) = opened.split_once("\"sid\":\"").unwrap();
    let session = format!("{POLLING}&sid={}", sid.split('"').next().unwrap());
    post(gateway.clients, &session, "40");
    // Each packet is a line, and more of them than the queue and the pipe take.
    let packets = vec!["42[\"echo\",\"0123456789012345678901234567890123456789\"]"; 1000];
    let packets = packets.join("\x1e");
    gateway.until(|gateway| {
        let posted = post(gateway.clients, &session, &packets);
        assert!(posted.ends_with("\r\n\r\nok"), "{posted}");
        lost(gateway, "full") > 0.0
    });
    serves_and_drains(gateway);
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    assert!(log.contains("listening"), "{log}");
}

#[test]
fn a_standard_output_that_cannot_be_written_hurts_nobody() {
    serves_and_drains(Process::with_output(&["--shutdown-drain=1s"], full()));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    serves_and_drains(Process::with_output(&["--shutdown-drain=1s"], writer));
}

#[test]
fn a_log_in_json_is_all_that_is_said() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let gateway = Process::with_output(&["--log-format=json"], writer);
    gateway.signal("INT");
    let lines = gateway.log();
    let mut messages = lines.iter().map(|line| &line["message"]);
    let line = lines
        .iter()
        .find(|line| line["message"] == "listening")
        .unwrap();
    assert_eq!(line["version"], env!("CARGO_PKG_VERSION"));
    assert!(messages.any(|message| message == "stopped"), "{lines:?}");
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    assert_eq!(output, "");
}

#[test]
fn the_log_has_a_line_for_each_refusal_and_each_close_with_its_reason() {
    let levels = "off,gateway::http=debug,gateway::session=debug,gateway::server=info";
    let json = ["--log-format=json", "--log-level", levels];
    let gateway = Process::with_output(&json, Stdio::piped());
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
    // And the one that says where it listens.
    assert_eq!(lines.len(), 4, "{lines:?}");
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
