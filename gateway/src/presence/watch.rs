use std::sync::Arc;

use adapter::presence::{Subject, SubjectKind};

use super::{MAX_NAME, Presence};
use crate::net::ids::{is_private, user_of_room};

/// Tells what happens in one namespace on one shard.
pub(crate) struct Watch {
    presence: Arc<Presence>,
    namespace: Box<str>,
    sockets: Subject,
    anonymous: Subject,
}

impl Watch {
    pub(super) fn new(presence: Arc<Presence>, namespace: &str) -> Self {
        Self {
            presence,
            sockets: Subject::new(SubjectKind::Sockets, namespace, ""),
            anonymous: Subject::new(SubjectKind::Anonymous, namespace, ""),
            namespace: namespace.into(),
        }
    }

    /// A socket is there, which is in no room yet.
    pub(crate) fn entered(&self) {
        if self.presence.has_users() {
            self.presence
                .change(|it| it.add(&self.sockets) | it.add(&self.anonymous));
        }
    }

    /// A socket is gone, which is in no room any more.
    pub(crate) fn exited(&self) {
        if self.presence.has_users() {
            self.presence
                .change(|it| it.remove(&self.sockets) | it.remove(&self.anonymous));
        }
    }

    /// A socket is in one room more.
    pub(crate) fn joined(&self, room: &str) {
        let Some(subject) = self.subject(room) else {
            return;
        };
        self.presence.change(|it| match subject.kind() {
            SubjectKind::User => it.add(&subject) | it.remove(&self.anonymous),
            SubjectKind::Room | SubjectKind::Sockets | SubjectKind::Anonymous => it.add(&subject),
        });
    }

    /// A socket is in one room less.
    pub(crate) fn left(&self, room: &str) {
        let Some(subject) = self.subject(room) else {
            return;
        };
        self.presence.change(|it| match subject.kind() {
            SubjectKind::User => it.remove(&subject) | it.add(&self.anonymous),
            SubjectKind::Room | SubjectKind::Sockets | SubjectKind::Anonymous => {
                it.remove(&subject)
            }
        });
    }

    /// What a room stands for, if it is looked at.
    fn subject(&self, room: &str) -> Option<Subject> {
        if room.len() > MAX_NAME {
            return None;
        }
        match user_of_room(room) {
            Some(user) => {
                let is_on = self.presence.has_users();
                is_on.then(|| Subject::new(SubjectKind::User, &self.namespace, user))
            }
            None => {
                let is_on = self.presence.has_room(room) && !is_private(room);
                is_on.then(|| Subject::new(SubjectKind::Room, &self.namespace, room))
            }
        }
    }
}
