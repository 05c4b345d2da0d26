//! Socket.IO's client: finding its files and serving them, or the way to them.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
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

/// Where the client's files are.
#[derive(Debug)]
pub(super) enum Client {
    /// In memory, in the order of [`NAMES`].
    Served { dir: PathBuf, files: Vec<File> },
    /// On the public CDN.
    Redirected,
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

/// The origin that requests are redirected to.
pub(super) const CDN: &str = "https://cdn.socket.io";

/// The version of the client that is taken from there.
const CDN_VERSION: &str = "4.8.1";

impl Client {
    /// Reads all files of a directory.
    pub(super) fn read(dir: &Path) -> Result<Self, ClientDirError> {
        let version = version(dir);
        let files = NAMES
            .into_iter()
            .map(|name| match std::fs::read(dir.join(name)) {
                Ok(plain) => Ok(File::new(
                    plain.into(),
                    content_type(name),
                    version.as_deref(),
                )),
                Err(source) => Err(ClientDirError {
                    dir: dir.to_owned(),
                    file: name,
                    source,
                }),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self::Served {
            dir: dir.to_owned(),
            files,
        })
    }

    /// Reads the nearest installed client, looking from `start` upwards.
    pub(super) fn find(start: &Path) -> Self {
        for above in start.ancestors() {
            let dir = above.join("node_modules/socket.io-client/dist");
            if !dir.is_dir() {
                continue;
            }
            match Self::read(&dir) {
                Ok(client) => return client,
                Err(error) => {
                    tracing::warn!(target: "gateway::assets::client", %error, "a copy of the JavaScript client is not complete")
                }
            }
        }
        Self::Redirected
    }

    pub(super) fn dir(&self) -> Option<&Path> {
        match self {
            Self::Served { dir, .. } => Some(dir),
            Self::Redirected => None,
        }
    }

    pub(super) fn respond(
        &self,
        read: Read,
        name: &str,
        request: &HeaderMap,
    ) -> Option<Response<Full<Bytes>>> {
        let index = NAMES.iter().position(|&known| known == name)?;
        match self {
            Self::Served { files, .. } => Some(files.get(index)?.respond(read, request)),
            Self::Redirected => {
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::FOUND;
                let location = HeaderValue::try_from(format!("{CDN}/{CDN_VERSION}/{name}")).ok()?;
                response.headers_mut().insert(header::LOCATION, location);
                Some(response)
            }
        }
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
