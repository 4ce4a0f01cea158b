//! `redirect`: sends the client elsewhere.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use tower::service_fn;
use ziggurat_middleware::options::from_text;
use ziggurat_middleware::path::{PathParamUse, PathParams, is_param_name};
use ziggurat_middleware::{App, Context, Effect, Effects, Explain, Finding, IntoApp, Problem, RedirectStatus, Request, Response};

use super::matching::host_of;

/// Sends the client to another address.
///
/// The address may contain `{host}` (the host of the request, without its port), `{path}` (the path as the client encoded it; below a `mount`, without
/// the prefix; below a `rewrite`, the new one) and `{query}` (the query with its `?`, or nothing if the request has none).
/// To move a site to HTTPS: `{ "redirect": "https://{host}{path}{query}" }`.
///
/// Below a route whose `path` has a `{name}`, this part of the path can stand behind the host: `{ "match": { "path": "/u/{id}" }, "app": { "redirect":
/// "/users/{id}" } }`. It stays percent-encoded as the client sent it. In a query it is one value.
///
/// Several slashes at the beginning of a path become one, so that a link cannot lead a client to `//another.example`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// The address: `https://...`, `http://...`, or a path that begins with `/`.
    to: Template,

    /// The status. 308 and 301 are permanent, and clients cache them; 307 and 302 are temporary. 307 and 308 keep the method and the body of the
    /// request; 303 makes it a GET.
    #[serde(default)]
    status: RedirectStatus,
}

impl App for Redirect {
    const NAME: &'static str = "redirect";
    const SHORTHAND: Option<&'static str> = Some("to");

    fn path_params(&self) -> Vec<PathParamUse> {
        let hint = "`{host}`, `{path}` and `{query}` are always known";
        self.to.params().map(|name| PathParamUse { name: name.to_owned(), path: vec!["to".into()], hint }).collect()
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        match self.response(explain.request()) {
            Ok(response) => {
                let to = response.headers().get(LOCATION).map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
                explain.note(format!("sends the client to `{}`", to.unwrap_or_default()));
                explain.answer(response);
            }
            Err(problem) => explain.refuse(problem),
        }
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.add(Effect::RedirectsTo(self.to.to_string()));
    }

    fn app(self, _: &Context) -> Result<impl IntoApp, Finding> {
        let redirect = Arc::new(self);
        Ok(service_fn(move |request: Request| {
            let answer = redirect.response(&request);
            async move { Ok::<_, Infallible>(answer.unwrap_or_else(Problem::into_response)) }
        }))
    }
}

impl Redirect {
    fn response(&self, request: &Request) -> Result<Response, Problem> {
        let mut response = Response::default();
        *response.status_mut() = self.status.get();
        response.headers_mut().insert(LOCATION, self.to.fill(request)?);
        Ok(response)
    }
}

/// An address with placeholders.
#[derive(Clone, Debug)]
struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Host,
    Path,
    Query,
    /// What this name stands for in the path of a route above.
    Param(String),
}

/// As the file writes it.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Host => f.write_str("{host}"),
            Piece::Path => f.write_str("{path}"),
            Piece::Query => f.write_str("{query}"),
            Piece::Param(name) => write!(f, "{{{name}}}"),
        })
    }
}

impl Template {
    fn fill(&self, request: &Request) -> Result<HeaderValue, Problem> {
        let bad_request = |detail| Problem::new(StatusCode::BAD_REQUEST).detail(detail);
        let none = PathParams::default();
        let params = request.extensions().get().unwrap_or(&none);
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Host => text.push_str(
                    host_of(request).filter(|host| is_host(host)).ok_or_else(|| bad_request("the host is missing or malformed"))?,
                ),
                Piece::Path => {
                    text.push('/');
                    text.push_str(request.uri().path().trim_start_matches(['/', '\\']).trim_start_matches('*'));
                }
                Piece::Query => {
                    if let Some(query) = request.uri().query() {
                        text.push('?');
                        text.push_str(query);
                    }
                }
                Piece::Param(name) if text.contains(['?', '#']) => text.push_str(&params.query_value(name).unwrap_or_default()),
                Piece::Param(name) => text.push_str(params.get(name).unwrap_or_default()),
            }
        }
        if text.starts_with('/') {
            let slashes = text.len() - text.trim_start_matches(['/', '\\']).len();
            text.replace_range(..slashes, "/");
        }
        HeaderValue::try_from(text).map_err(|_| bad_request("the target has characters that a header cannot have"))
    }
}

fn is_host(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'[' | b']' | b':'))
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, at) = rest.split_at(open);
            let end = at
                .find('}')
                .filter(|_| at.starts_with('{'))
                .ok_or_else(|| format!("`{text}` has an unmatched brace\nhint: placeholders are `{{host}}`, `{{path}}` and `{{query}}`"))?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(match &at[1..end] {
                "host" => Piece::Host,
                "path" => Piece::Path,
                "query" => Piece::Query,
                name if is_param_name(name) => Piece::Param(name.to_owned()),
                other => {
                    return Err(format!(
                        "`{{{other}}}` is not a placeholder\nhint: placeholders are `{{host}}`, `{{path}}` and `{{query}}`"
                    ));
                }
            });
            rest = &at[end + 1..];
        }
        pieces.push(Piece::Text(rest.to_owned()));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        let template = Self(pieces);
        template.well_formed(text).map(|()| template)
    }
}

impl Template {
    /// The names that the path of a route above has to have.
    fn params(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Param(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// One of these names in the part of an address before its path.
    fn param_in(&self, authority: &str) -> Option<&str> {
        let authority = authority.split("{path}").next().unwrap_or_default().split("{query}").next().unwrap_or_default();
        self.params().find(|name| authority.contains(&format!("{{{name}}}")))
    }

    /// Checks that no request can change the host of the address.
    fn well_formed(&self, text: &str) -> Result<(), String> {
        const HINT: &str = "write `https://...`, or a path that begins with `/`";
        let refuse = |why: &str, hint: &str| Err(format!("`{}` {why}\nhint: {hint}", text.escape_debug()));
        if text.contains(|c: char| c.is_control() || c == ' ' || c == '\\') {
            return refuse("has characters that an address cannot have", "percent-encode them");
        }
        if HeaderValue::from_str(text).is_err() || !text.is_ascii() {
            return refuse("has characters that an address cannot have", "percent-encode what is not ASCII");
        }
        let authority = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        match authority {
            Some(rest) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                if let Some(name) = self.param_in(&rest[..end]) {
                    let why = format!("has `{{{name}}}` in its host");
                    return refuse(
                        &why,
                        "a client could choose where it is sent: write the host itself or `{host}`, and a name behind a `/`",
                    );
                }
                let host = rest[..end].split("{path}").next().unwrap_or_default().split("{query}").next().unwrap_or_default();
                if host.is_empty() { refuse("names no host", "write `https://example.com/...` or `https://{host}...`") } else { Ok(()) }
            }
            None if text.starts_with("//") || text.starts_with("/{path}") => {
                refuse("begins with two slashes, which name another host", "write one slash, or the whole address with its `https://`")
            }
            None if text.starts_with('/') || text.starts_with("{path}") => Ok(()),
            None => refuse("is not an address", HINT),
        }
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "an address such as \"https://{host}{path}{query}\"")
    }
}

impl JsonSchema for Template {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RedirectTarget".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["https://{host}{path}{query}", "/new/"] })
    }
}
