//! How it ends.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::{Process, post, request};

const HANDSHAKE: &str = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1";

/// A session, so that there is something to drain.
fn open(gateway: &Process) {
    let opened = request(gateway.clients, HANDSHAKE);
    assert!(opened.starts_with("HTTP/1.1 200 "), "{opened}");
}

#[test]
fn sigterm_ends_an_idle_node_at_once_with_status_0() {
    let gateway = Process::start(&["--shutdown-drain", "1d"]);
    gateway.signal("TERM");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn sigterm_goes_on_serving_and_a_second_one_ends_at_once() {
    let gateway = Process::start(&["--shutdown-drain", "1d"]);
    open(&gateway);
    gateway.signal("TERM");
    gateway.until_not_ready();
    let handshake = request(gateway.clients, HANDSHAKE);
    assert!(handshake.starts_with("HTTP/1.1 200 "), "{handshake}");
    gateway.signal("TERM");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn sigint_does_not_wait_for_the_drain() {
    let gateway = Process::start(&["--shutdown-drain", "1d"]);
    open(&gateway);
    gateway.signal("TERM");
    gateway.until_not_ready();
    gateway.signal("INT");
    assert_eq!(gateway.ended().code(), Some(0));

    let gateway = Process::start(&["--shutdown-drain", "1d"]);
    open(&gateway);
    gateway.signal("INT");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn signals_that_mean_nothing_here_are_ignored_with_a_warning() {
    let mut gateway = Process::start(&[]);
    for name in ["USR1", "USR2"] {
        gateway.signal(name);
        gateway.until(|gateway| gateway.said(&format!("signal=\"SIG{name}\"")));
    }
    assert!(gateway.is_running());
    let live = request(gateway.internal, "GET /live HTTP/1.1");
    assert!(live.starts_with("HTTP/1.1 200 "), "{live}");
    gateway.signal("TERM");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn a_drained_node_stays_up_until_it_is_told_to_end() {
    let mut gateway = Process::start(&["--shutdown-drain", "100ms"]);
    let drain = post(gateway.internal, "/drain", "");
    assert!(drain.starts_with("HTTP/1.1 202 "), "{drain}");
    gateway.until(|gateway| request(gateway.clients, HANDSHAKE).starts_with("HTTP/1.1 503 "));
    assert!(gateway.is_running());
    gateway.signal("TERM");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn the_drain_of_sigterm_cannot_be_taken_back() {
    let gateway = Process::start(&["--shutdown-drain", "1d"]);
    open(&gateway);
    post(gateway.internal, "/drain", "");
    let back = request(gateway.internal, "DELETE /drain HTTP/1.1");
    assert!(back.starts_with("HTTP/1.1 200 "), "{back}");
    let ready = request(gateway.internal, "GET /ready HTTP/1.1");
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    gateway.signal("TERM");
    gateway.until_not_ready();
    let back = request(gateway.internal, "DELETE /drain HTTP/1.1");
    assert!(back.starts_with("HTTP/1.1 409 "), "{back}");
    gateway.signal("TERM");
    assert_eq!(gateway.ended().code(), Some(0));
}

/// What systemd would be told.
struct Told {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Told {
    fn new(name: &str) -> Self {
        let name = format!("gateway-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Self { socket, path }
    }

    /// The message that has this line.
    fn until(&self, wanted: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut buffer).unwrap();
            let told = std::str::from_utf8(&buffer[..length]).unwrap();
            if told.lines().any(|line| line == wanted) {
                return told.to_owned();
            }
        }
    }

    fn start(&self, flags: &[&str]) -> Process {
        self.start_with(("WATCHDOG_USEC", "200000"), flags)
    }

    fn start_with(&self, variable: (&str, &str), flags: &[&str]) -> Process {
        let socket = ("NOTIFY_SOCKET", self.path.to_str().unwrap());
        Process::with_variables(&[socket, variable], flags)
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // What stays is in the directory for temporary files.
        let _stays = std::fs::remove_file(&self.path);
    }
}

#[test]
fn systemd_is_told_of_the_start_the_life_and_the_end() {
    let told = Told::new("life");
    let gateway = told.start(&["--shutdown-drain=1d"]);
    told.until("READY=1");
    told.until("STATUS=serving 0 sessions");
    told.until("WATCHDOG=1");
    told.until("WATCHDOG=1");
    open(&gateway);
    told.until("STATUS=serving 1 sessions");
    gateway.signal("TERM");
    let stopping = told.until("STOPPING=1");
    let extension = "EXTEND_TIMEOUT_USEC=30000000";
    assert!(stopping.contains(extension), "{stopping}");
    // It still lives, and asks for more time as long as it drains.
    told.until("WATCHDOG=1");
    told.until(extension);
    gateway.signal("TERM");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn a_watchdog_that_is_off_is_told_nothing() {
    let told = Told::new("off");
    let gateway = told.start_with(("WATCHDOG_USEC", "0"), &["--shutdown-drain=0"]);
    told.until("READY=1");
    told.until("STATUS=serving 0 sessions");
    gateway.signal("TERM");
    let mut buffer = [0; 4096];
    loop {
        let length = told.socket.recv(&mut buffer).unwrap();
        let said = std::str::from_utf8(&buffer[..length]).unwrap();
        assert!(!said.contains("WATCHDOG=1"), "{said}");
        if said.contains("STOPPING=1") {
            break;
        }
    }
}

#[test]
fn a_reload_takes_a_new_certificate_and_is_over_then() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let certificates = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/certificates");
    let (cert, key) = (folder.join("reload.crt"), folder.join("reload.key"));
    let put = |name: &str| {
        std::fs::copy(certificates.join(format!("{name}.crt")), &cert).unwrap();
        std::fs::copy(certificates.join(format!("{name}.key")), &key).unwrap();
    };
    put("one");
    let told = Told::new("reload");
    let flags = [
        format!("--tls-cert={}", cert.display()),
        format!("--tls-key={}", key.display()),
    ];
    let gateway = told.start(&[&flags[0], &flags[1]]);
    told.until("READY=1");
    put("two");
    gateway.signal("HUP");
    let reloading = told.until("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    told.until("READY=1");
    gateway.until(|gateway| gateway.said("settings read again"));
    gateway.signal("TERM");
    let log = gateway.log_text();
    let new = log.find("new certificate").expect(&log);
    assert!(new < log.find("settings read again").unwrap(), "{log}");
}

#[test]
fn a_reload_takes_settings_or_says_why_not() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("reload-signal.toml");
    let put = |settings: &str| std::fs::write(&file, settings).unwrap();
    put("log.level = \"info\"");
    let told = Told::new("settings");
    let name = format!("--config={}", file.display());
    let gateway = told.start(&[&name, "--limits-rooms-per-socket=7"]);
    told.until("READY=1");
    open(&gateway);
    assert!(!gateway.said("session opened"));

    put("log.level = \"info,gateway::session=debug\"\nlimits.rooms_per_socket = 3");
    gateway.signal("HUP");
    told.until("RELOADING=1");
    let ready = told.until("READY=1");
    assert!(
        ready.contains("STATUS=reloaded; changed: log.level"),
        "{ready}"
    );
    gateway.until(|gateway| gateway.said("changed: log.level by="));
    open(&gateway);
    gateway.until(|gateway| gateway.said("session opened"));

    put("log.level = \"loud\"\ncors.origin = \"*\"");
    gateway.signal("HUP");
    told.until("RELOADING=1");
    let ready = told.until("READY=1");
    assert!(
        ready.contains("STATUS=reload refused, nothing changed: "),
        "{ready}"
    );
    gateway.until(|gateway| gateway.said("cors.origin: unknown"));
    gateway.until(|gateway| gateway.said("log.level: ") && gateway.said("line 2"));
}

#[test]
fn settings_are_read_again_while_the_node_stops() {
    let gateway = Process::start(&["--shutdown-drain", "1d"]);
    open(&gateway);
    gateway.signal("TERM");
    gateway.until_not_ready();
    gateway.signal("HUP");
    gateway.until(|gateway| gateway.said("settings read again; changed: nothing"));
    gateway.signal("INT");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn a_reload_without_a_certificate_is_over_at_once() {
    let told = Told::new("nothing");
    let gateway = told.start(&[]);
    told.until("READY=1");
    gateway.signal("HUP");
    told.until("RELOADING=1");
    told.until("READY=1");
    gateway.until(|gateway| gateway.said("settings read again; changed: nothing"));
}
