//! What a manager is told: one authority, one store, and the names.

use std::path::PathBuf;

use super::challenges::Challenge;
use super::options::EabOptions;
use super::store::Store;

/// The names to get from one directory into one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AcmeSettings {
    pub(crate) store: Store,
    pub(crate) directory: String,
    /// Whom to trust when the directory is asked; `None` is the authorities of the system.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) email: Option<String>,
    pub(crate) eab: Option<EabOptions>,
    pub(crate) names: Vec<NameSettings>,
}

/// A name, and the challenges that can be met for it: at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameSettings {
    pub(crate) name: String,
    pub(crate) challenges: Vec<Challenge>,
}
