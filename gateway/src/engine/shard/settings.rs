//! The settings in force on a shard: its own copy, so that reading them waits for nobody.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::config::{CheckedConfig, Limits};

/// A shard's copy of the settings.
pub(super) struct Settings {
    config: RefCell<Rc<CheckedConfig>>,
    /// Those of the same that are read for every packet.
    limits: Cell<Limits>,
}

impl Settings {
    pub(super) fn new(config: CheckedConfig) -> Self {
        Self {
            limits: Cell::new(config.limits),
            config: RefCell::new(Rc::new(config)),
        }
    }

    /// What waits for something meanwhile goes on with those that it began with.
    pub(super) fn replace(&self, config: CheckedConfig) {
        self.limits.set(config.limits);
        self.config.replace(Rc::new(config));
    }

    pub(super) fn config(&self) -> Rc<CheckedConfig> {
        Rc::clone(&self.config.borrow())
    }

    #[inline]
    pub(super) fn limits(&self) -> Limits {
        self.limits.get()
    }

    /// How many connections without a session one of so many shards keeps.
    pub(super) fn strangers(&self, shards: usize) -> usize {
        let most = self.limits().connections;
        most.map_or(usize::MAX, |most| most.get().div_ceil(shards))
    }
}
