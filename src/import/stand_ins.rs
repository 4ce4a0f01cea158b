//! Values for variables while an import is checked, where they are not set.

use serde_json::Value;

/// A value for a variable, of a kind that its place in the pipeline file takes. None if every reference to it has a default.
pub(crate) fn stand_in(pipeline: &Value, name: &str) -> Option<String> {
    find(pipeline, "", &format!("${{{name}}}"))
}

/// A port for each variable, because no address is listened on twice.
fn port(reference: &str) -> u16 {
    reference.bytes().fold(0_u16, |sum, octet| sum.wrapping_mul(31).wrapping_add(octet.into())) | 1024
}

/// Looks below a value that has this key.
fn find(value: &Value, key: &str, reference: &str) -> Option<String> {
    match value {
        Value::Object(entries) => entries.iter().find_map(|(key, value)| find(value, key, reference)),
        Value::Array(items) => items.iter().find_map(|item| find(item, key, reference)),
        Value::String(text) if text.contains(reference) => Some(match key {
            "listen" | "at" if text == reference => format!("127.0.0.1:{}", port(reference)),
            "listen" | "at" if text.starts_with(reference) => "127.0.0.1".to_owned(),
            "listen" | "at" => port(reference).to_string(),
            "trust" => "127.0.0.1".to_owned(),
            "app" => "app:app".to_owned(),
            _ => "7".to_owned(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_variable_is_checked_with_a_value_that_fits_its_place() {
        let pipeline = json!({
            "listen": ["${BIND}", "${HOST}:${PORT}", { "at": "${SOCKET:-unix:a}" }],
            "layers": [{ "forwarded": { "trust": ["::1", "${PROXY}"] } }],
            "app": { "wsgi": { "app": "${APP}", "workers": "${WORKERS}" } }
        });
        let [bind, port] = [port("${BIND}"), port("${PORT}")].map(|port| port.to_string());
        assert_ne!(bind, port);
        for (name, expected) in [
            ("BIND", Some(&*format!("127.0.0.1:{bind}"))),
            ("HOST", Some("127.0.0.1")),
            ("PORT", Some(&*port)),
            ("SOCKET", None),
            ("PROXY", Some("127.0.0.1")),
            ("APP", Some("app:app")),
            ("WORKERS", Some("7")),
        ] {
            assert_eq!(stand_in(&pipeline, name).as_deref(), expected, "{name}");
        }
    }
}
