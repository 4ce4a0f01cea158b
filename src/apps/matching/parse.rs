//! Paths as a file spells them.

use std::str::FromStr;
use std::sync::Arc;

use ziggurat_middleware::path::is_param_name;

use super::path::{Path, Rest, Segment};
use super::prefix::well_formed;

/// Names that stand for other parts of a request where a `{name}` of a path can stand.
const RESERVED: [&str; 3] = ["host", "path", "query"];

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with(['~', '^']) {
            let regex = text.trim_start_matches(['~', '*', ' ']).escape_debug().to_string();
            return Err(format!(
                "`{}` is not a path\nhint: for a regular expression, write `{{ \"regex\": \"{regex}\" }}`",
                text.escape_debug()
            ));
        }
        let (fixed, rest) = match text.strip_suffix("/*") {
            Some(fixed) => (fixed, Rest::Any),
            None => {
                match text.strip_suffix("*}").and_then(|open| open.rsplit_once("/{")).filter(|(_, name)| !name.contains(['/', '{', '}'])) {
                    Some((fixed, name)) => (fixed, Rest::Named(param_name(text, name)?)),
                    None => (text, Rest::None),
                }
            }
        };
        if fixed.contains('*') && rest == Rest::None {
            return Err(match fixed.strip_suffix('*').filter(|prefix| !prefix.contains('*')) {
                Some(prefix) => format!(
                    "the `*` of `{text}` is not a whole segment\nhint: for a path and everything below it, write `\"{}/*\"`",
                    prefix.trim_end_matches('/')
                ),
                None => format!(
                    "`{text}` has a `*` that is not at its end\nhint: a path is exact, or a prefix that ends in `/*` or `/{{rest*}}`"
                ),
            });
        }
        if !(fixed.is_empty() && rest != Rest::None) {
            well_formed(text, fixed)?;
        }
        let segments = fixed.split('/').skip(1).map(|segment| parsed(text, segment)).collect::<Result<Vec<_>, _>>()?;
        let path = Self::Segments { segments, rest };
        let mut names = path.names();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("`{text}` has the name `{{{}}}` twice\nhint: give each segment a name of its own", pair[0])),
            None => Ok(path),
        }
    }
}

fn parsed(text: &str, segment: &str) -> Result<Segment, String> {
    if !segment.contains(['{', '}']) {
        return Ok(Segment::Literal(segment.to_owned()));
    }
    let inner = segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}'));
    match inner {
        Some(name) if !name.contains(['{', '}']) => param_name(text, name).map(Segment::Name),
        _ if segment.matches('{').count() != segment.matches('}').count() => {
            Err(format!("`{text}` has a brace without its partner\nhint: a segment with a name is written `{{name}}`"))
        }
        _ => Err(format!(
            "`{segment}` in `{text}` is not one name\nhint: a `{{name}}` is a whole segment; for a part of one, write `{{ \"regex\": \"...\" }}`"
        )),
    }
}

fn param_name(text: &str, name: &str) -> Result<Arc<str>, String> {
    if name.is_empty() {
        return Err(format!("`{text}` has a segment with an empty name\nhint: name it, as in `/users/{{id}}`, or end the path in `/*`"));
    }
    check_name(name).map(|()| name.into())
}

/// Whether a name can be used where it is filled in.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    if !is_param_name(name) {
        return Err(format!("`{}` cannot be the name of a segment\nhint: use letters, digits and `_`", name.escape_debug()));
    }
    if RESERVED.contains(&name) {
        return Err(format!(
            "`{{{name}}}` stands for something else\nhint: `{{host}}`, `{{path}}` and `{{query}}` are parts of every request: choose another name"
        ));
    }
    Ok(())
}
