//! The files that a node serves by itself: Socket.IO's client, the demo page and the admin page.
//!
//! Everything is built in or read at the start; answering a request touches no disk. A compressed form is made
//! when it is first asked for, and kept.

mod admin_page;
mod client;
mod file;
mod page;

use std::path::Path;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderMap;
use hyper::{Method, Response};

pub use admin_page::AdminUiDirError;
pub use client::ClientDirError;

use admin_page::AdminPage;
use client::Client;
use page::Page;

/// The client's files and, unless they are off, the demo page and the admin page. All shards share one.
#[derive(Debug)]
pub struct Assets {
    client: Client,
    page: Option<Page>,
    admin: Option<AdminPage>,
}

impl Assets {
    /// Reads the client's files and prepares the page.
    ///
    /// The files come from `client_dir`; without one they are those that the program brings along.
    /// `engine_path` is where the page finds the gateway, with a slash at both ends.
    ///
    /// # Errors
    ///
    /// A file of the client that `client_dir` lacks, or that cannot be read.
    pub fn load(
        demo: bool,
        client_dir: Option<&Path>,
        engine_path: &str,
    ) -> Result<Self, ClientDirError> {
        let client = match client_dir {
            Some(dir) => Client::read(dir)?,
            None => Client::built_in(),
        };
        let page = demo.then(|| Page::new(engine_path));
        Ok(Self {
            client,
            page,
            admin: None,
        })
    }

    /// Adds the admin page, whose files are in a folder.
    ///
    /// # Errors
    ///
    /// The folder cannot be read, or is that of something else.
    pub fn with_admin_page(mut self, dir: &Path) -> Result<Self, AdminUiDirError> {
        self.admin = Some(AdminPage::read(dir)?);
        Ok(self)
    }

    /// Returns the directory that the client's files were read from. `None` for those that the program brings along.
    pub fn client_dir(&self) -> Option<&Path> {
        self.client.dir()
    }

    /// Answers a request below the engine path, `path` being what follows it, with or without a
    /// query. `None` means that it names no file of the client, so it is an Engine.IO request.
    pub fn respond(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Option<Response<Full<Bytes>>> {
        self.client
            .respond(reads(method)?, without_query(path), headers)
    }

    /// Answers a request for the demo page or the admin page, `path` being the whole path of the request.
    /// `None` means that there is nothing here, or that the page is off.
    pub fn respond_page(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Option<Response<Full<Bytes>>> {
        let (read, path) = (reads(method)?, without_query(path));
        let demo = self.page.as_ref();
        let demo = demo.and_then(|page| page.respond(read, path, headers));
        demo.or_else(|| self.admin.as_ref()?.respond(read, path, headers))
    }
}

/// The two methods that files answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    Get,
    Head,
}

fn reads(method: &Method) -> Option<Read> {
    match *method {
        Method::GET => Some(Read::Get),
        Method::HEAD => Some(Read::Head),
        _ => None,
    }
}

fn without_query(path: &str) -> &str {
    path.split_once('?').map_or(path, |(path, _)| path)
}

#[cfg(test)]
mod tests;
