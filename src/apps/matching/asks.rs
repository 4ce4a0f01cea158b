//! What a condition asks of a request, for checks of a whole file.

use http::Method;
use ziggurat_middleware::options::OneOrMany;

use super::pattern::SchemeName;
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

    /// Whether it depends on what a `forwarded` layer finds out.
    pub(crate) const fn asks_for_connection(&self) -> bool {
        self.client.is_some() || self.scheme.is_some()
    }

    /// Whether it depends on who the client is.
    pub(crate) const fn asks_who(&self) -> bool {
        self.client.is_some() || self.client_cert.is_some()
    }

    /// The headers that it looks at.
    pub(crate) fn header_names(&self) -> impl Iterator<Item = &str> {
        self.header.keys().map(String::as_str)
    }

    /// Whether it asks for a path.
    pub(crate) const fn has_path(&self) -> bool {
        self.path.is_some()
    }

    /// Whether it holds for requests to this path, as far as the path is concerned.
    pub(crate) fn holds_for_path(&self, path: &str) -> bool {
        !self.has_path() || self.paths().iter().any(|pattern| pattern.holds(path.as_bytes()))
    }

    /// Those of its paths that are no patterns.
    pub(crate) fn exact_paths(&self) -> impl Iterator<Item = String> {
        self.paths().iter().filter_map(Path::exact)
    }

    /// Its paths as the file writes them, those with a regular expression left out.
    pub(crate) fn path_texts(&self) -> impl Iterator<Item = String> {
        self.paths().iter().map(Path::to_string).filter(|text| !text.is_empty())
    }

    /// Whether it holds for no OPTIONS request.
    pub(crate) fn leaves_out_options(&self) -> bool {
        self.method.as_ref().is_some_and(|methods| !methods.0.iter().any(|method| method.holds(&Method::OPTIONS)))
    }

    /// Whether it holds for a client that a redirect sent to a path that it holds for, too.
    pub(crate) fn holds_after_redirect(&self) -> bool {
        self.method.is_none() && self.query.is_empty() && self.not.is_none()
    }
}
