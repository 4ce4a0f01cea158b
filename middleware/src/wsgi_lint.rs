//! `wsgi_lint`: has Python callables checked against PEP 3333.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{Behavior, Context, Explain, Finding, Findings, IntoStage, Middleware, Request, Response, Result, around};

/// Checks the Python callables below against PEP 3333, while they serve requests: the app, and each Python middleware of the stack from both sides, as
/// the app of what is above and as the server of what is below.
///
/// The server itself accepts what does no harm, and refuses the rest with a 500. This layer finds what works here and fails elsewhere, and what two Python
/// callables do to each other, which no server sees. Each finding names the callable at fault and its place, in the log of its process:
///
/// ```text
/// WARN request=GET /login: `sso:SingleSignOn` at `wsgi` breaks PEP 3333 (close): it did not call close() of what `mysite.wsgi` at `main` returned; seen the first time
/// ```
///
/// A finding is logged when it is seen the first, 10th, 100th time and so on, per worker. What a middleware passes on together with its own `start_response` is the fault
/// of the callable below alone.
///
/// | rule | what breaks it |
/// | --- | --- |
/// | `environ` | a middleware passes something that is no `dict`, a key or a CGI variable that is no `str` of latin-1, removes a variable that has to be there, or replaces `wsgi.input` or `wsgi.errors` by something without their methods |
/// | `start_response` | it is not called before the first octets, is called again without `exc_info` or after the first octets without raising, or with an `exc_info` that is not that of `sys.exc_info()` |
/// | `status` | a status that is no `str` of three digits, a space and a phrase, or has control characters |
/// | `headers` | headers that are no `list` of tuples of two `str`, names that are no token, values with control characters, hop-by-hop headers, `Status` |
/// | `body` | a response that is `str`, `bytes` or no iterable, chunks that are not `bytes` |
/// | `content_length` | more or fewer octets than `Content-Length` says |
/// | `bodiless` | a body with the status 204 or 304 |
/// | `head` | a body with the response to a HEAD, which the server drops. It is only logged, whatever the `mode`: PEP 3333 does not forbid it, and Django, for one, leaves it to the server |
/// | `close` | a middleware does not call `close()` of the response from below |
/// | `input` | reads of `wsgi.input` after it has told its end |
/// | `write` | the use of `write()`, which PEP 3333 has for old code |
///
/// The native layers are not checked, and neither are WebSockets.
///
/// A check costs CPU in the worker: about 5 us for an app, and 11 us for an app below one Python middleware, each within a factor of two. With `"sample": 0.01`, no cost could be measured.
///
/// ```json
/// { "layers": [{ "wsgi_lint": { "sample": 0.01 } }, { "wsgi": "sso:SingleSignOn" }], "app": { "wsgi": "mysite.wsgi" } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LintWsgi {
    /// What a finding does. `"warn"` logs it. `"error"` also raises `AssertionError` where a callable is running that can get it, as in a test run: most
    /// requests with a finding are then answered 500. Findings about `close()` and `wsgi.input` are known too late for that.
    mode: WsgiLint,
    /// The share of requests that are checked, above 0 and up to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    sample: f64,
}

impl Default for LintWsgi {
    fn default() -> Self {
        Self { mode: WsgiLint::Warn, sample: 1.0 }
    }
}

/// A fact of requests: the Python callables below are checked against PEP 3333, and this is what a finding does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WsgiLint {
    /// It is logged.
    Warn,
    /// It is logged and raised.
    Error,
}

impl WsgiLint {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<Self> {
        [Self::Warn, Self::Error].into_iter().find(|lint| lint.as_str().as_bytes() == name)
    }
}

impl Middleware for LintWsgi {
    const NAME: &'static str = "wsgi_lint";
    const SHORTHAND: Option<&'static str> = Some("mode");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::ChecksPython];

    fn validate(&self, findings: &mut Findings) {
        if !(self.sample > 0.0 && self.sample <= 1.0) {
            let finding = Finding::new(format!("`{}` is no share of the requests", self.sample)).at("sample");
            findings.push(finding.hint("write a number above 0 and up to 1, such as 0.01"));
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        explain.note(if self.sample < 1.0 {
            format!("has {} of the requests checked against PEP 3333", self.sample)
        } else {
            "has the request checked against PEP 3333".to_owned()
        });
        Ok(())
    }

    fn layer(self, _: &Context) -> Result<impl IntoStage> {
        let sampled = Arc::new(Sampled { share: self.sample, seen: AtomicU64::new(0) });
        Ok(around(move |request: &mut Request| {
            if sampled.takes_next() {
                request.extensions_mut().insert(self.mode);
            }
            Ok(|response: Response| response)
        }))
    }
}

/// Takes an even share of what it sees, from the first on.
struct Sampled {
    share: f64,
    seen: AtomicU64,
}

impl Sampled {
    fn takes_next(&self) -> bool {
        // Exact for 2⁵³ requests.
        #[allow(clippy::cast_precision_loss)]
        let before = self.seen.fetch_add(1, Ordering::Relaxed) as f64 * self.share;
        self.share >= 1.0 || before.ceil() < (before + self.share).ceil()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, TestStack};

    #[tokio::test]
    async fn a_share_of_the_requests_is_marked_from_the_first_on() {
        for (options, of_hundred, mark) in [
            ("{}", 100, "warn"),
            (r#""error""#, 100, "error"),
            (r#"{"sample": 0.25}"#, 25, "warn"),
            (r#"{"sample": 0.01, "mode": "error"}"#, 1, "error"),
        ] {
            let stack = TestStack::of::<LintWsgi>(options).over(async |request: Request| {
                Response::new(Body::from(request.extensions().get::<WsgiLint>().map_or("", |lint| lint.as_str())))
            });
            let mut marks = Vec::new();
            for _ in 0..100 {
                marks.push(stack.get("/").await.text().to_owned());
            }
            assert_eq!(marks[0], mark, "{options}");
            let marked = marks.iter().filter(|text| *text == mark).count();
            assert!(marked.abs_diff(of_hundred) <= 1, "{options}: {marked}");
        }
    }

    #[test]
    fn a_sample_that_is_no_share_is_refused() {
        for options in [r#"{"sample": 0}"#, r#"{"sample": 1.5}"#, r#"{"sample": -1}"#] {
            assert_eq!(TestStack::refusal::<LintWsgi>(options).len(), 1, "{options}");
        }
    }

    #[test]
    fn names_mean_what_they_name() {
        assert_eq!(WsgiLint::named(b"warn"), Some(WsgiLint::Warn));
        assert_eq!(WsgiLint::named(WsgiLint::Error.as_str().as_bytes()), Some(WsgiLint::Error));
        assert_eq!(WsgiLint::named(b"other"), None);
    }
}
