//! Notifications to systemd (sd_notify(3)), if it has asked for them. The protocol itself is the crate sd-notify's.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

/// Reports that the server listens. `systemctl status` shows `status`.
pub(super) fn ready(status: &str) {
    // Each line of a notification is an assignment.
    notify(&[NotifyState::Ready, NotifyState::Status(&status.replace('\n', " "))]);
}

/// Reports that a reload has begun. [`ready`] reports its end, also if it failed.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!("cannot notify systemd of the reload: {error}"),
    }
}

/// Reports that the server drains.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("finishing the requests in flight")]);
}

/// Notifies the watchdog of systemd twice per interval, while the runtime runs. Must be called within the runtime.
pub(super) fn start_watchdog() {
    let Some(time) = sd_notify::watchdog_enabled() else { return };
    tokio::spawn(async move {
        let mut ticks = interval((time / 2).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            notify(&[NotifyState::Watchdog]);
        }
    });
}

/// Sends a notification. Does nothing without `NOTIFY_SOCKET`.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("cannot notify systemd: {error}");
    }
}
