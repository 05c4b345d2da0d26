//! The demo page: a chat with rooms and a drawing board, built into the binary.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::HeaderMap;

use super::Read;
use super::file::{File, PageHeaders, page_headers};

/// The page's files and the headers that all of them carry.
#[derive(Debug)]
pub(super) struct Page {
    files: Vec<(&'static str, File)>,
    headers: PageHeaders,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "application/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml; charset=utf-8";

/// Paths, relative to the page, with type and content. Browsers ask for the last one by themselves.
#[rustfmt::skip]
const FILES: [(&str, &str, &str); 14] = [
    ("", HTML, include_str!("../../../assets/demo/index.html")),
    ("demo/demo.css", CSS, include_str!("../../../assets/demo/demo.css")),
    ("demo/board.js", SCRIPT, include_str!("../../../assets/demo/board.js")),
    ("demo/chat.js", SCRIPT, include_str!("../../../assets/demo/chat.js")),
    ("demo/client.js", SCRIPT, include_str!("../../../assets/demo/client.js")),
    ("demo/game.js", SCRIPT, include_str!("../../../assets/demo/game.js")),
    ("demo/link.js", SCRIPT, include_str!("../../../assets/demo/link.js")),
    ("demo/main.js", SCRIPT, include_str!("../../../assets/demo/main.js")),
    ("demo/people.js", SCRIPT, include_str!("../../../assets/demo/people.js")),
    ("demo/view.js", SCRIPT, include_str!("../../../assets/demo/view.js")),
    ("demo/wire.js", SCRIPT, include_str!("../../../assets/demo/wire.js")),
    ("demo/words.js", SCRIPT, include_str!("../../../assets/demo/words.js")),
    ("demo/icon.svg", SVG, ICON),
    ("favicon.ico", SVG, ICON),
];

const ICON: &str = include_str!("../../../assets/demo/icon.svg");

/// Nothing from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Stands in the page where the engine path belongs.
const ENGINE_PATH: &str = "{{engine_path}}";

impl Page {
    pub(super) fn new(engine_path: &str) -> Self {
        let files = FILES
            .into_iter()
            .map(|(path, content_type, content)| {
                let content = if content_type == HTML {
                    Bytes::from(content.replace(ENGINE_PATH, &escape(engine_path)))
                } else {
                    Bytes::from_static(content.as_bytes())
                };
                (path, File::new(content, content_type, None))
            })
            .collect();
        Self {
            files,
            headers: page_headers(POLICY),
        }
    }

    pub(super) fn respond(
        &self,
        read: Read,
        path: &str,
        request: &HeaderMap,
    ) -> Option<Response<Full<Bytes>>> {
        let path = path.strip_prefix('/')?;
        let (_, file) = self.files.iter().find(|(known, _)| *known == path)?;
        let mut response = file.respond(read, request);
        response.headers_mut().extend(self.headers.iter().cloned());
        Some(response)
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
