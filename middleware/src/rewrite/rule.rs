//! A rule that requests meet.

use http::StatusCode;
use http::uri::PathAndQuery;
use regex::bytes::{Captures, Regex};

use super::template::{NewQuery, Piece, Template};
use crate::path::{DecodedPath, PathParams, PathPattern, PathRegex, is_param_name, query_value};
use crate::{Finding, Problem};

/// The longest target that a rule makes. The gaps of a template may repeat what the client sent.
const LONGEST: usize = 32 << 10;

/// A rule whose parts fit together.
pub(super) struct CompiledRule {
    regex: Regex,
    path: Vec<Part>,
    query: CompiledQuery,
}

/// A part of the new target.
enum Part {
    Text(String),
    /// What this group matched, 0 being the whole path.
    Group(usize),
    /// What this name stands for in the path of a route above.
    Param(String),
}

enum CompiledQuery {
    Kept,
    Replaced { parts: Vec<Part>, then_kept: bool },
}

impl CompiledRule {
    /// Checks a rule. `finding` makes a finding about it.
    pub(super) fn new(
        from: Option<&PathPattern>,
        regex: Option<&PathRegex>,
        to: &Template,
        finding: impl Fn(String) -> Finding,
    ) -> Result<Self, Finding> {
        let regex = match (from, regex) {
            (Some(from), None) => from.regex().map_err(|error| finding(error).at("from"))?,
            (None, Some(regex)) => regex.regex.clone(),
            (None, None) => return Err(finding("the rule matches no path".to_owned()).hint("write `from` or `regex`")),
            (Some(_), Some(_)) => {
                return Err(finding("`from` and `regex` exclude each other".to_owned()).at("regex").hint("leave one of them out"));
            }
        };
        if to.has_rest && !matches!(from, Some(PathPattern::Below(_))) {
            let hint = if from.is_some() { "end `from` in `/*`, too" } else { "write a group of `regex`, as in `/new/{1}`" };
            return Err(finding("`*` stands for nothing".to_owned()).at("to").hint(hint));
        }
        let compile =
            |pieces: &[Piece]| pieces.iter().map(|piece| part(piece, &regex, from.is_none(), &finding)).collect::<Result<Vec<_>, _>>();
        let mut path = compile(&to.path)?;
        if to.has_rest {
            path.push(Part::Group(1));
        }
        let query = match &to.query {
            NewQuery::Kept => CompiledQuery::Kept,
            NewQuery::Replaced { pieces, then_kept } => CompiledQuery::Replaced { parts: compile(pieces)?, then_kept: *then_kept },
        };
        Ok(Self { path, query, regex })
    }

    /// The names that the path of a route above has to have.
    pub(super) fn params(&self) -> impl Iterator<Item = &str> {
        let query = match &self.query {
            CompiledQuery::Kept => &[][..],
            CompiledQuery::Replaced { parts, .. } => parts,
        };
        self.path.iter().chain(query).filter_map(|part| match part {
            Part::Param(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The new target, where the rule matches.
    pub(super) fn target(&self, path: &DecodedPath<'_>, query: Option<&str>, params: &PathParams) -> Option<Result<PathAndQuery, Problem>> {
        let groups = self.regex.captures(path.octets())?;
        Some(self.fill(&groups, path, query, params))
    }

    fn fill(
        &self,
        groups: &Captures<'_>,
        path: &DecodedPath<'_>,
        query: Option<&str>,
        params: &PathParams,
    ) -> Result<PathAndQuery, Problem> {
        let mut target = String::with_capacity(path.as_written().len() + 32);
        for part in &self.path {
            match part {
                Part::Text(text) => target.push_str(text),
                Part::Group(number) => {
                    let range = groups.get(*number).map_or(0..0, |group| group.range());
                    target.push_str(path.written(range).ok_or_else(|| bad_request("a group of the rule ends inside of a character"))?);
                }
                Part::Param(name) => target.push_str(params.get(name).unwrap_or_default()),
            }
            bounded(&target)?;
        }
        if !target.starts_with('/') {
            // Nothing is left, or the slash in front is itself percent-encoded.
            let encoded = target.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("%2f"));
            target.replace_range(..if encoded { 3 } else { 0 }, "/");
        }
        let start = target.len();
        let kept = match &self.query {
            CompiledQuery::Kept => query,
            CompiledQuery::Replaced { parts, then_kept } => {
                for part in parts {
                    match part {
                        Part::Text(text) => separated(&mut target, start, text),
                        Part::Group(number) => {
                            let value = groups.get(*number).map_or(&[][..], |group| group.as_bytes());
                            separated(&mut target, start, &query_value(value).to_string());
                        }
                        Part::Param(name) => separated(&mut target, start, &params.query_value(name).unwrap_or_default()),
                    }
                    bounded(&target)?;
                }
                query.filter(|_| *then_kept)
            }
        };
        if let Some(query) = kept.filter(|query| !query.is_empty()) {
            target.push(if target.len() == start { '?' } else { '&' });
            target.push_str(query);
        }
        bounded(&target)?;
        PathAndQuery::try_from(target).map_err(|error| bad_request("the path cannot be rewritten").because(error))
    }
}

/// Appends to a query that begins at `start`, and begins it.
fn separated(target: &mut String, start: usize, text: &str) {
    if target.len() == start && !text.is_empty() {
        target.push('?');
    }
    target.push_str(text);
}

fn part(piece: &Piece, regex: &Regex, has_groups: bool, finding: &impl Fn(String) -> Finding) -> Result<Part, Finding> {
    let name = match piece {
        Piece::Text(text) => return Ok(Part::Text(text.clone())),
        Piece::Gap(name) => name.as_str(),
    };
    let named = regex.capture_names().position(|known| known == Some(name));
    let numbered = name.parse().ok().filter(|number| (1..regex.captures_len()).contains(number));
    match named.or(numbered).filter(|_| has_groups).or((name == "path").then_some(0)) {
        Some(group) => Ok(Part::Group(group)),
        None if is_param_name(name) => Ok(Part::Param(name.to_owned())),
        None if has_groups => {
            let finding = finding(format!("`{{{name}}}` is no group of `regex`")).at("to");
            Err(finding.hint(format!("write it there as `(?<{name}>...)`; `{{1}}` is the first group, and `{{path}}` the whole path")))
        }
        None => {
            let finding = finding(format!("`{{{name}}}` is not known here")).at("to");
            Err(finding.hint("gaps are `{path}` and `{query}`; a rule with `regex` has those of its groups, too, and the `path` of a route above has names"))
        }
    }
}

fn bounded(target: &str) -> Result<(), Problem> {
    if target.len() > LONGEST { Err(Problem::new(StatusCode::URI_TOO_LONG).detail("the rewritten path is too long")) } else { Ok(()) }
}

fn bad_request(detail: &'static str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST).detail(detail)
}
