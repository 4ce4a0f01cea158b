//! What this program tells layers and apps of itself.

use http::Extensions;

use crate::worker::launcher::Launcher;

/// Facts about this program for layers and apps.
pub(super) fn facts(launch: Option<Launcher>) -> Extensions {
    let mut host = Extensions::new();
    // Where the system does not name the executable, an app with workers reports that.
    if let Some(launch) = launch.or_else(|| Launcher::current().ok()) {
        host.insert(launch);
    }
    host.insert(crate::upstream::client());
    host
}
