//! A collector of spans, which reads of OTLP what the tests look at.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hyper::HeaderMap;
use serde_json::Value;

use super::{Backend, until};

/// Takes spans, unless it is told otherwise.
pub(crate) struct Collector {
    backend: Backend,
    spans: Arc<Mutex<Vec<Span>>>,
    headers: Arc<Mutex<HeaderMap>>,
    statuses: Arc<Mutex<Vec<u16>>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// In hexadecimal, as the other ids.
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) name: String,
    pub(crate) kind: u64,
    /// Numbers as texts.
    pub(crate) attributes: BTreeMap<String, String>,
    /// The spans that it also has to do with.
    pub(crate) links: Vec<String>,
    pub(crate) failed: bool,
    pub(crate) sampled: bool,
    /// In nanoseconds.
    pub(crate) took: u64,
    /// The name of its node.
    pub(crate) node: String,
}

impl Span {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let (spans, headers) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<_>>::default());
        let statuses = Arc::<Mutex<Vec<u16>>>::default();
        let (kept, seen, told) = (
            Arc::clone(&spans),
            Arc::clone(&headers),
            Arc::clone(&statuses),
        );
        let backend = Backend::serve(([127, 0, 0, 1], 0).into(), move |headers, body| {
            let next = told.lock().unwrap().pop();
            if next.is_none() {
                *seen.lock().unwrap() = headers;
                kept.lock().unwrap().extend(spans_of(&body));
            }
            Box::pin(std::future::ready((next.unwrap_or(200), Value::Null)))
        });
        Self {
            backend: backend.await,
            spans,
            headers,
            statuses,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.backend.address()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// It answers so many requests with this status and forgets their spans.
    pub(crate) fn refuse(&self, status: u16, times: usize) {
        self.statuses.lock().unwrap().resize(times, status);
    }

    /// The headers of the last request.
    pub(crate) fn headers(&self) -> HeaderMap {
        self.headers.lock().unwrap().clone()
    }

    /// From now on it has none.
    pub(crate) fn forget(&self) {
        self.spans.lock().unwrap().clear();
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    /// Waits for spans of a kind until there are so many.
    pub(crate) async fn named(&self, name: &str, count: usize) -> Vec<Span> {
        let found = || {
            let spans = self.spans().into_iter();
            spans.filter(|it| it.name == name).collect::<Vec<_>>()
        };
        until(async || found().len() >= count).await;
        found()
    }
}

/// One field of a message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn number(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Bytes(bytes) => {
                let mut number = [0; 8];
                number[..bytes.len()].copy_from_slice(bytes);
                u64::from_le_bytes(number)
            }
        }
    }

    fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Number(number) => panic!("{number} is no message"),
            Self::Bytes(bytes) => bytes,
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).unwrap()
    }

    fn hex(&self) -> String {
        let bytes = self.bytes().iter();
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }
}

fn fields(mut message: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let length = match key & 7 {
            0 => {
                found.push((key >> 3, Field::Number(varint(&mut message))));
                continue;
            }
            1 => 8,
            2 => varint(&mut message) as usize,
            5 => 4,
            other => panic!("{other} is no wire type"),
        };
        let (bytes, rest) = message.split_at(length);
        found.push((key >> 3, Field::Bytes(bytes)));
        message = rest;
    }
    found
}

fn varint(message: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (byte, rest) = message.split_first().unwrap();
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}

/// The messages in this field.
fn within(message: &[u8], field: u64) -> Vec<&[u8]> {
    let all = fields(message).into_iter();
    let of = all.filter(|(number, _)| *number == field);
    of.map(|(_, found)| found.bytes()).collect()
}

fn attribute(message: &[u8]) -> (String, String) {
    let (mut name, mut value) = (String::new(), String::new());
    for (field, found) in fields(message) {
        match field {
            1 => name = found.text(),
            2 => {
                let (kind, found) = fields(found.bytes()).pop().unwrap();
                value = match kind {
                    1 => found.text(),
                    _ => found.number().to_string(),
                };
            }
            other => panic!("{other} is no field of an attribute"),
        }
    }
    (name, value)
}

fn spans_of(request: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource_spans in within(request, 1) {
        let resource = within(resource_spans, 1)[0];
        let attributes: BTreeMap<_, _> = within(resource, 1).into_iter().map(attribute).collect();
        assert_eq!(attributes["service.name"], "gateway");
        for scope_spans in within(resource_spans, 2) {
            for span in within(scope_spans, 2) {
                spans.push(Span {
                    node: attributes["service.instance.id"].clone(),
                    ..span_of(span)
                });
            }
        }
    }
    spans
}

fn span_of(message: &[u8]) -> Span {
    let mut span = Span::default();
    let mut start = 0;
    for (field, found) in fields(message) {
        match field {
            1 => span.trace = found.hex(),
            2 => span.id = found.hex(),
            4 => span.parent = found.hex(),
            5 => span.name = found.text(),
            6 => span.kind = found.number(),
            7 => start = found.number(),
            8 => span.took = found.number() - start,
            9 => span.attributes.extend([attribute(found.bytes())]),
            13 => {
                let (_, id) = &fields(found.bytes())[1];
                span.links.push(id.hex());
            }
            15 => span.failed = fields(found.bytes())[0].1.number() == 2,
            16 => span.sampled = found.number() & 1 == 1,
            other => panic!("{other} is no field of a span that we write"),
        }
    }
    span
}
