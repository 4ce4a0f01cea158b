//! `rewrite`: changes the path of requests before the layers below see them.

mod rule;
mod template;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{StatusCode, Uri};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::rule::CompiledRule;
use self::template::Template;
use crate::path::{DecodedPath, PathParamUse, PathParams, PathPattern, PathRegex};
use crate::{
    Behavior, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Middleware, Mount, OriginalUri, Problem, Request, Response,
    around,
};

/// Changes the path of requests before the layers below see them.
///
/// A rule applies to the paths that match `from` or `regex`, and `to` is their new path. Of several rules, the first that matches applies; its result is not
/// matched again. A path that no rule matches stays. The client does not notice: the app `redirect` sends it elsewhere.
///
/// Paths are matched as in `match.path` of a route: without percent-encoding. What a rule keeps of a path stays as the client encoded it. A path with a
/// `.` or `..` segment, before or after, is answered `400 Bad Request`: programs read such paths differently.
///
/// Apps read the new path as `PATH_INFO`. `REQUEST_URI` and the access log keep what the client sent. Below a `mount`, a rule sees what is left of the path.
///
/// Place it below layers that judge the path the client sent, and above those that serve the new one. Conditions of routes below it hold for the
/// new path.
///
/// ```json
/// {
///   "layers": [
///     { "rewrite": [
///       { "from": "/old/*", "to": "/new/*" },
///       { "from": "/start", "to": "/index.html" },
///       { "regex": "/tags/(?<tag>[^/]+)", "to": "/search?tag={tag}{query}" }
///     ] }
///   ],
///   "app": { "wsgi": "hello:app" }
/// }
/// ```
///
/// A single rule needs no list: `{ "rewrite": { "from": "/old/*", "to": "/new/*" } }`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rewrite {
    /// The path, written without percent-encoding: `/about` for exactly that, `/old/*` for `/old` and everything below it.
    from: Option<PathPattern>,
    /// In place of `from`: a regular expression for the whole path without percent-encoding, in the syntax of the crate `regex`. It takes linear time.
    /// `.` matches every octet, and `\w`, `\d` and so on match ASCII; `(?u:...)` matches Unicode.
    regex: Option<PathRegex>,
    /// The new path, percent-encoded. `/*` at its end is what `/*` of `from` stands for. `{1}` and `{name}` are groups of `regex`, and `{path}` is the
    /// whole old path. A `{name}` in the `path` of a route above can stand here, too.
    ///
    /// The query stays, unless `to` has one: `/new?page=1` replaces it, `/new?` drops it. `{query}` at the end keeps it beside what is new:
    /// `/new?page=1{query}`. What a gap puts into a query is percent-encoded, so that it is one value.
    to: Option<Template>,
    /// Several rules, each with `from` or `regex`, and `to`.
    rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RewriteRule")]
struct Rule {
    /// As `from` above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<PathPattern>,
    /// As `regex` above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    regex: Option<PathRegex>,
    /// As `to` above.
    to: Template,
}

impl Middleware for Rewrite {
    const NAME: &'static str = "rewrite";
    const SHORTHAND: Option<&'static str> = Some("rules");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::RewritesPath];

    fn validate(&self, findings: &mut Findings) {
        let is_single = self.is_single();
        if is_single && !self.rules.is_empty() {
            findings.push(
                Finding::new("a rule stands beside `rules`").at("rules").hint("write it as one of `rules`, which are tried in order"),
            );
        } else if !is_single && self.rules.is_empty() {
            findings.push(Finding::new("no rule is given").hint("write one, as in `{ \"from\": \"/old/*\", \"to\": \"/new/*\" }`"));
        }
        for finding in self.compiled().into_iter().filter_map(Result::err) {
            findings.push(finding);
        }
    }

