//! Makes sure that the servers exist.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::server::Program;

/// This very program.
pub(crate) fn floor() -> Result<Program> {
    Ok(Program {
        path: std::env::current_exe()?,
        arguments: vec!["floor".to_owned()],
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Installs the Node peer's packages when they are missing.
pub(crate) fn node(peers: &Path) -> Result<Program> {
    let folder = peers.join("node");
    let installed = folder.join("node_modules/socket.io/package.json");
    if !installed.exists() {
        eprintln!("Installing the Node peer's packages.");
        run(Command::new("npm").arg("ci").current_dir(&folder))?;
    }
    let node = output(Command::new("node").arg("--version"))?;
    let package = read_json(&installed)?;
    let adapter = read_json(&folder.join("node_modules/@socket.io/redis-adapter/package.json"))?;
    let version =
        |package: &serde_json::Value| package["version"].as_str().unwrap_or("?").to_owned();
    Ok(Program {
        path: "node".into(),
        arguments: vec![folder.join("server.js").to_string_lossy().into_owned()],
        version: format!(
            "socket.io {}, redis-adapter {}, Node {}",
            version(&package),
            version(&adapter),
            node.trim()
        ),
    })
}

/// Installs the packages of the two Bun peers when they are missing; `script` is the one that is meant.
pub(crate) fn bun(peers: &Path, script: &str) -> Result<Program> {
    let folder = peers.join("bun");
    let installed = folder.join("node_modules/@socket.io/bun-engine/package.json");
    if !installed.exists() {
        eprintln!("Installing the Bun peers' packages.");
        run(Command::new("npm").arg("ci").current_dir(&folder))?;
    }
    let path = folder.join("node_modules/.bin/bun");
    let bun = output(Command::new(&path).arg("--version"))?;
    let engine = read_json(&installed)?;
    let socket_io = read_json(&folder.join("node_modules/socket.io/package.json"))?;
    let version =
        |package: &serde_json::Value| package["version"].as_str().unwrap_or("?").to_owned();
    let on_top = match script {
        "raw.js" => String::new(),
        _ => format!(
            ", socket.io {}, bun-engine {}",
            version(&socket_io),
            version(&engine)
        ),
    };
    Ok(Program {
        path,
        arguments: vec![folder.join(script).to_string_lossy().into_owned()],
        version: format!("Bun {}{on_top}", bun.trim()),
    })
}

/// Builds the socketioxide peer.
pub(crate) fn socketioxide(peers: &Path) -> Result<Program> {
    let folder = peers.join("socketioxide");
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => PathBuf::from(target).join("peers"),
        None => folder.join("target"),
    };
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--quiet"]);
    cargo.arg("--manifest-path").arg(folder.join("Cargo.toml"));
    run(cargo.arg("--target-dir").arg(&target))?;
    let lock = std::fs::read_to_string(folder.join("Cargo.lock"))?;
    let locked = |name: &str| locked(&lock, name).unwrap_or("?").to_owned();
    Ok(Program {
        path: target.join("release/loadtest-peer-socketioxide"),
        arguments: Vec::new(),
        version: format!("{} on axum {}", locked("socketioxide"), locked("axum")),
    })
}

/// Finds the gateway; it is not built here, so that what is measured is what the caller built.
pub(crate) fn gateway(given: Option<&Path>) -> Result<Program> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("gateway"),
    };
    if !path.is_file() {
        bail!(
            "there is no binary {}; build it with `make dist` or give --gateway-bin",
            path.display()
        );
    }
    let version = output(Command::new(&path).arg("--version")).unwrap_or_default();
    Ok(Program {
        path,
        arguments: Vec::new(),
        version: version.trim().trim_start_matches("gateway ").to_owned(),
    })
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("starting {program}"))?;
    if !status.success() {
        bail!("{program} ended with {status}");
    }
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("starting {program}"))?;
    Ok(String::from_utf8(output.stdout)?)
}

fn read_json(path: &Path) -> Result<serde_json::Value> {
    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

fn locked<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_lock() {
        let lock = "[[package]]\nname = \"axum\"\nversion = \"0.8.9\"\n";
        assert_eq!(locked(lock, "axum"), Some("0.8.9"));
        assert_eq!(locked(lock, "other"), None);
    }

    #[test]
    fn a_missing_gateway_is_said_plainly() {
        let error = gateway(Some(Path::new("/nowhere/gateway"))).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("there is no binary /nowhere/gateway")
        );
    }
}
