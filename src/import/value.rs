//! Values of other servers' settings. Texts are in the syntax of the pipeline file, where variables are `${NAME}` and a plain `$` is `$$`.

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

    /// Whether it is a single variable, which may fill a number.
    pub(super) fn is_variable(&self) -> bool {
        matches!(self, Self::Text(text) if text.starts_with("${") && text.find('}') == Some(text.len() - 1))
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
                text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| Self::Text(part.to_owned())).collect()
            }
            Self::None => Vec::new(),
            other => vec![other.clone()],
        }
    }
}

/// Addresses and networks, as `trust` writes them, where `*` is everybody. An item that is none is the error.
pub(super) fn networks(value: &Value) -> Result<Json, String> {
    let mut list = Vec::new();
    for item in value.items() {
        match item.text().as_deref() {
            Some("*") => list.extend(["0.0.0.0/0", "::/0", "unix"].map(Json::from)),
            Some(text) if text.parse::<Network>().is_ok() || item.is_variable() => list.push(text.into()),
            Some(text) => return Err(text.to_owned()),
            None => return Err("code".to_owned()),
        }
    }
    Ok(list.into())
}

/// The host and the port of an address. A variable as the port may have a default, which follows a colon, too.
pub(super) fn host_and_port(text: &str) -> Option<(&str, &str)> {
    let colon = text.rfind(':')?;
    let is_in_variable = text.rfind("${").is_some_and(|open| open < colon && text.ends_with('}'));
    let before = text.rfind("${").filter(|_| is_in_variable).map_or(text, |open| &text[..open]);
    let colon = if is_in_variable { before.rfind(':')? } else { colon };
    Some((&text[..colon], &text[colon + 1..]))
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
        Some(default) if !default.is_empty() => format!("${{{name}:-{default}}}"),
        _ => format!("${{{name}}}"),
    })
}
