//! The identity of a layer or an app in its pipeline.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use serde::{Serialize, Serializer};

use crate::timing::{PlaceTimes, StackBegin};

/// The identity of a layer or an app in its pipeline, for instance `compress`, `compress#2` or `blog/compress`.
///
/// It is unique in the pipeline and does not depend on positions in the file: a layer that is inserted renames no other one. Log lines, metric labels,
/// `ziggurat status` and [`Context::keep`](crate::Context::keep) use the same place. A clone copies no text.
#[derive(Clone)]
pub struct Place(Arc<Named>);

/// A name, with the figures of a stack that is timed.
struct Named {
    name: Box<str>,
    times: Option<Arc<PlaceTimes>>,
    /// The stack that begins here, if it is timed.
    stack: OnceLock<StackBegin>,
}

impl Place {
    /// The place of this name.
    pub fn new(name: impl Into<Box<str>>) -> Self {
        Self(Arc::new(Named { name: name.into(), times: None, stack: OnceLock::new() }))
    }

    /// The same place, whose layer or app is timed.
    pub(crate) fn timed(&self, times: Arc<PlaceTimes>) -> Self {
        Self(Arc::new(Named { name: self.0.name.clone(), times: Some(times), stack: OnceLock::new() }))
    }

    /// Whether its layer or app is timed (`server.timing`).
    #[must_use]
    pub fn is_timed(&self) -> bool {
        self.0.times.is_some()
    }

    /// The figures of its layer or app, if it is timed.
    pub(crate) fn times(&self) -> Option<&PlaceTimes> {
        self.0.times.as_deref()
    }

    /// Notes that a stack that is timed begins here.
    pub(crate) fn begin_stack(&self, stack: StackBegin) {
        // A stack is built once.
        let _ = self.0.stack.set(stack);
    }

    /// The stack that begins here, if it is timed.
    pub(crate) fn stack(&self) -> Option<&StackBegin> {
        self.0.stack.get()
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.name
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Place {}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// A map of places can be asked for a name.
impl Borrow<str> for Place {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl From<&Self> for Place {
    fn from(place: &Self) -> Self {
        place.clone()
    }
}

impl From<&str> for Place {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_and_serialized_as_its_name() {
        let place = Place::new("blog/compress");
        assert_eq!((place.to_string(), format!("{place:?}")), ("blog/compress".to_owned(), "\"blog/compress\"".to_owned()));
        assert_eq!(serde_json::to_value(&place).unwrap(), "blog/compress");
    }
}
