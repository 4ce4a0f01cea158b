//! Which stored responses are removed by hand: `ziggurat purge`.

use serde::{Deserialize, Serialize};

use super::stored::StoredResponse;

/// What is to be removed from the caches of a stack.
///
/// A path is that of a URL: `/news/` with any query, `/news/?page=2` with this one, `/news/*` with all that begins so. With an authority in front
/// (`https://example.org/news/`), it is that of one site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Purge {
    /// Everything.
    pub all: bool,
    /// The responses of these URLs.
    pub paths: Vec<String>,
    /// The responses that have one of these in `Cache-Tag`.
    pub tags: Vec<String>,
}

impl Purge {
    /// Whether it names nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.all && self.paths.is_empty() && self.tags.is_empty()
    }

    /// Whether all responses of a URL are meant.
    pub(super) fn names_url(&self, url: &str) -> bool {
        self.all || self.paths.iter().any(|path| names(path, url))
    }

    /// Whether this response is meant by its tags.
    pub(super) fn names_response(&self, response: &StoredResponse) -> bool {
        self.tags.iter().any(|tag| response.has_tag(tag))
    }

    /// Whether a response that is still being fetched could be meant.
    pub(super) fn may_name(&self, url: &str) -> bool {
        !self.tags.is_empty() || self.names_url(url)
    }
}

fn names(pattern: &str, url: &str) -> bool {
    let target = match pattern.contains("://") {
        true => url,
        false => url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])).unwrap_or_default(),
    };
    match pattern.strip_suffix('*') {
        Some(start) => target.starts_with(start),
        None => target.strip_prefix(pattern).is_some_and(|rest| rest.is_empty() || (rest.starts_with('?') && !pattern.contains('?'))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_all_its_queries_and_a_star_all_that_begins_so() {
        let url = "https://example.org/news/?page=2";
        let named = ["/news/", "/news/?page=2", "/news*", "/*", "/news/?*", "https://example.org/news/", "https://example.org/*"];
        for pattern in named {
            assert!(names(pattern, url), "{pattern}");
        }
        for pattern in
            ["/", "/news", "/news/?page=", "news/", "/news/?page=22", "http://example.org/news/", "https://example.org", "*news", ""]
        {
            assert!(!names(pattern, url), "{pattern}");
        }
    }
}
