//! The defaults of the options that all apps over upstreams have.

use ziggurat_middleware::options::OrFalse;
use ziggurat_middleware::units::Duration;

use super::{EjectOptions, RetryOptions};

pub(crate) const fn connect() -> Duration {
    Duration::secs(3)
}

pub(crate) const fn timeout() -> Duration {
    Duration::secs(60)
}

pub(crate) const fn limit() -> usize {
    256
}

pub(crate) const fn resolve() -> Duration {
    Duration::secs(10)
}

pub(crate) fn retry() -> OrFalse<RetryOptions> {
    OrFalse(Some(RetryOptions::default()))
}

pub(crate) fn eject() -> OrFalse<EjectOptions> {
    OrFalse(Some(EjectOptions::default()))
}
