//! A trace that somebody reads here.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use adapter::{ClusterMessage, Member, NodeId, RequestId};
use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde::Deserialize;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Interval, Sleep};

use super::remote::lost_line;
use crate::cluster::Cluster;
use crate::engine::node::Node;
use crate::net::ids::random_characters;
use crate::trace::{
    LEASE, Line, Mark, Pulled, Queue, RENEWAL, Subject, Trace, TraceId, What, Words,
};

/// How often a reader looks whether lines were lost while none came.
const LOOKS: Duration = Duration::from_secs(1);

/// Most lines that are written at once.
const MAX_CHUNK: usize = 64;

/// Most lines that are written behind the end of the time: those that wait, and what was lost.
const MAX_LAST: usize = 2048;

/// How long after its time a trace is ended though its reader takes nothing.
const GRACE: Duration = Duration::from_secs(3);

/// How long another node has to say that it traces, each time that it is asked, before the reader is told
/// that it does not.
const PATIENCE: Duration = Duration::from_secs(2);

/// The lines of a trace as the body of an answer. Dropped, it ends the trace on every node.
pub(crate) struct Reader {
    queue: Queue,
    /// When it is over.
    ends: Pin<Box<Sleep>>,
    looks: Interval,
    is_over: bool,
    open: Arc<Open>,
    /// Ends the trace though nobody reads.
    watch: AbortHandle,
}

/// What ends with the reader.
struct Open {
    node: Arc<Node>,
    trace: Arc<Trace>,
    elsewhere: Option<Elsewhere>,
    has_ended: AtomicBool,
}

/// The same trace on the other nodes.
struct Elsewhere {
    cluster: Arc<Cluster>,
    request: RequestId,
    words: Words,
    renewal: AbortHandle,
}

impl Reader {
    /// Opens a trace on all nodes, for so long at most. `None` if there are too many.
    pub(crate) fn open(
        node: &Arc<Node>,
        of: Subject,
        arguments: bool,
        lasts: Duration,
    ) -> Option<Self> {
        let request = match node.cluster() {
            Some(cluster) => cluster.adapter().new_request(),
            None => RequestId::new(String::from_utf8_lossy(&random_characters::<12>())),
        };
        let id = TraceId {
            asker: String::new(),
            request: request.as_str().to_owned(),
        };
        let words = Words {
            of,
            arguments,
            lease: LEASE.as_millis() as u64,
        };
        let (lines, queue) = Queue::new();
        let name = node.name();
        let trace = node.traces().open(id, words.clone(), &name, lines)?;
        trace
            .lines
            .pass(Line::new(What::Tracing).to_json(&name, false));
        node.begin_trace(&trace);
        let elsewhere = node.cluster().map(|cluster| Elsewhere {
            renewal: tokio::spawn(renew(
                Arc::clone(cluster),
                request.clone(),
                words.to_json(),
                Arc::clone(&trace),
            ))
            .abort_handle(),
            cluster: Arc::clone(cluster),
            request,
            words,
        });
        let open = Arc::new(Open {
            node: Arc::clone(node),
            trace,
            elsewhere,
            has_ended: AtomicBool::new(false),
        });
        let watched = Arc::clone(&open);
        let watch = tokio::spawn(async move {
            tokio::time::sleep(lasts + GRACE).await;
            watched.end();
        });
        Some(Self {
            queue,
            ends: Box::pin(tokio::time::sleep(lasts)),
            looks: tokio::time::interval(LOOKS),
            is_over: false,
            open,
            watch: watch.abort_handle(),
        })
    }

    fn poll_line(&mut self, context: &mut Context<'_>) -> Poll<Option<String>> {
        match ready!(self.queue.pull(context)) {
            None => Poll::Ready(None),
            Some(Pulled::Line(line)) => Poll::Ready(Some(line)),
            Some(Pulled::Lost(lost)) => {
                let line = lost_line(lost).to_json(&self.open.trace.node, false);
                Poll::Ready(Some(line))
            }
        }
    }
}

