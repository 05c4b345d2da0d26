//! How hard a scenario pushes.

/// Closed or open loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Load {
    /// So many messages in flight: the next is sent when one is done.
    Window(u32),
    /// So many messages per second, whether the server keeps up or not.
    Rate(f64),
}

impl Load {
    /// Nanoseconds between two messages.
    pub(crate) fn period(rate: f64) -> u64 {
        (1e9 / rate) as u64
    }

    /// In words, for the summary; `whose` load it is.
    pub(crate) fn describe(&self, whose: &str) -> String {
        match self {
            Self::Window(window) => format!("window {window} per {whose}"),
            Self::Rate(rate) => format!("{rate}/s per {whose}"),
        }
    }
}
