//! The rules that callables can break.

/// A rule of PEP 3333.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Environ,
    StartResponse,
    Status,
    Headers,
    Body,
    ContentLength,
    Bodiless,
    Head,
    Close,
    Input,
    Write,
}

impl Rule {
    /// All of them, in the order of their discriminants.
    pub(super) const ALL: [Self; 11] = [
        Self::Environ,
        Self::StartResponse,
        Self::Status,
        Self::Headers,
        Self::Body,
        Self::ContentLength,
        Self::Bodiless,
        Self::Head,
        Self::Close,
        Self::Input,
        Self::Write,
    ];

    /// Its name in the log.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Environ => "environ",
            Self::StartResponse => "start_response",
            Self::Status => "status",
            Self::Headers => "headers",
            Self::Body => "body",
            Self::ContentLength => "content_length",
            Self::Bodiless => "bodiless",
            Self::Head => "head",
            Self::Close => "close",
            Self::Input => "input",
            Self::Write => "write",
        }
    }
}