    fn path_params(&self) -> Vec<PathParamUse> {
        const HINT: &str = "a group of `regex` is written `(?<name>...)`, and `{path}` and `{query}` are always known";
        let is_single = self.is_single();
        let rules = self.compiled().into_iter().enumerate().filter_map(|(nth, rule)| rule.ok().map(|rule| (nth, rule)));
        let uses = rules.flat_map(|(nth, rule)| {
            let path = if is_single { vec!["to".into()] } else { vec!["rules".into(), nth.into(), "to".into()] };
            rule.params().map(|name| PathParamUse { name: name.to_owned(), path: path.clone(), hint: HINT }).collect::<Vec<_>>()
        });
        uses.collect()
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        let rules: Vec<CompiledRule> = self.compiled().into_iter().collect::<Result<_, _>>()?;
        let before = explain.request().uri().clone();
        if let Err(problem) = rewrite(explain.request_mut(), &rules) {
            explain.refuse(problem);
        } else if *explain.request().uri() == before {
            explain.note(format!("no rule matches `{}`", before.path()));
        } else {
            let after = explain.request().uri().to_string();
            explain.note(format!("`{before}` becomes `{after}`"));
        }
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        for to in self.rules.iter().map(|rule| &rule.to).chain(&self.to) {
            effects.add(Effect::RewritesTo(to.as_str().to_owned()));
        }
    }

    fn layer(self, _: &Context) -> Result<impl IntoStage, Finding> {
        let rules: Arc<[CompiledRule]> = self.compiled().into_iter().collect::<Result<_, _>>()?;
        Ok(around(move |request: &mut Request| {
            rewrite(request, &rules)?;
            Ok(|response: Response| response)
        }))
    }
}

impl Rewrite {
    const fn is_single(&self) -> bool {
        self.from.is_some() || self.regex.is_some() || self.to.is_some()
    }

    fn compiled(&self) -> Vec<Result<CompiledRule, Finding>> {
        let single = || match &self.to {
            Some(to) => CompiledRule::new(self.from.as_ref(), self.regex.as_ref(), to, Finding::new),
            None => Err(Finding::new("the rule has no new path").hint("write it as `to`")),
        };
        let is_single = self.is_single();
        let rules = self.rules.iter().enumerate().map(|(nth, rule)| {
            let finding = move |message: String| Finding::new(message).at("rules").at(nth);
            CompiledRule::new(rule.from.as_ref(), rule.regex.as_ref(), &rule.to, finding)
        });
        is_single.then(single).into_iter().chain(rules).collect()
    }
}

/// Applies the first rule that matches.
fn rewrite(request: &mut Request, rules: &[CompiledRule]) -> Result<(), Problem> {
    let uri = request.uri();
    if !uri.path().starts_with('/') {
        // `*` asks for no path (RFC 9112 section 3.2.4).
        return Ok(());
    }
    let path = DecodedPath::new(uri.path());
    if path.has_dot_segment() {
        return Err(dot_segment());
    }
    let none = PathParams::default();
    let params = request.extensions().get().unwrap_or(&none);
    let Some(target) = rules.iter().find_map(|rule| rule.target(&path, uri.query(), params)) else { return Ok(()) };
    let target = target?;
    if DecodedPath::new(target.path()).has_dot_segment() {
        return Err(dot_segment());
    }
    let original = OriginalUri(OriginalUri::of(uri, request.extensions()).clone());
    let mount = match request.extensions().get::<Mount>() {
        Some(mount) => Some(Mount { prefix: Arc::clone(&mount.prefix), target: at(uri, format!("{}{target}", mount.prefix))? }),
        None => None,
    };
    *request.uri_mut() = at(uri, target)?;
    request.extensions_mut().insert(original);
    if let Some(mount) = mount {
        request.extensions_mut().insert(mount);
    }
    Ok(())
}

/// This address with another path and query.
fn at<T: TryInto<PathAndQuery, Error: std::error::Error + Send + Sync + 'static>>(uri: &Uri, target: T) -> Result<Uri, Problem> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.try_into().map_err(malformed)?);
    Uri::from_parts(parts).map_err(malformed)
}

fn malformed(error: impl std::error::Error + Send + Sync + 'static) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST).detail("the path cannot be rewritten").because(error)
}

fn dot_segment() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST).detail("the path holds a `.` or `..` segment")
}
