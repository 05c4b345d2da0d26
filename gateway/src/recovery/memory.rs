//! The store of a node that stands alone: its memory.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use adapter::recovery::{Call, Link, ServerId, Settings, Store, Told};

use super::Order;

/// A store in memory, at once asked and answered.
pub(super) struct MemoryLink {
    store: Mutex<Store>,
    order: Weak<Order>,
}

impl MemoryLink {
    pub(super) fn new(settings: Settings, order: Weak<Order>) -> Self {
        Self {
            store: Mutex::new(Store::new(settings)),
            order,
        }
    }
}

impl Link for MemoryLink {
    fn call(&self, _: u64, call: &Call) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |it| u64::try_from(it.as_micros()).unwrap_or(u64::MAX));
        let handled = {
            let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
            store.handle(call, ServerId(0), now)
        };
        let Some(order) = Weak::upgrade(&self.order) else {
            return;
        };
        tell(&order, handled.heard.into_iter().map(Told::Heard));
        tell(&order, [Told::Reply(handled.reply)]);
    }
}

fn tell(order: &Arc<Order>, told: impl IntoIterator<Item = Told>) {
    told.into_iter().for_each(|told| order.tell(told));
}

impl fmt::Debug for MemoryLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLink").finish_non_exhaustive()
    }
}
