//! The page of `@socket.io/admin-ui`, from a folder.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

use super::Read;
use super::file::{File, PageHeaders, page_headers};

/// Where the page is.
const PLACE: &str = "/admin/";

/// Folder of the icon font (the package `@mdi/font`) within that of the page.
const ICONS: &str = "mdi";

/// The style sheet of the icons within their folder.
const ICONS_SHEET: &str = "mdi/css/materialdesignicons.min.css";

/// Most files of the folder.
const MAX_FILES: usize = 500;

/// Most bytes of them together.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Most folders within each other.
const MAX_DEPTH: usize = 4;

/// Nothing from elsewhere; but the page may look at any server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self'; \
                      img-src 'self' data:; connect-src 'self' http: https: ws: wss:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// The folder of the admin page cannot be served.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
#[error("admin.ui_dir {}: {problem}", dir.display())]
pub struct AdminUiDirError {
    /// The directory as it was configured.
    pub dir: PathBuf,
    /// What is wrong.
    pub problem: String,
}

/// The page's files and the headers that all of them carry.
#[derive(Debug)]
pub(super) struct AdminPage {
    /// By their paths below [`PLACE`].
    files: Vec<(String, File)>,
    headers: PageHeaders,
}

impl AdminPage {
    /// Reads all files of a folder but source maps, which are three times as large and which only a debugger asks for.
    pub(super) fn read(dir: &Path) -> Result<Self, AdminUiDirError> {
        let wrong = |problem: String| AdminUiDirError {
            dir: dir.to_owned(),
            problem,
        };
        let mut found = Found::default();
        found.read(dir, "", 0).map_err(wrong)?;
        let has_icons = found.files.iter().any(|(path, _)| path == ICONS_SHEET);
        let page = found
            .files
            .iter_mut()
            .find(|(path, _)| path == "index.html");
        let Some((path, page)) = page else {
            let missing =
                "it has no index.html; name the folder ui/dist of the package @socket.io/admin-ui";
            return Err(wrong(missing.to_owned()));
        };
        path.clear();
        let html = String::from_utf8_lossy(page);
        *page = Bytes::from(without_strangers(&html, has_icons));
        let files = found.files.into_iter().map(|(path, content)| {
            let content_type = content_type(&path);
            (path, File::new(content, content_type, None))
        });
        Ok(Self {
            files: files.collect(),
            headers: page_headers(POLICY),
        })
    }

    pub(super) fn respond(
        &self,
        read: Read,
        path: &str,
        request: &HeaderMap,
    ) -> Option<Response<Full<Bytes>>> {
        if PLACE.strip_suffix('/') == Some(path) {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            let place = HeaderValue::from_static(PLACE);
            response.headers_mut().insert(header::LOCATION, place);
            return Some(response);
        }
        let path = path.strip_prefix(PLACE)?;
        let (_, file) = self.files.iter().find(|(known, _)| known == path)?;
        let mut response = file.respond(read, request);
        response.headers_mut().extend(self.headers.iter().cloned());
        Some(response)
    }
}

#[derive(Default)]
struct Found {
    files: Vec<(String, Bytes)>,
    bytes: u64,
}

impl Found {
    fn read(&mut self, dir: &Path, below: &str, depth: usize) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("cannot read {}: {error}", dir.display());
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
                continue;
            };
            let (place, path) = (entry.path(), format!("{below}{name}"));
            // Links are followed, as packages are installed by links.
            let about = std::fs::metadata(&place).map_err(failed)?;
            if about.is_dir() {
                if depth < MAX_DEPTH {
                    self.read(&place, &format!("{path}/"), depth + 1)?;
                }
                continue;
            }
            if !is_served(&path) {
                continue;
            }
            self.bytes += about.len();
            if self.files.len() >= MAX_FILES || self.bytes > MAX_BYTES {
                return Err(format!(
                    "it has more than {MAX_FILES} files or {MAX_BYTES} bytes, so it is not that of the page"
                ));
            }
            let content = std::fs::read(&place).map_err(failed)?;
            self.files.push((path, content.into()));
        }
        Ok(())
    }
}

/// Of the icons only what the page loads: the style sheet and its fonts.
fn is_served(path: &str) -> bool {
    match path.strip_prefix(ICONS).and_then(|it| it.strip_prefix('/')) {
        Some(_) => path == ICONS_SHEET || path.starts_with("mdi/fonts/"),
        None => !path.ends_with(".map"),
    }
}

