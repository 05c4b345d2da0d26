//! Socket.IO's client: the files that the program brings along, or those of a directory.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderMap;
use hyper::{Response, StatusCode};
use serde::Deserialize;

use super::Read;
use super::file::File;

/// The directory for the client's files lacks one of them.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
#[error("client_dir {}: cannot read {file}: {source}", dir.display())]
pub struct ClientDirError {
    /// The directory as it was configured.
    pub dir: PathBuf,
    /// The file that is missing or unreadable.
    pub file: &'static str,
    /// What the system said.
    pub source: std::io::Error,
}

/// The client's files.
#[derive(Debug)]
pub(super) struct Client {
    /// `None` for those that the program has built in.
    dir: Option<PathBuf>,
    files: Vec<(&'static str, File)>,
}

/// The files that Socket.IO's own server serves.
pub(super) const NAMES: [&str; 8] = [
    "socket.io.js",
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
    "socket.io.msgpack.min.js",
    "socket.io.msgpack.min.js.map",
];

/// Those that the program brings along. Maps, which only a debugger asks for, are three times as large.
#[rustfmt::skip]
pub(super) const BUILT_IN: [(&str, &str); 4] = [
    ("socket.io.js", include_str!("../../../assets/client/socket.io.js")),
    ("socket.io.min.js", include_str!("../../../assets/client/socket.io.min.js")),
    ("socket.io.esm.min.js", include_str!("../../../assets/client/socket.io.esm.min.js")),
    ("socket.io.msgpack.min.js", include_str!("../../../assets/client/socket.io.msgpack.min.js")),
];

/// The version of the client that is built in.
pub(super) const BUILT_IN_VERSION: &str = "4.8.4";

impl Client {
    /// The files that the program brings along.
    pub(super) fn built_in() -> Self {
        let file = |content: &'static str, name| {
            let plain = Bytes::from_static(content.as_bytes());
            File::new(plain, content_type(name), Some(BUILT_IN_VERSION))
        };
        let files = BUILT_IN.map(|(name, content)| (name, file(content, name)));
        Self {
            dir: None,
            files: files.into(),
        }
    }

    /// Reads all files of a directory.
    pub(super) fn read(dir: &Path) -> Result<Self, ClientDirError> {
        let version = version(dir);
        let files = NAMES
            .into_iter()
            .map(|name| match std::fs::read(dir.join(name)) {
                Ok(plain) => Ok((
                    name,
                    File::new(plain.into(), content_type(name), version.as_deref()),
                )),
                Err(source) => Err(ClientDirError {
                    dir: dir.to_owned(),
                    file: name,
                    source,
                }),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            dir: Some(dir.to_owned()),
            files,
        })
    }

    pub(super) fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    pub(super) fn respond(
        &self,
        read: Read,
        name: &str,
        request: &HeaderMap,
    ) -> Option<Response<Full<Bytes>>> {
        if !NAMES.contains(&name) {
            return None;
        }
        if let Some((_, file)) = self.files.iter().find(|(known, _)| *known == name) {
            return Some(file.respond(read, request));
        }
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NOT_FOUND;
        Some(response)
    }
}

fn content_type(name: &str) -> &'static str {
    if name.ends_with(".map") {
        "application/json; charset=utf-8"
    } else {
        "application/javascript; charset=utf-8"
    }
}

/// The version of the package whose `dist` this is, if it is one.
fn version(dir: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
    }
    let package = std::fs::read(dir.join("../package.json")).ok()?;
    let package: Package = serde_json::from_slice(&package).ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-+".contains(&byte);
    (package.name == "socket.io-client" && package.version.bytes().all(plain))
        .then_some(package.version)
}
