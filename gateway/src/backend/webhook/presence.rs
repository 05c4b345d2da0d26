//! Tells backends and the stream who comes and goes. One node at a time tells each of them.
//!
//! ```text
//!              nobody else tells               events: told, and renewed meanwhile
//!   Waiting ----------------------> Telling ------------------------------------+
//!      ^  ^                          |  |  ^                                    |
//!      |  +---- another one tells ---+  |  +------------------------------------+
//!      +---------- not told: another node may try, after a pause
//! ```
//!
//! What was told is taken away with the next question. So an event is told at least once, and twice at most when a
//! node ends, or its backend does, between the two.

use std::sync::Arc;
use std::time::Duration;

use adapter::presence::{Notice, Notices, Sink, SubjectKind, Take, What};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::client::{Backend, CallFailure, Repeat};
use super::directions::Destination;
use super::{Shared, WebhookApplication};
use crate::backend::event_stream::{StreamEntry, jittered};
use crate::net::time::timestamp;
use crate::presence::{Presence, fresh};

/// For how long nobody else tells.
const LEASE: Duration = Duration::from_secs(5);

/// How often that is renewed while telling takes time.
const RENEW: Duration = Duration::from_millis(1500);

/// How often the one who tells asks for more.
const LOOK: Duration = Duration::from_millis(250);

/// How often the others ask whether they may.
const LOOK_ASIDE: Duration = Duration::from_secs(1);

/// How long a node that could not tell leaves it to others.
const PAUSE: Duration = Duration::from_secs(2);

/// Most events of one request.
const MAX_EVENTS: usize = 100;

/// The name by which routes know these events, and the type of what is told.
const NAME: &str = "presence";

/// The version of the bodies.
const VERSION: u32 = 1;

/// Where nothing has a namespace.
const NOWHERE: &str = "/";

/// An event as it is told.
#[derive(Debug, Serialize)]
struct Told {
    id: String,
    number: u64,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<String>,
    at: String,
}

/// What a backend gets.
#[derive(Serialize)]
struct Body<'a> {
    version: u32,
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    node: &'a str,
    events: &'a [Told],
}

/// What stands in the stream.
#[derive(Serialize)]
struct Entry<'a> {
    version: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    node: &'a str,
    #[serde(flatten)]
    told: &'a Told,
}

/// How far it was told.
struct Progress {
    told: usize,
    /// The rest is to be told later.
    is_stuck: bool,
}

impl WebhookApplication {
    /// Who can be told who comes and goes.
    pub(crate) fn sinks(&self) -> Vec<Sink> {
        let webhook = self.0.backends.as_ref().map(|_| Sink::Webhook);
        let stream = self.0.stream.as_ref().map(|_| Sink::Stream);
        webhook.into_iter().chain(stream).collect()
    }

    /// Tells a sink what there is to tell, for ever.
    pub(crate) async fn tell_presence(self, presence: Arc<Presence>, node: String, sink: Sink) {
        let teller = Teller {
            shared: self.0,
            presence,
            name: format!("{node}:{}", fresh()),
            node,
            sink,
        };
        teller.run().await;
    }
}

struct Teller {
    shared: Arc<Shared>,
    presence: Arc<Presence>,
    node: String,
    /// Unlike that of any other teller.
    name: String,
    sink: Sink,
}

impl Teller {
    async fn run(self) {
        let (mut first, mut told) = (String::new(), 0);
        loop {
            let take = self.take(LEASE, (std::mem::take(&mut first), told), MAX_EVENTS);
            told = 0;
            match self.presence.take(take).await {
                Ok(Some(taken)) if taken.events.is_empty() => {
                    self.presence.happened(LOOK).await;
                }
                Ok(Some(Notices { mut events, .. })) => {
                    let Some(progress) = self.tell_and_renew(&events).await else {
                        continue;
                    };
                    (first, told) = (events.swap_remove(0), progress.told);
                    if progress.is_stuck {
                        let given_up = self.take(Duration::ZERO, (first.clone(), told), 0);
                        (first, told) = (String::new(), 0);
                        if let Err(error) = self.presence.take(given_up).await {
                            debug!(target: "gateway::presence", %error, "what was told stays in the queue, and is told again");
                        }
                        sleep(jittered(PAUSE)).await;
                    }
                }
                Ok(None) => sleep(jittered(LOOK_ASIDE)).await,
                Err(error) => {
                    debug!(target: "gateway::presence", %error, "cannot ask for events to tell");
                    sleep(jittered(PAUSE)).await;
                }
            }
        }
    }

