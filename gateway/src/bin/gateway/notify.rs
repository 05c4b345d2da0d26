//! What systemd is told of the process, if it started it with `Type=notify` or `Type=notify-reload`.

use std::time::{Duration, Instant};

use gateway::{Pulse, ReloadError, Reloaded, Running};
use sd_notify::NotifyState;
use tracing::debug;

/// How often systemd is told how many sessions there are.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// What each word of the end asks for; the next one comes sooner.
const EXTENSION: Duration = Duration::from_secs(30);

/// How long the end may take beyond the drain.
const LAST_STEPS: Duration = Duration::from_secs(20);

/// How long it rests between two words to the watchdog at least.
const SHORTEST_BEAT: Duration = Duration::from_millis(10);

/// How long the node waits for systemd to take what it is told.
const PATIENCE: Duration = Duration::from_secs(1);

/// The node serves.
pub(crate) async fn ready(running: &Running) {
    tell(vec![NotifyState::Ready]).await;
    if !is_wanted() {
        return;
    }
    let pulse = running.pulse();
    tokio::spawn(report(pulse.clone()));
    let limit = sd_notify::watchdog_enabled();
    if let Some(limit) = limit.filter(|limit| !limit.is_zero()) {
        tokio::spawn(watch(pulse, (limit / 2).max(SHORTEST_BEAT)));
    }
}

/// The node reads again what may change while it serves.
pub(crate) async fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now());
    tell(states).await;
}

/// It did, or says why not.
pub(crate) async fn reloaded(outcome: &Result<Reloaded, ReloadError>) {
    if !is_wanted() {
        return;
    }
    let status = match outcome {
        Ok(reloaded) => format!("STATUS=reloaded; {reloaded}"),
        Err(error) => {
            let error = error.to_string();
            let first = error.lines().next().unwrap_or_default();
            format!("STATUS=reload refused, nothing changed: {first}")
        }
    };
    notify(move || sd_notify::notify(&[NotifyState::Ready, NotifyState::Custom(&status)])).await;
}

/// The node ends. As long as the drain lasts, it asks for more time than the unit gives, bit by bit.
pub(crate) async fn stopping(drain: Duration) {
    if !is_wanted() {
        return;
    }
    tell(vec![NotifyState::Stopping, extension()]).await;
    tokio::spawn(async move {
        let longest = Instant::now().checked_add(drain + LAST_STEPS);
        while longest.is_none_or(|longest| Instant::now() < longest) {
            tokio::time::sleep(STATUS_EVERY).await;
            tell(vec![extension()]).await;
        }
    });
}

/// Whether there is somebody to be told.
fn is_wanted() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

fn extension() -> NotifyState<'static> {
    let length = u32::try_from(EXTENSION.as_micros());
    NotifyState::ExtendTimeoutUsec(length.unwrap_or(u32::MAX))
}

/// Tells how many sessions there are.
async fn report(pulse: Pulse) {
    loop {
        let sessions = pulse.session_count();
        let state = match pulse.is_draining() {
            true => "draining",
            false => "serving",
        };
        let status = format!("STATUS={state} {sessions} sessions");
        notify(move || sd_notify::notify(&[NotifyState::Custom(&status)])).await;
        tokio::time::sleep(STATUS_EVERY).await;
    }
}

/// Tells that the node lives each time that all its shards answered.
async fn watch(pulse: Pulse, every: Duration) {
    while pulse.beats().await {
        tell(vec![NotifyState::Watchdog]).await;
        tokio::time::sleep(every).await;
    }
}

async fn tell(states: Vec<NotifyState<'static>>) {
    if !is_wanted() {
        return;
    }
    notify(move || sd_notify::notify(&states)).await;
}

/// On a thread of its own, since systemd may stand still.
async fn notify(send: impl FnOnce() -> std::io::Result<()> + Send + 'static) {
    let sent = tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(send)).await;
    match sent {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => debug!(target: "gateway", %error, "cannot tell systemd"),
        Ok(Err(_)) | Err(_) => debug!(target: "gateway", "systemd does not take what it is told"),
    }
}
