//! What systemd is told by the protocol of sd_notify(3), where it asked to be told.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

/// The server listens; `status` is shown by `systemctl status`.
pub(super) fn ready(status: &str) {
    // A line is a statement.
    tell(&[NotifyState::Ready, NotifyState::Status(&status.replace('\n', " "))]);
}

/// A reload has begun; [`ready`] ends it, whatever came of it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!("systemd is not told of the reload: {error}"),
    }
}

/// The server drains.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing the requests in flight")]);
}

/// Shows systemd that the runtime is alive, twice in the time it grants. Must be called within the runtime; ends with it.
pub(super) fn start_watchdog() {
    let Some(time) = sd_notify::watchdog_enabled() else { return };
    tokio::spawn(async move {
        let mut ticks = interval((time / 2).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            tell(&[NotifyState::Watchdog]);
        }
    });
}

/// Does nothing where nobody asked for it.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("systemd cannot be told: {error}");
    }
}