    fn take(&self, lease: Duration, (first, told): (String, usize), most: usize) -> Take {
        Take {
            sink: self.sink,
            teller: self.name.clone(),
            lease: lease.as_millis() as u64,
            first,
            told,
            most,
            clock: None,
        }
    }

    /// `None` if another node tells meanwhile.
    async fn tell_and_renew(&self, events: &[String]) -> Option<Progress> {
        let telling = self.tell(events);
        tokio::pin!(telling);
        loop {
            tokio::select! {
                biased;
                progress = &mut telling => return Some(progress),
                () = sleep(RENEW) => {}
            }
            let renewed = self.presence.take(self.take(LEASE, (String::new(), 0), 0));
            tokio::select! {
                biased;
                progress = &mut telling => return Some(progress),
                renewed = renewed => if let Ok(None) = renewed {
                    return None;
                }
            }
        }
    }

    async fn tell(&self, events: &[String]) -> Progress {
        match self.sink {
            Sink::Webhook => self.tell_backends(events).await,
            Sink::Stream => self.tell_stream(events).await,
        }
    }

    /// Where an event goes: to these, one after the other.
    fn destinations(&self, event: &Notice) -> Vec<Destination> {
        match &event.what {
            What::Reset => self.shared.directions().all_of(NAME),
            What::First(subject) | What::Last(subject) => {
                vec![self.shared.destination(subject.namespace(), NAME)]
            }
        }
    }

    async fn tell_backends(&self, events: &[String]) -> Progress {
        let all: Vec<_> = events.iter().map(|text| self.to_backends(text)).collect();
        let mut all = all.into_iter().peekable();
        let mut progress = Progress {
            told: 0,
            is_stuck: false,
        };
        while let Some((told, backends)) = all.next() {
            // Those that follow and go to the same share the request.
            let mut batch: Vec<Told> = told.into_iter().collect();
            let mut count = 1;
            if let [backend] = backends.as_slice() {
                let is_same =
                    |other: &[Arc<Backend>]| matches!(other, [it] if Arc::ptr_eq(it, backend));
                while let Some((told, _)) = all.next_if(|(_, other)| is_same(other)) {
                    batch.extend(told);
                    count += 1;
                }
            }
            for backend in &backends {
                if self.post(backend, &batch).await.is_err() {
                    progress.is_stuck = true;
                    return progress;
                }
            }
            progress.told += count;
        }
        progress
    }

    fn to_backends(&self, text: &str) -> (Option<Told>, Vec<Arc<Backend>>) {
        let Some(event) = Notice::parse(text) else {
            return (None, Vec::new());
        };
        let mut backends = Vec::<Arc<Backend>>::new();
        for destination in self.destinations(&event) {
            if let Destination::Backend(Some(backend)) = destination
                && !backends.iter().any(|it| Arc::ptr_eq(it, &backend))
            {
                backends.push(backend);
            }
        }
        (Some(Told::of(&event)), backends)
    }

    /// Tells one backend. What it refuses is not told again; an error is one that may pass.
    async fn post(&self, backend: &Arc<Backend>, events: &[Told]) -> Result<(), CallFailure> {
        let (Some(first), Some(backends)) = (events.first(), &self.shared.backends) else {
            return Ok(());
        };
        let body = Body {
            version: VERSION,
            id: &first.id,
            kind: NAME,
            node: &self.node,
            events,
        };
        let json = serde_json::to_vec(&body).unwrap_or_default().into();
        let called = backends.call(backend, &first.id, json, Repeat::Always, None);
        let count = events.len() as u64;
        match called.await {
            Ok(_) => {
                let told = &self.presence.counters().told;
                told.of(self.sink.into()).add(count);
                Ok(())
            }
            Err(failure) if failure.passes() => Err(failure),
            Err(failure) => {
                let url = backend.url();
                warn!(target: "gateway::presence", events = count, id = first.id, url, %failure, "the backend does not take who comes and goes; the events are not told again");
                self.presence.counters().refused.add(count);
                Ok(())
            }
        }
    }

