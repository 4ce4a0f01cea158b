//! Values of other servers' settings. Texts are in the syntax of the pipeline file, where variables are `${NAME}` and a plain `$` is `$$`.

use std::ops::RangeInclusive;

use serde_json::Value as Json;
use ziggurat_middleware::Network;

/// A value, as far as it is known without running anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// It depends on the number of processors.
    Cores,
    /// Code, as it is written.
    Code(String),
}

impl Value {
    /// A text that has no variables.
    pub(super) fn plain(text: &str) -> Self {
        Self::Text(escaped(text))
    }

    /// As text of the pipeline file.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Int(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// As text without variables.
    pub(super) fn plain_text(&self) -> Option<String> {
        unescaped(&self.text()?)
    }

    /// As a value of the pipeline file; none if it is known only where it runs.
    pub(super) fn to_json(&self) -> Option<Json> {
        Some(match self {
            Self::None => Json::Null,
            Self::Bool(truth) => (*truth).into(),
            Self::Int(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
            Self::List(items) => items.iter().map(Self::to_json).collect::<Option<Vec<_>>>()?.into(),
            Self::Dict(entries) => entries
                .iter()
                .map(|(name, value)| Some((name.plain_text()?, value.to_json()?)))
                .collect::<Option<serde_json::Map<_, _>>>()?
                .into(),
            Self::Cores | Self::Code(_) => return None,
        })
    }

    /// A single variable.
    pub(super) fn reference(&self) -> Option<Reference<'_>> {
        if let Self::Text(text) = self { Reference::of(text) } else { None }
    }

    /// A number of this range, or a variable, which may fill a number, with a default of this range.
    pub(super) fn count(&self, range: RangeInclusive<u64>) -> Option<Json> {
        let is_count = |number: Option<u64>| number.is_some_and(|number| range.contains(&number));
        match self.reference() {
            Some(Reference { default, .. }) => {
                default.is_none_or(|default| is_count(default.parse().ok())).then(|| self.text().map(Json::from))?
            }
            None => self.number().filter(|number| is_count(Some(*number))).map(Json::from),
        }
    }

    /// A number of seconds, or a variable that holds one, as the pipeline file writes times.
    pub(super) fn seconds(&self) -> Result<String, String> {
        let seconds = self.count(1..=31_536_000).ok_or("it is no number of seconds that a pipeline can have")?;
        Ok(format!("{}s", seconds.as_str().map_or_else(|| seconds.to_string(), str::to_owned)))
    }

    /// A whole number that is not negative.
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Int(number) => u64::try_from(*number).ok(),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// Whether it means yes, in the words of configuration files.
    pub(super) fn truth(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            Self::Int(number) => Some(*number != 0),
            Self::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(true),
                "false" | "no" | "off" | "0" | "" => Some(false),
                _ => None,
            },
            Self::None => Some(false),
            _ => None,
        }
    }

    /// The values of a list, or this one alone; a text is split at its commas.
    pub(super) fn items(&self) -> Vec<Self> {
        match self {
            Self::List(items) => items.iter().flat_map(Self::items).collect(),
            Self::Text(text) => {
                let mut items = Vec::new();
                let mut start = 0;
                for at in outside_references(text).filter(|(_, octet)| *octet == b',').map(|(at, _)| at).chain([text.len()]) {
                    items.push(text[start..at].trim());
                    start = at + 1;
                }
                items.into_iter().filter(|part| !part.is_empty()).map(|part| Self::Text(part.to_owned())).collect()
            }
            Self::None => Vec::new(),
            other => vec![other.clone()],
        }
    }
}

/// A variable and nothing else: `${NAME}` or `${NAME:-default}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    pub(super) name: &'a str,
    pub(super) default: Option<&'a str>,
}

impl<'a> Reference<'a> {
    pub(super) fn of(text: &'a str) -> Option<Self> {
        let inside = text.strip_prefix("${")?.strip_suffix('}').filter(|inside| !inside.contains('}'))?;
        let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
        Some(Self { name, default })
    }
}

/// The octets of a text that are in no `${...}`, each with its place.
fn outside_references(text: &str) -> impl DoubleEndedIterator<Item = (usize, u8)> {
    let mut is_inside = false;
    let octets: Vec<(usize, u8)> = text
        .bytes()
        .enumerate()
        .filter(|(at, octet)| {
            is_inside |= text.as_bytes()[*at..].starts_with(b"${");
            let is_outside = !is_inside;
            is_inside &= *octet != b'}';
            is_outside
        })
        .collect();
    octets.into_iter()
}

/// Splits at the first colon that is in no variable.
pub(super) fn at_first_colon(text: &str) -> Option<(&str, &str)> {
    let (colon, _) = outside_references(text).find(|(_, octet)| *octet == b':')?;
    Some((&text[..colon], &text[colon + 1..]))
}

/// Addresses and networks, as `trust` writes them, where `*` is everybody. An item that is none is the error: a variable stands for one of them, and so does its default.
pub(super) fn networks(value: &Value) -> Result<Json, String> {
    let mut list = Vec::new();
    for item in value.items() {
        match item.text().as_deref() {
            Some("*") => list.extend(["0.0.0.0/0", "::/0", "unix"].map(Json::from)),
            Some(text)
                if Reference::of(text)
                    .map_or(Some(text), |variable| variable.default)
                    .is_none_or(|text| text.parse::<Network>().is_ok()) =>
            {
                list.push(text.into());
            }
            Some(text) => return Err(text.to_owned()),
            None => return Err("code".to_owned()),
        }
    }
    Ok(list.into())
}

/// The host and the port of an address: a number, or a variable. A variable as the host has no default that means every address of the machine elsewhere.
pub(super) fn host_and_port(text: &str) -> Option<(String, &str)> {
    let (colon, _) = outside_references(text).rfind(|(_, octet)| *octet == b':')?;
    let (host, port) = (&text[..colon], &text[colon + 1..]);
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    let host = match Reference::of(host) {
        Some(Reference { name, default: Some("" | "*") }) => variable(name, Some("0.0.0.0"))?,
        _ if matches!(host, "" | "*") => "0.0.0.0".to_owned(),
        _ => host.to_owned(),
    };
    Reference::of(port).map_or_else(|| is_port(port), |port| port.default.is_none_or(is_port)).then_some((host, port))
}

/// A path that a server reads in this folder, as it is outside of it. What a variable begins may be absolute, and stays as it is.
pub(super) fn below(folder: Option<&str>, path: &str) -> String {
    let Some(folder) = folder.filter(|_| !path.starts_with('/') && !path.starts_with("${")) else { return path.to_owned() };
    let mut inner = path;
    while let Some(rest) = inner.strip_prefix("./") {
        inner = rest.trim_start_matches('/');
    }
    match inner {
        "" | "." => folder.to_owned(),
        _ => format!("{}/{inner}", folder.trim_end_matches('/')),
    }
}

/// A text in which `$` stands for itself.
pub(super) fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

/// The text without escapes; none if it has variables.
pub(super) fn unescaped(text: &str) -> Option<String> {
    let plain = text.replace("$$", "\u{0}");
    (!plain.contains('$')).then(|| plain.replace('\u{0}', "$"))
}

/// A reference to a variable. A default that the pipeline file cannot hold, because it has a brace or variables, is an error.
pub(super) fn variable(name: &str, default: Option<&str>) -> Option<String> {
    let is_name =
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let default = default.map_or(Some(None), |default| (!default.contains(['}', '$', '{'])).then_some(Some(default)))?;
    is_name.then(|| match default {
        Some(default) => format!("${{{name}:-{default}}}"),
        None => format!("${{{name}}}"),
    })
}