/// The page without style sheets of other servers: that of its letters is left out, and that of its icons comes from
/// the folder if it is there.
fn without_strangers(html: &str, has_icons: bool) -> String {
    let mut rest = html;
    let mut page = String::with_capacity(html.len());
    while let Some(at) = rest.find("<link ") {
        let (before, link) = rest.split_at(at);
        page.push_str(before);
        let end = link.find('>').map_or(link.len(), |end| end + 1);
        let (link, behind) = link.split_at(end);
        rest = behind;
        let is_elsewhere = ["https://", "http://", "\"//"]
            .iter()
            .any(|it| link.contains(it));
        if !is_elsewhere {
            page.push_str(link);
        } else if link.contains("@mdi/font") && has_icons {
            page.push_str(&format!("<link rel=\"stylesheet\" href=\"{ICONS_SHEET}\">"));
        }
    }
    page.push_str(rest);
    page
}

fn content_type(path: &str) -> &'static str {
    match path
        .rsplit_once('.')
        .map_or("html", |(_, extension)| extension)
    {
        "html" => "text/html; charset=utf-8",
        "js" => "application/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml; charset=utf-8",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "json" => "application/json; charset=utf-8",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTML: &str = "<html><head><link rel=\"icon\" href=\"favicon.png\">\
                        <link rel=\"stylesheet\" href=\"https://fonts.googleapis.com/css?family=Roboto\">\
                        <link rel=\"stylesheet\" href=\"https://cdn.jsdelivr.net/npm/@mdi/font@latest/css/materialdesignicons.min.css\">\
                        <link href=\"css/app.css\" rel=\"stylesheet\"></head><body></body></html>";

    /// A folder with these files, which ends with its test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let dir =
                std::env::temp_dir().join(format!("gateway-admin-{name}-{}", std::process::id()));
            for (path, content) in files {
                let path = dir.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
            Self(dir)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _gone = std::fs::remove_dir_all(&self.0);
        }
    }

    fn answer(page: &AdminPage, path: &str) -> Option<(StatusCode, HeaderMap)> {
        let answer = page.respond(Read::Get, path, &HeaderMap::new())?;
        Some((answer.status(), answer.headers().clone()))
    }

    #[test]
    fn the_files_of_the_folder_are_served_and_nothing_else() {
        let files = [
            ("index.html", HTML),
            ("js/app.js", "1"),
            ("js/app.js.map", "{}"),
            (".secret", "x"),
            ("mdi/package.json", "{}"),
        ];
        let folder = Folder::new("files", &files);
        let page = AdminPage::read(&folder.0).unwrap();
        let (status, headers) = answer(&page, "/admin/").unwrap();
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers["content-type"], "text/html; charset=utf-8");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("frame-ancestors 'none'"));
        let (status, headers) = answer(&page, "/admin").unwrap();
        assert_eq!(
            (status, &headers["location"]),
            (
                StatusCode::PERMANENT_REDIRECT,
                &HeaderValue::from_static("/admin/")
            )
        );
        let (_, headers) = answer(&page, "/admin/js/app.js").unwrap();
        assert_eq!(
            headers["content-type"],
            "application/javascript; charset=utf-8"
        );
        for path in [
            "/",
            "/admin/js/app.js.map",
            "/admin/.secret",
            "/admin/mdi/package.json",
            "/admin/index.html",
            "/admin/js/../index.html",
            "/adminjs/app.js",
        ] {
            assert!(answer(&page, path).is_none(), "{path}");
        }
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        let without = without_strangers(HTML, false);
        assert!(!without.contains("https://") && !without.contains("mdi"));
        assert!(without.contains("favicon.png") && without.contains("css/app.css"));
        let with = without_strangers(HTML, true);
        assert!(!with.contains("https://") && with.contains(ICONS_SHEET));
        assert!(with.ends_with("<body></body></html>"));
        for odd in ["", "<link ", "<link href=\"https://a\""] {
            assert!(!without_strangers(odd, true).contains("https"), "{odd}");
        }
    }

    #[test]
    fn a_folder_of_something_else_is_refused() {
        let folder = Folder::new("other", &[("readme.md", "")]);
        let error = AdminPage::read(&folder.0).unwrap_err().to_string();
        assert!(
            error.starts_with("admin.ui_dir ") && error.contains("index.html"),
            "{error}"
        );
        let missing = AdminPage::read(&folder.0.join("nowhere")).unwrap_err();
        assert!(missing.to_string().contains("cannot read"), "{missing}");
    }
}
