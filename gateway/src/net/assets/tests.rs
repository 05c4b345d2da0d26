use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Body;
use hyper::header::HeaderName;

use super::client::{BUILT_IN, BUILT_IN_VERSION, NAMES};
use super::*;

#[test]
fn all_eight_files_are_served_with_their_types() {
    let dir = Installed::new("4.8.3");
    for name in NAMES {
        let answer = dir.assets().get(name, &[]).unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.body, content(name));
        let expected = if name.ends_with(".map") {
            "application/json; charset=utf-8"
        } else {
            "application/javascript; charset=utf-8"
        };
        assert_eq!(answer.header("content-type"), Some(expected));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=0"));
        assert_eq!(answer.header("vary"), Some("accept-encoding"));
        assert_eq!(answer.header("content-encoding"), None);
    }
}

#[test]
fn a_query_is_ignored() {
    let dir = Installed::new("4.8.3");
    let assets = dir.assets();
    assert!(assets.get("socket.io.js?v=1&x=/", &[]).is_some());
    assert!(assets.get("?EIO=4&file=socket.io.js", &[]).is_none());
}

#[test]
fn every_other_name_is_left_to_engine_io() {
    let dir = Installed::new("4.8.3");
    for name in [
        "",
        "socket.io.esm.js",
        "socket.io.js/",
        "/socket.io.js",
        "Socket.io.js",
        "../package.json",
        "socket.io.js%00",
        "package.json",
    ] {
        assert!(dir.assets().get(name, &[]).is_none(), "{name}");
    }
}

#[test]
fn other_methods_are_left_to_engine_io() {
    let dir = Installed::new("4.8.3");
    let assets = dir.assets();
    for method in [Method::POST, Method::OPTIONS, Method::PUT, Method::DELETE] {
        let client = assets.respond(&method, "socket.io.js", &HeaderMap::new());
        let page = assets.respond_page(&method, "/", &HeaderMap::new());
        assert!(client.is_none() && page.is_none(), "{method}");
    }
}

#[test]
fn the_etag_is_the_version_of_the_package() {
    let dir = Installed::new("4.8.3");
    let answer = dir.assets().get("socket.io.js", &[]).unwrap();
    assert_eq!(answer.header("etag"), Some("\"4.8.3\""));
}

