//! What an application decides about a handshake.

use std::pin::Pin;

/// A future that stays on its shard.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// Whether a handshake is answered.
#[expect(
    clippy::exhaustive_enums,
    reason = "whoever opens a session handles each"
)]
pub enum Admission {
    /// It is.
    Admit,
    /// It is refused with code 4 and this message.
    Forbid(String),
    /// It takes time to tell; `Err` holds the message of a refusal.
    Pending(LocalFuture<Result<(), String>>),
}
