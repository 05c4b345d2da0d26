//! Where it listens: names, ports alone, several places, sockets in the file system.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use testkit::program::Program;
use testkit::wait::until;

use crate::support::{exchange_on, request};

const HANDSHAKE: &str = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1";

/// A node that listens where the test says, and what it says of it.
struct Node {
    program: Program,
    said: String,
}

impl Node {
    fn start(flags: &[&str]) -> Self {
        let mut program = Program::start(&mut serve(flags));
        let mut said = vec![0; 4096];
        let mut output = program.child().stdout.take().unwrap();
        // It says all of it in one go.
        let length = output.read(&mut said).unwrap();
        let said = String::from_utf8_lossy(&said[..length]).into_owned();
        Self { program, said }
    }

    /// What the lines with this label name.
    fn places(&self, label: &str) -> Vec<&str> {
        let lines = self.said.lines().filter(|line| line.contains(label));
        let lines = lines.filter_map(|line| line.split_whitespace().last());
        lines
            .map(|place| place.trim_start_matches("http://"))
            .collect()
    }

    fn clients(&self) -> Vec<SocketAddr> {
        let places = self.places("clients:").into_iter();
        places.map(|place| place.parse().unwrap()).collect()
    }

    fn internal(&self) -> SocketAddr {
        self.places("metrics, health:")[0].parse().unwrap()
    }
}