#[test]
fn the_etag_is_a_content_hash_without_a_package_of_the_client() {
    let dir = Installed::new("4.8.3");
    let package = dir.root.join("node_modules/socket.io-client/package.json");
    for content in [
        Some(r#"{"name":"other","version":"4.8.3"}"#),
        Some(r#"{"name":"socket.io-client","version":"\"\n"}"#),
        Some("not JSON"),
        None,
    ] {
        match content {
            Some(content) => std::fs::write(&package, content).unwrap(),
            None => std::fs::remove_file(&package).unwrap(),
        }
        let assets = dir.assets();
        let etag = |name| {
            assets
                .get(name, &[])
                .unwrap()
                .header("etag")
                .map(String::from)
        };
        let tag = etag("socket.io.js").unwrap();
        assert_eq!(tag.len(), 18, "{tag}");
        assert_ne!(etag("socket.io.min.js").unwrap(), tag);
    }
}

#[test]
fn a_known_version_is_not_sent_again() {
    let dir = Installed::new("4.8.3");
    let assets = dir.assets();
    for known in ["\"4.8.3\"", "W/\"4.8.3\"", "\"4.8.1\", W/\"4.8.3\"", "*"] {
        let request = [("if-none-match", known), ("accept-encoding", "br")];
        let answer = assets.get("socket.io.js", &request).unwrap();
        assert_eq!(answer.status, StatusCode::NOT_MODIFIED, "{known}");
        assert!(answer.body.is_empty());
        for absent in ["content-type", "etag", "cache-control", "content-encoding"] {
            assert_eq!(answer.header(absent), None, "{absent}");
        }
    }
    for unknown in ["\"4.8.1\"", "4.8.3", "w/\"4.8.3\"", ""] {
        let request = [("if-none-match", unknown)];
        let answer = assets.get("socket.io.js", &request).unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{unknown}");
    }
}

#[test]
fn files_are_compressed_as_the_client_asks_and_once() {
    let dir = Installed::new("4.8.3");
    let assets = dir.assets();
    for encoding in ["br", "gzip", "deflate"] {
        let request = [("accept-encoding", encoding)];
        let answer = assets.get("socket.io.js", &request).unwrap();
        assert_eq!(answer.header("content-encoding"), Some(encoding));
        assert_eq!(answer.header("vary"), Some("accept-encoding"));
        assert_eq!(answer.header("etag"), Some("\"4.8.3\""));
        let length = answer.body.len().to_string();
        assert_eq!(answer.header("content-length"), Some(length.as_str()));
        assert_eq!(decompress(encoding, &answer.body), content("socket.io.js"));
        let again = assets.get("socket.io.js", &request).unwrap();
        assert_eq!(again.body.as_ptr(), answer.body.as_ptr());
    }
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let dir = Installed::new("4.8.3");
    let assets = dir.assets();
    let request = headers(&[("accept-encoding", "gzip")]);
    let head = assets.respond(&Method::HEAD, "socket.io.js", &request);
    let get = assets.respond(&Method::GET, "socket.io.js", &request);
    let (head, get) = (head.unwrap(), get.unwrap());
    assert_eq!(head.headers(), get.headers());
    assert_eq!(head.body().size_hint().exact(), Some(0));
    assert_ne!(get.body().size_hint().exact(), Some(0));
}

#[test]
fn a_configured_directory_without_the_files_is_refused_by_name() {
    let dir = Installed::new("4.8.3");
    let dist = dir.dist();
    std::fs::remove_file(dist.join("socket.io.msgpack.min.js")).unwrap();
    let error = Assets::load(true, Some(&dist), "/socket.io/").unwrap_err();
    assert_eq!(error.dir, dist);
    let message = error.to_string();
    assert!(message.contains(dist.to_str().unwrap()), "{message}");
    assert!(message.contains("socket.io.msgpack.min.js"), "{message}");
}

#[test]
fn the_program_brings_the_client_along() {
    let assets = built_in();
    assert_eq!(assets.client_dir(), None);
    for (name, content) in BUILT_IN {
        let answer = assets.get(&format!("{name}?x"), &[]).unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{name}");
        assert_eq!(answer.body, content);
        let head = content.get(..200).unwrap();
        assert!(head.contains(&format!("Socket.IO v{BUILT_IN_VERSION}\n")));
        let etag = format!("\"{BUILT_IN_VERSION}\"");
        assert_eq!(answer.header("etag"), Some(etag.as_str()));
    }
    for name in NAMES.iter().filter(|name| name.ends_with(".map")) {
        let answer = assets.get(name, &[]).unwrap();
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{name}");
    }
    assert!(assets.get("socket.io.esm.js", &[]).is_none());
}

#[test]
fn the_page_is_html_under_a_strict_policy() {
    let dir = Installed::new("4.8.3");
    let answer = dir.assets().page("/?x=1", &[]).unwrap();
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    let policy = answer.header("content-security-policy").unwrap();
    assert!(
        policy.contains("default-src 'none'; script-src 'self';"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
}

#[test]
fn the_page_has_no_script_or_style_that_its_policy_forbids() {
    let answer = built_in().page("/", &[]).unwrap();
    let page = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(!page.contains("<style") && !page.contains(" style="));
    for script in page.split("<script").skip(1) {
        assert!(script.starts_with(" src="), "{script}");
    }
}

#[test]
fn every_file_that_the_page_names_is_served() {
    let assets = built_in();
    let mut open = vec![String::from("/")];
    let mut seen = Vec::new();
    while let Some(path) = open.pop() {
        let answer = assets.page(&path, &[]).unwrap_or_else(|| panic!("{path}"));
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        for (before, base) in [("src=\"", "/"), ("href=\"", "/"), ("from \"./", "/demo/")] {
            for rest in text.split(before).skip(1) {
                let path = format!("{base}{}", rest.split('"').next().unwrap());
                if !seen.contains(&path) && !path.starts_with("/#") {
                    seen.push(path.clone());
                    open.push(path);
                }
            }
        }
    }
    assert!(seen.len() >= 12, "{seen:?}");
}

#[test]
fn the_page_knows_the_engine_path() {
    let assets = Assets::load(true, None, "/a\"<b>&/").unwrap();
    let answer = assets.page("/", &[]).unwrap();
    let page = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(
        page.contains(r#"content="/a&quot;&lt;b&gt;&amp;/""#),
        "{page}"
    );
    assert!(!page.contains("{{"));
}

#[test]
fn the_page_is_compressed_and_not_sent_again() {
    let assets = built_in();
    let answer = assets
        .page("/", &[("accept-encoding", "br, gzip")])
        .unwrap();
    assert_eq!(answer.header("content-encoding"), Some("br"));
    let etag = answer.header("etag").unwrap();
    let again = assets.page("/", &[("if-none-match", etag)]).unwrap();
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
}

#[test]
fn browsers_find_an_icon_where_they_look_by_themselves() {
    let answer = built_in().page("/favicon.ico", &[]).unwrap();
    assert_eq!(
        answer.header("content-type"),
        Some("image/svg+xml; charset=utf-8")
    );
}

#[test]
fn other_pages_do_not_exist() {
    for path in ["", "//", "/demo", "/demo/", "/index.html", "/demo/../"] {
        assert!(built_in().page(path, &[]).is_none(), "{path}");
    }
}

#[test]
fn a_page_that_is_off_answers_nothing_but_the_client_stays() {
    let dir = Installed::new("4.8.3");
    let assets = Assets::load(false, Some(&dir.dist()), "/socket.io/").unwrap();
    assert!(assets.page("/", &[]).is_none());
    assert!(assets.page("/favicon.ico", &[]).is_none());
    assert!(assets.get("socket.io.js", &[]).is_some());
}

impl Assets {
    fn get(&self, path: &str, request: &[(&'static str, &str)]) -> Option<Answer> {
        let response = self.respond(&Method::GET, path, &headers(request))?;
        Some(Answer::read(response))
    }

    fn page(&self, path: &str, request: &[(&'static str, &str)]) -> Option<Answer> {
        let response = self.respond_page(&Method::GET, path, &headers(request))?;
        Some(Answer::read(response))
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn read(response: Response<Full<Bytes>>) -> Self {
        let (head, body) = response.into_parts();
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        Self {
            status: head.status,
            headers: head.headers,
            body: runtime.block_on(body.collect()).unwrap().to_bytes(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|&(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}

fn built_in() -> Assets {
    Assets::load(true, None, "/socket.io/").unwrap()
}

/// A directory with an installed client, removed when dropped.
struct Installed {
    root: PathBuf,
}

impl Installed {
    fn new(version: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "gateway-assets-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let installed = Self {
            root: std::env::temp_dir().join(name),
        };
        let dist = installed.dist();
        std::fs::create_dir_all(&dist).unwrap();
        for name in NAMES {
            std::fs::write(dist.join(name), content(name)).unwrap();
        }
        let package = format!(r#"{{"name":"socket.io-client","version":"{version}"}}"#);
        std::fs::write(dist.join("../package.json"), package).unwrap();
        installed
    }

    fn dist(&self) -> PathBuf {
        self.root.join("node_modules/socket.io-client/dist")
    }

    fn assets(&self) -> Assets {
        Assets::load(true, Some(&self.dist()), "/socket.io/").unwrap()
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let removed = std::fs::remove_dir_all(&self.root);
        assert!(removed.is_ok() || std::thread::panicking());
    }
}

fn content(name: &str) -> Vec<u8> {
    format!("/* {name} */\n").repeat(200).into_bytes()
}

fn decompress(encoding: &str, coded: &[u8]) -> Vec<u8> {
    use std::io::Read as _;
    let mut plain = Vec::new();
    match encoding {
        "br" => brotli::Decompressor::new(coded, 4096).read_to_end(&mut plain),
        "gzip" => flate2::read::GzDecoder::new(coded).read_to_end(&mut plain),
        _ => flate2::read::ZlibDecoder::new(coded).read_to_end(&mut plain),
    }
    .unwrap();
    plain
}
