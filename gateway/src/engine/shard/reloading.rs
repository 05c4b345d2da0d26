//! Settings that change while the shard serves.

use std::rc::Rc;

use super::Shard;
use crate::config::{CheckedConfig, Limits};

impl Shard {
    /// The limits in force.
    #[inline]
    pub(crate) fn limits(&self) -> Limits {
        self.settings.limits()
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> Rc<CheckedConfig> {
        self.settings.config()
    }

    /// Has other settings be in force from now on.
    pub(crate) fn take_over(&self, config: CheckedConfig) {
        let counted = self.limits().connections_per_ip.is_some();
        self.settings.replace(config);
        let strangers = self.settings.strangers(self.node.shard_count());
        self.strangers.set_most(strangers);
        if !counted && self.limits().connections_per_ip.is_some() {
            let registry = self.registry.borrow();
            let sessions = registry.sessions.iter().map(|(_, session)| session);
            sessions.for_each(|session| session.count());
        }
    }
}