impl Body for Reader {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut text = String::new();
        while self.looks.poll_tick(context).is_ready() {}
        let ends = !self.is_over && self.ends.as_mut().poll(context).is_ready();
        let most = if ends { MAX_LAST } else { MAX_CHUNK };
        let mut written = 0;
        while written < most
            && !self.is_over
            && let Poll::Ready(Some(line)) = self.poll_line(context)
        {
            text.push_str(&line);
            text.push('\n');
            written += 1;
        }
        if ends {
            self.is_over = true;
            let ended = Line::with(What::Ended, |more| more.reason = Some("time".to_owned()));
            text += &ended.to_json(&self.open.trace.node, false);
            text.push('\n');
        }
        match (text.is_empty(), self.is_over) {
            (false, _) => Poll::Ready(Some(Ok(Frame::data(text.into())))),
            (true, true) => Poll::Ready(None),
            (true, false) => Poll::Pending,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.watch.abort();
        self.open.end();
    }
}

impl Open {
    /// Ends the trace on all nodes, once.
    fn end(&self) {
        if self.has_ended.swap(true, Ordering::Relaxed) {
            return;
        }
        self.node.end_trace(&self.trace);
        if let Some(it) = &self.elsewhere {
            it.renewal.abort();
            let words = Words {
                lease: 0,
                ..it.words.clone()
            };
            tell(&it.cluster, &it.request, words.to_json());
        }
    }
}

/// Asks the other nodes, again and again, whether they trace, and tells the reader which of them do not
/// answer.
async fn renew(cluster: Arc<Cluster>, request: RequestId, words: String, trace: Arc<Trace>) {
    let mut next = Instant::now();
    let adapter = cluster.adapter();
    let is_other = |member: &&Member| member.id != *adapter.node();
    loop {
        let members = adapter.members();
        let others = members.iter().filter(is_other);
        trace.expect(others.map(|other| other.id.to_string()));
        tell(&cluster, &request, words.clone());
        next += RENEWAL;
        tokio::time::sleep(PATIENCE).await;
        let silent = trace.newly_silent();
        let members = adapter.members();
        for node in silent {
            let is_member = members.iter().any(|member| member.id.as_str() == node);
            let line = Line::with(What::NotTracing, |more| {
                let reason = match is_member {
                    true => "it does not answer",
                    false => "it left the cluster",
                };
                more.reason = Some(reason.to_owned());
            });
            trace.lines.pass(line.to_json(&node, false));
        }
        tokio::time::sleep_until(next).await;
    }
}

fn tell(cluster: &Cluster, request: &RequestId, words: String) {
    let message = ClusterMessage::Trace(words);
    let adapter = cluster.adapter();
    adapter.request(cluster.carrier(), request, &message);
}

impl Node {
    /// Lines of a trace that is read here came from another node, or what is busiest there.
    pub(crate) fn handle_lines(
        &self,
        request: &RequestId,
        from: Option<&NodeId>,
        lines: Vec<String>,
    ) {
        let id = TraceId {
            asker: String::new(),
            request: request.as_str().to_owned(),
        };
        let Some(trace) = self.traces().find(&id) else {
            if let (Some(node), Some(answer)) = (from, lines.into_iter().next()) {
                self.top()
                    .handle_answer(request.as_str(), node.as_str(), answer);
            }
            return;
        };
        let mark = lines.first().and_then(|first| Mark::parse(first));
        if let Some(node) = from {
            let heard = trace.hear(node.as_str(), mark);
            if heard.is_back {
                let line = Line::with(What::Tracing, |more| {
                    more.reason = Some("it answers again".to_owned());
                });
                trace.lines.pass(line.to_json(node.as_str(), false));
            }
            if heard.lost > 0 {
                let line = Line::with(What::Lost, |more| {
                    more.lines = Some(heard.lost);
                    more.reason = Some("between nodes".to_owned());
                });
                let line = line.to_json(node.as_str(), false);
                trace.lines.pass_for(line, heard.lost);
            }
        }
        for line in lines.into_iter().skip(usize::from(mark.is_some())) {
            match weight(&line) {
                Some(lines) => trace.lines.pass_for(line, lines),
                None => trace.lines.lose(1),
            }
        }
    }
}

/// Of how many lines it tells. `None` if it is no object of JSON in one line: what comes from others is not
/// trusted.
fn weight(line: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Told<'a> {
        #[serde(borrow)]
        what: Option<&'a str>,
        lines: Option<u64>,
    }
    if !line.starts_with('{') || line.contains(['\n', '\r']) {
        return None;
    }
    let told: Told<'_> = serde_json::from_str(line).ok()?;
    match told.what {
        Some("lost") => told.lines,
        Some(_) | None => Some(1),
    }
}
