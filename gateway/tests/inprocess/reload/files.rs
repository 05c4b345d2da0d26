//! Files that change, and clients that notice nothing.

use std::cell::Cell;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use gateway::Server;
use gateway::config::{Config, Sources};

use super::{Reloadable, write};
use crate::support::{TestGateway, WebSocket, until};

const APPLIED: &str = r#"gateway_config_reloads_total{result="applied"}"#;
const REFUSED: &str = r#"gateway_config_reloads_total{result="refused"}"#;
const UNCHANGED: &str = r#"gateway_config_reloads_total{result="unchanged"}"#;

#[tokio::test]
async fn a_file_that_changes_is_taken_and_one_that_is_wrong_is_said_once() {
    let watching = "config.watch = true\n";
    let node = Reloadable::start("watch", watching).await;
    let counted = async |name: &str| node.gateway.metric(name).await;
    write(&node.file, &format!("{watching}limits.connections = 7\n"));
    until(async || counted(APPLIED).await == 1.0).await;

    write(
        &node.file,
        &format!("{watching}limits.connections = \"many\"\n"),
    );
    until(async || counted(REFUSED).await == 1.0).await;
    // Renamed into its place, and with a comment alone that is new.
    let new = node.file.with_extension("new");
    write(&new, &format!("{watching}limits.connections = 8\n"));
    std::fs::rename(&new, &node.file).unwrap();
    until(async || counted(APPLIED).await == 2.0).await;
    assert_eq!(
        (counted(REFUSED).await, counted(UNCHANGED).await),
        (1.0, 0.0)
    );
}

/// What Kubernetes makes of a ConfigMap: a link to a link to a folder, of which the one in the middle changes.
fn mounted(folder: &Path, version: u32, settings: &str) -> PathBuf {
    let own = format!("..{version}");
    std::fs::create_dir_all(folder.join(&own)).unwrap();
    write(&folder.join(&own).join("gateway.toml"), settings);
    let (data, new) = (folder.join("..data"), folder.join("..data_tmp"));
    symlink(&own, &new).unwrap();
    std::fs::rename(&new, &data).unwrap();
    let file = folder.join("gateway.toml");
    let _is_there = symlink("..data/gateway.toml", &file);
    file
}

#[tokio::test]
async fn a_folder_of_kubernetes_is_exchanged_as_a_whole() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("reload-mounted");
    let _gone = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let file = mounted(&folder, 1, "config.watch = true\n");
    let sources = || Sources {
        file: Some(file.clone()),
        ..Sources::default()
    };
    let config = Config::load(&sources()).unwrap();
    let gateway = TestGateway::start(Server::new(config).sources(sources())).await;
    mounted(&folder, 2, "config.watch = true\nlimits.connections = 1\n");
    until(async || gateway.metric(APPLIED).await == 1.0).await;
    let _client = gateway.client().await;
    assert!(WebSocket::handshake(gateway.address(), "").await.is_err());
}

#[tokio::test]
async fn a_hundred_reloads_and_two_hundred_broken_files_lose_no_client_and_no_event() {
    let node = Reloadable::start("under-load", "").await;
    let mut clients = node.gateway.clients(20).await;
    for client in &mut clients {
        client.send(r#"421["join","all"]"#).await;
        client.expect(r#"431[{"ok":true}]"#).await;
    }
    let emitter = node.gateway.gateway().of("/").to("all");
    let sent = Cell::new(0_u32);
    // Beside a reload, while it reads and spreads.
    let emits = async || {
        for _ in 0..10 {
            emitter.emit("n", (sent.get(),)).unwrap();
            sent.set(sent.get() + 1);
            tokio::task::yield_now().await;
        }
    };
    let good = |step: u32| {
        format!(
            "limits = {{ connections = {}, rooms_per_socket = {}, outbox_total = \"{}GiB\" }}\n\
             cors.origins = [\"https://a{step}.example\"]\nproxy.trusted = [\"10.0.{}.0/24\"]\n\
             api.key = \"the key number {step} of the tests\"\n",
            100 + step,
            10 + step,
            1 + step % 2,
            step % 256,
        )
    };
    for step in 0..100 {
        for broken in 0..2 {
            let text = good(step + 1);
            let cut = text.len() * (1 + (step as usize + broken * 50) % 90) / 100;
            // Cut off in the midst, with something that no file has.
            let broken = format!("{}\n= {broken}", &text[..cut]);
            tokio::join!(node.refuses(&broken), emits());
        }
        let settings = good(step);
        let ((changed, waiting), ()) = tokio::join!(node.reload(&settings), emits());
        assert!(changed.len() >= 4 && waiting.is_empty(), "{changed:?}");
    }
    for client in &mut clients {
        for number in 0..sent.get() {
            client.expect(&format!("42[\"n\",{number}]")).await;
        }
    }
    assert_eq!(node.gateway.gateway().connections(), 20);
    assert_eq!(node.gateway.metric(APPLIED).await, 100.0);
    assert_eq!(node.gateway.metric(REFUSED).await, 200.0);
}