    async fn tell_stream(&self, events: &[String]) -> Progress {
        let mut progress = Progress {
            told: 0,
            is_stuck: false,
        };
        let mut written = Vec::new();
        if let Some(stream) = &self.shared.stream {
            for text in events {
                let (done, is_done) = oneshot::channel();
                let Some(entry) = self.to_stream(text) else {
                    written.push(None);
                    continue;
                };
                if stream.append(entry, Some(done)).is_err() {
                    progress.is_stuck = true;
                    break;
                }
                written.push(Some(is_done));
            }
        }
        for is_done in written {
            if let Some(is_done) = is_done {
                if is_done.await.is_err() {
                    progress.is_stuck = true;
                    return progress;
                }
                let told = &self.presence.counters().told;
                told.of(self.sink.into()).increment();
            }
            progress.told += 1;
        }
        progress
    }

    /// `None` if it goes elsewhere, or no store can have written it.
    fn to_stream(&self, text: &str) -> Option<StreamEntry> {
        let event = Notice::parse(text)?;
        let goes_there = |it: &Destination| matches!(it, Destination::Backend(_));
        if !self.destinations(&event).iter().any(goes_there) {
            return None;
        }
        let told = Told::of(&event);
        let entry = Entry {
            version: VERSION,
            kind: NAME,
            node: &self.node,
            told: &told,
        };
        Some(StreamEntry {
            body: serde_json::to_vec(&entry).unwrap_or_default().into(),
            id: told.id,
            kind: NAME,
            namespace: told.namespace.unwrap_or_else(|| NOWHERE.to_owned()),
            event: Some(told.event.to_owned()),
            trace: None,
        })
    }
}

impl Told {
    fn of(event: &Notice) -> Self {
        let (name, subject) = match &event.what {
            What::Reset => ("reset", None),
            What::First(subject) => match subject.kind() {
                SubjectKind::User => ("user_online", Some(subject)),
                SubjectKind::Room | SubjectKind::Sockets | SubjectKind::Anonymous => {
                    ("room_occupied", Some(subject))
                }
            },
            What::Last(subject) => match subject.kind() {
                SubjectKind::User => ("user_offline", Some(subject)),
                SubjectKind::Room | SubjectKind::Sockets | SubjectKind::Anonymous => {
                    ("room_vacated", Some(subject))
                }
            },
        };
        let named = |kind: SubjectKind| {
            let subject = subject.filter(|it| it.kind() == kind)?;
            Some(subject.name().to_owned())
        };
        Self {
            id: format!("{}-{}", event.epoch, event.number),
            number: event.number,
            event: name,
            namespace: subject.map(|it| it.namespace().to_owned()),
            user: named(SubjectKind::User),
            room: named(SubjectKind::Room),
            at: timestamp(event.at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_by_their_names() {
        let told = |text: &str| {
            let event = Notice::parse(text).unwrap();
            serde_json::to_value(Told::of(&event)).unwrap()
        };
        assert_eq!(
            told("x:7:1764417600000:first:u5:/chatann"),
            serde_json::json!({
                "id": "x-7", "number": 7, "event": "user_online", "namespace": "/chat", "user": "ann",
                "at": "2025-11-29T12:00:00.000Z",
            })
        );
        let name = |text: &str| told(text)["event"].clone();
        assert_eq!(name("x:1:0:last:u1:/ann"), "user_offline");
        assert_eq!(name("x:1:0:first:r1:/chat:1"), "room_occupied");
        assert_eq!(name("x:1:0:last:r1:/chat:1"), "room_vacated");
        assert_eq!(told("x:1:0:last:r1:/chat:1")["room"], "chat:1");
        assert_eq!(
            told("x:1:0:reset:"),
            serde_json::json!({
                "id": "x-1", "number": 1, "event": "reset", "at": "1970-01-01T00:00:00.000Z",
            })
        );
    }
}
