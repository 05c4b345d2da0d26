//! Traces that other nodes read.

use std::sync::Arc;
use std::time::Duration;

use adapter::{Answer, ReplyTo};

use crate::cluster::Cluster;
use crate::engine::node::Node;
use crate::trace::{Line, MAX_TRACES, Mark, Pulled, Queue, Trace, TraceId, What, Words};

/// How often lines are sent to the node that reads them.
const EVERY: Duration = Duration::from_millis(100);

/// Most bytes of lines in one message.
const MAX_BATCH: usize = 256 * 1024;

/// Most characters of the name by which another node asks.
const MAX_ID: usize = 128;

/// Most bytes of what another node wants to be traced.
const MAX_WORDS: usize = 8 * 1024;

impl Node {
    /// Another node wants something to be traced, or no longer.
    pub(crate) fn trace_for(self: &Arc<Self>, cluster: &Arc<Cluster>, to: ReplyTo, words: &str) {
        let id = TraceId {
            asker: to.uid.clone(),
            request: to.request.as_str().to_owned(),
        };
        let is_odd = id.asker.is_empty() || id.asker.len() + id.request.len() > MAX_ID;
        if is_odd || words.len() > MAX_WORDS {
            return;
        }
        let name = self.name();
        let Some(words) = Words::parse(words) else {
            return respond(
                cluster,
                &to,
                vec![refusal(&name, "it is of another version")],
            );
        };
        let lease = Duration::from_millis(words.lease).min(crate::trace::LEASE);
        if let Some(known) = self.traces().find(&id) {
            known.ask();
            return known.renew(lease);
        }
        if lease.is_zero() {
            return;
        }
        let (lines, queue) = Queue::new();
        let Some(trace) = self.traces().open(id, words, &name, lines) else {
            let why = format!("{MAX_TRACES} traces are open there");
            return respond(cluster, &to, vec![refusal(&name, &why)]);
        };
        trace.renew(lease);
        trace
            .lines
            .pass(Line::new(What::Tracing).to_json(&name, false));
        self.begin_trace(&trace);
        let (node, carrying) = (Arc::clone(self), Arc::clone(cluster));
        cluster.spawn(async move {
            send(&carrying, &to, &trace, queue).await;
            node.end_trace(&trace);
        });
    }
}

/// Sends lines, and answers when it is asked, until nobody reads them any more.
async fn send(cluster: &Cluster, to: &ReplyTo, trace: &Trace, mut queue: Queue) {
    let mut turns = tokio::time::interval(EVERY);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = 0;
    while !trace.is_over() {
        turns.tick().await;
        let told_before = told;
        let (mut batch, mut bytes) = (vec![String::new()], 0);
        while bytes < MAX_BATCH
            && let Some(pulled) = queue.try_pull()
        {
            let (line, lines) = match pulled {
                Pulled::Line(line) => (line, 1),
                Pulled::Lost(lost) => (lost_line(lost).to_json(&trace.node, false), lost),
            };
            bytes += line.len();
            told += lines;
            batch.push(line);
        }
        if trace.take_asked() || batch.len() > 1 {
            batch[0] = Mark { told_before, told }.to_json();
            respond(cluster, to, batch);
        }
    }
}

fn respond(cluster: &Cluster, to: &ReplyTo, lines: Vec<String>) {
    let answer = Answer::Lines(lines);
    cluster.adapter().respond(cluster.carrier(), to, &answer);
}

fn refusal(node: &str, why: &str) -> String {
    let line = Line::with(What::NotTracing, |more| more.reason = Some(why.to_owned()));
    line.to_json(node, false)
}

/// Lines that there was no room for.
pub(super) fn lost_line(lines: u64) -> Line {
    Line::with(What::Lost, |more| more.lines = Some(lines))
}
