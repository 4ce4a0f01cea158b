//! What a layer does while the store is away.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a layer decides when `server.store` does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum OnStoreFailure {
    /// The request passes, uncounted.
    Allow,
    /// The request is answered with 503.
    Refuse,
    /// This process counts for itself, as without a store.
    #[default]
    Local,
}

impl OnStoreFailure {
    /// The name in the file and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Refuse => "refuse",
            Self::Local => "local",
        }
    }
}

impl fmt::Display for OnStoreFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
