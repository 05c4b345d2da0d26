//! Looking at the files of the settings, for a reload when they change (`config.watch`).
//!
//! ```text
//!          same as the last reload               other than that, and still changing
//!   Known <-----------------------+-------------> Changing --+
//!    ^ |        a look            |                 ^        | other than at the last look
//!    | +--------------------------+                 +--------+
//!    |                                                 | the same at two looks in a row
//!    +------------------ Reload <----------------------+
//! ```
//!
//! It compares what stands in the files, so it does not matter how they are replaced: written again, renamed, or
//! by Kubernetes' links. What is half written changes once more, and is not taken.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Contents, Sources};
use crate::count::Asker;
use crate::engine::reloads::Reloads;

/// How often it looks. A change that stays for so long is taken.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A fingerprint of everything that a reload reads, right or wrong.
pub(super) fn look(sources: &Sources) -> u64 {
    let mut hasher = DefaultHasher::new();
    sources.print(&mut hasher);
    match Config::load(sources) {
        Ok(config) => Contents::read(&config).hash(&mut hasher),
        Err(errors) => errors.to_string().hash(&mut hasher),
    }
    hasher.finish()
}

/// Looks until the task is aborted. `known` is of the settings in force.
pub(super) async fn watch(sources: Arc<Sources>, mut known: u64, reloads: Reloads) {
    let mut before = known;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let looked_at = Arc::clone(&sources);
        // A file that stands still holds up nobody else.
        let Ok(now) = tokio::task::spawn_blocking(move || look(&looked_at)).await else {
            continue;
        };
        if now != known && now == before {
            known = now;
            // What is wrong is said once, and is looked at again when it changes.
            let _told = reloads.ask(Asker::File, false).await;
        }
        before = now;
    }
}
