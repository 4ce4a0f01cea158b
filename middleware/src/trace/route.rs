//! The route that a request takes, for its span.

use std::sync::{Arc, Mutex, PoisonError};

/// The pattern of the path by which a request was routed: `/users/{id}`. Tables of routes write it, and the span of the request reads it when it ends.
#[derive(Clone, Debug, Default)]
pub struct TakenRoute(Arc<Mutex<Pattern>>);

#[derive(Debug, Default)]
struct Pattern {
    /// What routes have taken off the path.
    mount: String,
    whole: String,
}

impl TakenRoute {
    /// The request takes a route with this mount, below those before, and with this pattern of the path, if it has one. A route without both changes nothing.
    pub fn take(&self, mount: Option<&str>, path: Option<&str>) {
        let mut pattern = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (mount, path) {
            (_, Some(path)) => pattern.whole = format!("{}{path}", pattern.mount),
            (Some(mount), None) => pattern.whole = format!("{}{mount}/*", pattern.mount),
            (None, None) => {}
        }
        if let Some(mount) = mount {
            pattern.mount.push_str(mount);
        }
    }

    /// The pattern; `None` if no route has asked for a path.
    #[must_use]
    pub fn pattern(&self) -> Option<String> {
        let pattern = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!pattern.whole.is_empty()).then(|| pattern.whole.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_pattern_counts_below_the_mounts() {
        let route = TakenRoute::default();
        assert_eq!(route.pattern(), None);
        for (mount, path, expected) in [
            (None, None, None),
            (None, Some("/shops/*"), Some("/shops/*")),
            (Some("/shops"), None, Some("/shops/*")),
            (None, None, Some("/shops/*")),
            // Its path has the prefix, too.
            (Some("/de"), Some("/de/carts/*"), Some("/shops/de/carts/*")),
            (None, Some("/{id}"), Some("/shops/de/{id}")),
        ] {
            route.take(mount, path);
            assert_eq!(route.pattern().as_deref(), expected);
        }
    }
}
