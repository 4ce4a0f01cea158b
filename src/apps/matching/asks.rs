//! What a condition asks of a request, for checks of a whole file.

use http::Method;
use ziggurat_middleware::options::OneOrMany;
use ziggurat_middleware::{Network, lets_everybody_in};

use super::pattern::SchemeName;
use super::values::Values;
use super::{Match, Path};

impl Match {
    /// What asks for files below this path: GET and HEAD. `None` if it is no path.
    pub(crate) fn for_files(at: &str) -> Option<Self> {
        let path = format!("{}/*", at.trim_end_matches('/')).parse().ok()?;
        Some(Self { path: Some(OneOrMany(vec![path])), method: Some(OneOrMany(vec!["GET".parse().ok()?])), ..Self::default() })
    }

    /// Whether it holds only for requests by https.
    pub(crate) const fn asks_for_https(&self) -> bool {
        matches!(self.scheme, Some(SchemeName::Https))
    }

    /// Whether it holds only for requests by http.
    pub(crate) const fn asks_for_http(&self) -> bool {
        matches!(self.scheme, Some(SchemeName::Http))
    }

    /// Whether it depends on cookies.
    pub(crate) fn asks_for_cookies(&self) -> bool {
        !self.cookie.is_empty() || self.not.as_ref().is_some_and(|not| not.asks_for_cookies())
    }

    /// Itself, for requests by http alone.
    pub(crate) fn by_http(&self) -> Self {
        Self { scheme: Some(SchemeName::Http), ..self.clone() }
    }

    /// Itself, for OPTIONS requests alone.
    pub(crate) fn by_options(&self) -> Option<Self> {
        Some(Self { method: Some(OneOrMany(vec!["OPTIONS".parse().ok()?])), ..self.clone() })
    }

    /// Whether it depends on what a `forwarded` layer finds out.
    pub(crate) const fn asks_for_connection(&self) -> bool {
        self.client.is_some() || self.scheme.is_some()
    }

    /// Whether it holds only for some clients, and not for everybody.
    pub(crate) fn asks_who(&self) -> bool {
        let is_open = |networks: &OneOrMany<Network>| {
            let rules: Vec<_> = networks.0.iter().map(|network| (*network, true)).collect();
            lets_everybody_in(&rules)
        };
        let asks_for_certificate = self.client_cert.as_ref().is_some_and(|values| *values != Values::Absent);
        let is_secret =
            |(name, values): (&String, &Values)| name.eq_ignore_ascii_case("authorization") && matches!(values, Values::OneOf(_));
        self.client.as_ref().is_some_and(|networks| !is_open(networks)) || asks_for_certificate || self.header.iter().any(is_secret)
    }

    /// Itself without its `not`, if that is about who the client is: it holds for all strangers that these keys hold for.
    pub(crate) fn of_strangers(&self) -> Option<Self> {
        self.not.as_ref().filter(|not| not.asks_who())?;
        Some(Self { not: None, ..self.clone() })
    }

    /// The headers that it asks for. Cookies are in one.
    pub(crate) fn header_names(&self) -> impl Iterator<Item = &str> {
        let asks = |(_, values): &(&String, &Values)| **values != Values::Absent;
        let cookie = self.cookie.iter().find(asks).map(|_| "cookie");
        self.header.iter().filter(asks).map(|(name, _)| name.as_str()).chain(cookie)
    }

    /// Whether it asks for a path.
    pub(crate) const fn has_path(&self) -> bool {
        self.path.is_some()
    }

    /// Whether it holds for requests to this path, as far as the path is concerned.
    pub(crate) fn holds_for_path(&self, path: &str) -> bool {
        !self.has_path() || self.paths().iter().any(|pattern| pattern.holds(path.as_bytes()))
    }

    /// Those of its paths that are no patterns, and of regular expressions those that are a path with or without its slash.
    pub(crate) fn exact_paths(&self) -> impl Iterator<Item = String> {
        self.paths().iter().filter_map(|path| path.exact().or_else(|| path.plain()))
    }

    /// Its paths as the file writes them, those with a regular expression left out.
    pub(crate) fn path_texts(&self) -> impl Iterator<Item = String> {
        self.paths().iter().map(Path::to_string).filter(|text| !text.is_empty())
    }

    /// Whether it holds for no OPTIONS request.
    pub(crate) fn leaves_out_options(&self) -> bool {
        self.method.as_ref().is_some_and(|methods| !methods.0.iter().any(|method| method.holds(&Method::OPTIONS)))
    }
}
