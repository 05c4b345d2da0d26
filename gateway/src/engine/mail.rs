//! What others send to a shard.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::engine::shard::Shard;

/// What one piece of mail takes beside its content, in bytes.
const MAIL_OVERHEAD: usize = 256;

/// What a shard is asked to do on its thread.
pub(crate) type Job = Box<dyn FnOnce(&Rc<Shard>) + Send>;

/// What every shard is asked to do on its thread: a broadcast.
pub(crate) trait SharedJob: Send + Sync {
    /// Bytes that it keeps from being freed.
    fn size(&self) -> usize;

    /// When it was asked for.
    fn since(&self) -> Instant;

    /// Does it, or begins to.
    fn run(self: Arc<Self>, shard: &Rc<Shard>);
}

/// What others send to a shard.
pub(crate) enum Mail {
    /// Something for all shards.
    Shared(Arc<dyn SharedJob>),
    /// Something to do on the shard's thread.
    Run(Job),
}

impl Mail {
    /// Bytes that it keeps from being freed, for the bound of an inbox.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Shared(job) => MAIL_OVERHEAD + job.size(),
            Self::Run(_) => MAIL_OVERHEAD,
        }
    }
}

/// The sending end of a shard's inbox.
pub(crate) struct Inbox(mpsc::UnboundedSender<Mail>);

/// The receiving end.
pub(crate) type Letterbox = mpsc::UnboundedReceiver<Mail>;

impl Inbox {
    pub(crate) fn new() -> (Self, Letterbox) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// A shard that ended takes no mail, and nobody waits for it.
    pub(crate) fn post(&self, mail: Mail) {
        let _ended = self.0.send(mail);
    }
}
