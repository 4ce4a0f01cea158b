//! The managers of a process. They outlive a reload: a generation that wants the same as the one before takes over its manager, with what is under way.

use std::sync::{Mutex, PoisonError};

use ziggurat_middleware::Client;

use super::manager::{Figures, Manager};
use super::report::NameReport;
use super::settings::AcmeSettings;

/// Managers, and how many generations use each.
#[derive(Default)]
pub(crate) struct Managers {
    running: Mutex<Vec<(Manager, usize)>>,
    pub(super) figures: Figures,
}

impl Managers {
    /// The manager for these settings. It runs until as many have left it as have entered it. Must be called within a runtime.
    pub(crate) fn enter(&self, settings: AcmeSettings, client: Client) -> Manager {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((manager, users)) = running.iter_mut().find(|(manager, _)| *manager.settings() == settings) {
            *users += 1;
            return manager.clone();
        }
        let manager = Manager::start(settings, client, self.figures.clone());
        running.push((manager.clone(), 1));
        manager
    }

    /// Has all of them order what is due.
    pub(crate) fn begin(&self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|(manager, _)| manager.begin());
    }

    /// Ends a manager if nobody else uses it. An order that is under way has a short time to finish.
    pub(crate) async fn leave(&self, manager: &Manager) {
        let is_last = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(at) = running.iter().position(|(running, _)| running.settings() == manager.settings()) else { return };
            running[at].1 -= 1;
            let is_last = running[at].1 == 0;
            if is_last {
                running.remove(at);
            }
            is_last
        };
        if is_last {
            manager.stop().await;
        }
    }

    pub(crate) fn figures(&self) -> &Figures {
        &self.figures
    }

    pub(crate) fn reports(&self) -> Vec<NameReport> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().flat_map(|(manager, _)| manager.reports().as_ref().clone()).collect()
    }
}