fn serve(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command
        .args(["serve", "--demo=false", "--shutdown-drain=0s"])
        .args(flags)
        .env_clear()
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What it says that does not start.
fn refused(flags: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = serve(flags).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// A directory of a test, whose path is short enough for sockets.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("gateway-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The socket of this name, as a setting has it.
    fn place(&self, name: &str) -> String {
        format!("unix:{}", self.file(name).display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is in the directory for temporary files.
        let _stays = std::fs::remove_dir_all(&self.0);
    }
}

fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// Both addresses of this machine by which it is reached with this port.
fn loopbacks(port: u16) -> Vec<SocketAddr> {
    let mut all = vec![SocketAddr::from(([127, 0, 0, 1], port))];
    if has_ipv6() {
        all.push((Ipv6Addr::LOCALHOST, port).into());
    }
    all
}

fn serves(address: SocketAddr) -> bool {
    request(address, HANDSHAKE).starts_with("HTTP/1.1 200 ")
}

fn on_socket(path: &Path, line: &str) -> String {
    exchange_on(UnixStream::connect(path).unwrap(), line, "")
}

const INTERNAL: &str = "--internal-listen=127.0.0.1:0";

#[test]
fn a_port_alone_is_one_of_every_address() {
    for listen in ["--listen=:0", "--listen=0"] {
        let node = Node::start(&[listen, INTERNAL]);
        let all = node.clients();
        assert_eq!((all.len(), all[0].ip().is_unspecified()), (1, true));
        for address in loopbacks(all[0].port()) {
            assert!(serves(address), "{listen} {address}");
        }
    }
}

#[test]
fn a_number_alone_keeps_the_internal_port_on_this_machine() {
    let node = Node::start(&["--listen=127.0.0.1:0", "--internal-listen=0"]);
    assert!(node.internal().ip().is_loopback(), "{}", node.said);
    let node = Node::start(&["--listen=127.0.0.1:0", "--internal-listen=:0"]);
    let port = node.internal().port();
    for address in loopbacks(port) {
        assert!(request(address, "GET /ready HTTP/1.1").starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn a_name_is_listened_on_at_all_its_addresses() {
    let node = Node::start(&["--listen=localhost:0", "--internal-listen=localhost:0"]);
    let clients = node.clients();
    assert_eq!(clients, loopbacks(clients[0].port()), "{}", node.said);
    assert!(clients.into_iter().all(serves));
    let internal = node.internal().port();
    for address in loopbacks(internal) {
        assert!(request(address, "GET /live HTTP/1.1").starts_with("HTTP/1.1 200 "));
    }
    let (status, said) = refused(&["--listen=no.such.host.invalid:0", INTERNAL]);
    assert_eq!(status, Some(1));
    assert!(
        said.contains("cannot listen on no.such.host.invalid:0 (listen)"),
        "{said}"
    );
}

#[test]
fn settings_of_all_kinds_take_the_same_forms() {
    let folder = Folder::new("forms");
    let file = folder.file("gateway.toml");
    std::fs::write(&file, "listen = 0\ninternal_listen = [\"localhost:0\"]\n").unwrap();
    let config = format!("--config={}", file.display());
    let node = Node::start(&[&config]);
    assert!(serves(([127, 0, 0, 1], node.clients()[0].port()).into()));
    let mut command = serve(&[]);
    command.env("GATEWAY_LISTEN", "127.0.0.1:0, 127.0.0.2:0");
    command.env("GATEWAY_INTERNAL_LISTEN", "nowhere");
    let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(
        said.contains("internal_listen: \"nowhere\" is no place to listen at"),
        "{said}"
    );
    assert!(!said.contains("127.0.0.2"), "{said}");
}

#[test]
fn several_places_are_served_alike() {
    let node = Node::start(&[
        "--listen=127.0.0.1:0,127.0.0.2:0,127.0.0.3:0",
        "--internal-listen=127.0.0.1:0,127.0.0.2:0",
    ]);
    let clients = node.clients();
    assert_eq!(clients.len(), 3, "{}", node.said);
    // Some that say nothing keep nobody out at the other places.
    let _silent: Vec<_> = (0..50)
        .map(|_| TcpStream::connect(clients[0]).unwrap())
        .collect();
    assert!(clients.into_iter().all(serves));
    let internal = node.places("metrics, health:");
    assert_eq!(internal.len(), 2, "{}", node.said);
    for address in internal {
        let answer = request(address.parse().unwrap(), "GET /metrics HTTP/1.1");
        assert!(
            answer.contains("\ngateway_connections_opened_total{transport=\"polling\"} 3\n"),
            "{answer}"
        );
    }
}

#[test]
fn ipv6_and_ipv4_go_together() {
    if !has_ipv6() {
        let node = Node::start(&["--listen=:0", INTERNAL]);
        assert!(serves(loopbacks(node.clients()[0].port())[0]));
        return;
    }
    let both = Node::start(&["--listen=[::]:0", INTERNAL]);
    let port = both.clients()[0].port();
    assert!(loopbacks(port).into_iter().all(serves));
    drop(both);
    // Now one socket for each.
    let listen = format!("--listen=[::]:{port},127.0.0.1:{port}");
    let node = Node::start(&[&listen, INTERNAL]);
    assert!(loopbacks(port).into_iter().all(serves), "{}", node.said);
    assert_eq!(node.clients().len(), 2);
}

#[test]
fn a_socket_in_the_file_system_serves_and_goes_with_the_node() {
    let folder = Folder::new("serves");
    let (clients, internal) = (folder.file("clients"), folder.file("internal"));
    let listen = format!("--listen={}:0666,127.0.0.1:0", folder.place("clients"));
    let internal_listen = format!("--internal-listen={}", folder.place("internal"));
    let mut node = Node::start(&[&listen, &internal_listen]);
    assert!(
        node.said.contains(&folder.place("clients")),
        "{}",
        node.said
    );
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&clients), mode(&internal)), (0o666, 0o660));
    assert!(on_socket(&clients, HANDSHAKE).starts_with("HTTP/1.1 200 "));
    let ready = on_socket(&internal, "GET /ready HTTP/1.1");
    assert!(ready.ends_with("{\"ready\":true}"), "{ready}");
    let checked = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["healthcheck", &internal_listen])
        .output();
    assert_eq!(checked.unwrap().status.code(), Some(0));
    let drain = on_socket(&internal, "POST /drain HTTP/1.1");
    assert!(drain.starts_with("HTTP/1.1 202 "), "{drain}");
    node.program.signal("TERM");
    assert_eq!(node.program.ended().code(), Some(0));
    assert!(!clients.exists() && !internal.exists());
}

#[test]
fn a_socket_of_a_dead_process_is_replaced_and_nothing_else() {
    let folder = Folder::new("stale");
    let listen = format!("--listen={}", folder.place("clients"));
    let path = folder.file("clients");
    let mut first = Node::start(&[&listen, INTERNAL]);

    let (status, said) = refused(&[&listen, INTERNAL]);
    assert_eq!(status, Some(1));
    assert!(said.contains("another process listens there"), "{said}");
    assert!(on_socket(&path, HANDSHAKE).starts_with("HTTP/1.1 200 "));

    first.program.kill();
    assert!(path.metadata().unwrap().file_type().is_socket());
    let mut second = Node::start(&[&listen, INTERNAL]);
    assert!(on_socket(&path, HANDSHAKE).starts_with("HTTP/1.1 200 "));

    // What somebody else put in its place stays when it ends.
    std::fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    second.program.signal("TERM");
    assert_eq!(second.program.ended().code(), Some(0));
    assert!(path.exists());
    std::fs::remove_file(&path).unwrap();

    std::fs::write(&path, "precious").unwrap();
    let (status, said) = refused(&[&listen, INTERNAL]);
    assert_eq!(status, Some(1));
    assert!(said.contains("a file that is no socket"), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn of_two_starts_at_a_dead_socket_one_gets_it() {
    let folder = Folder::new("race");
    let path = folder.file("clients");
    drop(UnixListener::bind(&path).unwrap());
    let listen = format!("--listen={}", folder.place("clients"));
    let mut all: Vec<_> = (0..4)
        .map(|_| Program::start(&mut serve(&[&listen, INTERNAL])))
        .collect();
    until("all but one have ended", || {
        let running = all.iter_mut().map(Program::is_running);
        running.filter(|it| *it).count() == 1
    });
    until("the one serves", || {
        let Ok(mut stream) = UnixStream::connect(&path) else {
            return false;
        };
        let head = format!("{HANDSHAKE}\r\nHost: gateway\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.starts_with("HTTP/1.1 200 ")
    });
}

/// The program as systemd starts it: with these sockets as descriptors 3 and 4, and these variables.
fn passed(sockets: [OwnedFd; 2], variables: &str, flags: &[&str]) -> Program {
    let [first, second] = sockets;
    let mut shell = Command::new("/bin/sh");
    let start = format!(
        "exec 3<&0 4<&1 </dev/null >/dev/null; export LISTEN_PID=$$ {variables}; exec \"$0\" \"$@\""
    );
    shell
        .args(["-c", &start, env!("CARGO_BIN_EXE_gateway")])
        .args(["serve", "--demo=false", "--shutdown-drain=0s"])
        .args(flags)
        .env_clear()
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdin(first)
        .stdout(second)
        .stderr(Stdio::piped());
    Program::start(&mut shell)
}

fn tcp() -> (OwnedFd, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener.into(), address)
}

#[test]
fn sockets_that_systemd_passes_take_the_place_of_the_settings() {
    let folder = Folder::new("passed");
    let path = folder.file("internal");
    for (variables, turned) in [
        ("LISTEN_FDS=2 LISTEN_FDNAMES=clients:internal", false),
        (
            "LISTEN_FDS=2 LISTEN_FDNAMES=gateway-internal.socket:clients",
            true,
        ),
        ("LISTEN_FDS=2", false),
        (
            "LISTEN_FDS=2 LISTEN_FDNAMES=gateway.socket:gateway.socket",
            false,
        ),
    ] {
        let (clients, address) = tcp();
        let internal = UnixListener::bind(&path).unwrap();
        let mut sockets = [clients, internal.into()];
        if turned {
            sockets.reverse();
        }
        // Where nothing can listen.
        let nowhere = ["--listen=192.0.2.1:1", "--internal-listen=192.0.2.1:2"];
        let mut node = passed(sockets, variables, &nowhere);
        // They wait in the sockets until the node accepts them.
        assert!(serves(address), "{variables}: {}", node.log());
        assert!(on_socket(&path, "GET /ready HTTP/1.1").ends_with("{\"ready\":true}"));
        // A thread of its own writes the log, and another one reads it.
        until("the log tells of it", || {
            node.log().contains("sockets that were passed")
        });
        node.signal("TERM");
        assert_eq!(node.ended().code(), Some(0));
        // It is not the node's.
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_is_passed_for_one_port_leaves_the_other_to_its_setting() {
    let (clients, address) = tcp();
    let (unused, _) = tcp();
    let folder = Folder::new("one");
    let internal = format!("--internal-listen={}", folder.place("internal"));
    let node = passed([clients, unused], "LISTEN_FDS=1", &[&internal]);
    assert!(serves(address), "{}", node.log());
    let ready = on_socket(&folder.file("internal"), "GET /ready HTTP/1.1");
    assert!(ready.ends_with("{\"ready\":true}"), "{ready}");
}

#[test]
fn what_does_not_fit_is_refused_by_its_name() {
    let udp = || OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let connected = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        OwnedFd::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap())
    };
    for (socket, variables, expected) in [
        (
            udp(),
            "LISTEN_FDS=1",
            "descriptor 3 (\"\") is no stream of TCP or of a file",
        ),
        (connected(), "LISTEN_FDS=1", "does not listen"),
        (
            tcp().0,
            "LISTEN_FDS=1 LISTEN_FDNAMES=web",
            "has the name \"web\"",
        ),
        (
            tcp().0,
            "LISTEN_FDS=2 LISTEN_FDNAMES=clients",
            "LISTEN_FDNAMES: 1 names for 2 sockets",
        ),
        (tcp().0, "LISTEN_FDS=x", "LISTEN_FDS: \"x\" is no number"),
        (
            tcp().0,
            "LISTEN_FDS=1000000",
            "LISTEN_FDS: \"1000000\" is no number",
        ),
    ] {
        let flags = ["--listen=127.0.0.1:0", INTERNAL];
        let mut node = passed([socket, tcp().0], variables, &flags);
        assert_eq!(node.ended().code(), Some(2), "{variables}");
        let said = node.log_to_the_end();
        assert!(said.contains(expected), "{variables}: {said}");
    }
}

#[test]
fn what_is_passed_to_another_process_is_left_alone() {
    let mut command = serve(&["--listen=127.0.0.1:0", INTERNAL]);
    command.envs([("LISTEN_PID", "1"), ("LISTEN_FDS", "7")]);
    let node = Program::start(&mut command);
    until("it listens", || node.log().contains("listening"));
}

#[test]
fn the_clients_port_says_whether_it_is_ready_if_it_is_told_to() {
    let node = Node::start(&["--listen=127.0.0.1:0", INTERNAL]);
    assert!(request(node.clients()[0], "GET /health HTTP/1.1").starts_with("HTTP/1.1 404 "));
    let node = Node::start(&["--listen=127.0.0.1:0", INTERNAL, "--listen-health=/health"]);
    let ask = |line: &str| request(node.clients()[0], line);
    let ready = ask("GET /health?by=a-balancer HTTP/1.1");
    assert!(ready.starts_with("HTTP/1.1 200 ") && ready.ends_with("{\"ready\":true}"));
    assert!(ask("HEAD /health HTTP/1.1").starts_with("HTTP/1.1 200 "));
    assert!(ask("POST /health HTTP/1.1").starts_with("HTTP/1.1 405 "));
    assert!(ask("GET /healthy HTTP/1.1").starts_with("HTTP/1.1 404 "));
    // What else the internal port has stays there.
    assert!(ask("GET /metrics HTTP/1.1").starts_with("HTTP/1.1 404 "));
    request(node.internal(), "POST /drain HTTP/1.1");
    let draining = ask("GET /health HTTP/1.1");
    assert!(draining.starts_with("HTTP/1.1 503 "), "{draining}");
    assert!(
        draining.ends_with("{\"ready\":false,\"reason\":\"draining\"}"),
        "{draining}"
    );
    request(node.internal(), "DELETE /drain HTTP/1.1");
    assert!(ask("GET /health HTTP/1.1").starts_with("HTTP/1.1 200 "));
}
