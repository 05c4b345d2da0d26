//! One file in memory and the answers to requests for it.

use std::hash::{DefaultHasher, Hasher};
use std::sync::OnceLock;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::Read;
use crate::net::encoding::{self, Encoding};

/// A file that is kept in memory.
#[derive(Debug)]
pub(super) struct File {
    plain: Bytes,
    content_type: HeaderValue,
    /// Quoted, strong.
    etag: HeaderValue,
    /// Compressed forms, in the order of [`OFFERED`].
    coded: [OnceLock<Bytes>; OFFERED.len()],
}

const OFFERED: [Encoding; 3] = [Encoding::Brotli, Encoding::Gzip, Encoding::Deflate];

/// Headers that all files of a page carry.
pub(super) type PageHeaders = [(HeaderName, HeaderValue); 3];

/// Those of a page that may do what `policy` says, and of which other sites learn nothing.
pub(super) fn page_headers(policy: &'static str) -> PageHeaders {
    [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
}

impl File {
    /// `version` becomes the ETag; without one it is a hash of the content.
    pub(super) fn new(plain: Bytes, content_type: &'static str, version: Option<&str>) -> Self {
        let etag = version
            .and_then(|version| HeaderValue::try_from(format!("\"{version}\"")).ok())
            .unwrap_or_else(|| content_hash(&plain));
        Self {
            plain,
            content_type: HeaderValue::from_static(content_type),
            etag,
            coded: Default::default(),
        }
    }

    /// The whole file, compressed as the client likes it, or 304 if the client has it already.
    pub(super) fn respond(&self, read: Read, request: &HeaderMap) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        response
            .headers_mut()
            .insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if self.known_to(request) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        let encoding = encoding::negotiate(request.get(header::ACCEPT_ENCODING), &OFFERED);
        let body = encoding.map_or_else(|| self.plain.clone(), |encoding| self.coded(encoding));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
        headers.insert(header::ETAG, self.etag.clone());
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=0"),
        );
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        if let Some(encoding) = encoding {
            headers.insert(
                header::CONTENT_ENCODING,
                HeaderValue::from_static(encoding.name()),
            );
        }
        if read == Read::Get {
            *response.body_mut() = Full::new(body);
        }
        response
    }

    fn coded(&self, encoding: Encoding) -> Bytes {
        let slot = OFFERED.iter().position(|&offered| offered == encoding);
        let form = slot.and_then(|slot| self.coded.get(slot));
        let compressed = || Bytes::from(encoding::compress(encoding, &self.plain));
        form.map_or_else(compressed, |form| form.get_or_init(compressed).clone())
    }

    /// Whether `If-None-Match` names this version, strongly or weakly.
    fn known_to(&self, request: &HeaderMap) -> bool {
        request
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .any(|tag| {
                tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == self.etag.as_bytes()
            })
    }
}

fn content_hash(plain: &[u8]) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    hasher.write(plain);
    HeaderValue::try_from(format!("\"{:016x}\"", hasher.finish()))
        .expect("hexadecimal digits in quotes are visible ASCII")
}
