//! Waiting for what is expected, with an end: no test may hang.

use std::time::{Duration, Instant};

/// How long something may take that is expected to happen: much longer than it does on a machine
/// that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before a condition is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Looks until a condition holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "it did not happen: {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Waits for a future that is expected to end.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it did not happen")
}

/// Looks until a condition holds, and lets other futures run meanwhile.
pub async fn until_async(mut holds: impl AsyncFnMut() -> bool) {
    soon(async {
        while !holds().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await;
}
