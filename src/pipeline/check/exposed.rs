//! Dashboards that everybody can reach.

use super::MAX_STAGES;
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::guards;
use crate::pipeline::model::{App, File, Part, Stack};
use crate::pipeline::secrets::Secrets;
use crate::pipeline::tree::Value;

/// Findings about every `dashboard` that a request can reach whose sender no layer and no route above has asked for.
pub(super) fn check(file: &File, secrets: &Secrets) -> Vec<Diagnostic> {
    let mut walk = Walk { file, secrets, findings: Vec::new() };
    walk.stack(&file.stack, 0);
    walk.findings
}

struct Walk<'a> {
    file: &'a File,
    secrets: &'a Secrets,
    findings: Vec<Diagnostic>,
}

impl Walk<'_> {
    fn stack(&mut self, stack: &Stack, depth: usize) {
        // An entry of `apps` that contains itself is another finding.
        if depth > MAX_STAGES || stack.layers.iter().any(|layer| self.asks_who(layer)) {
            return;
        }
        match &stack.app {
            App::Part(part) if part.kind.name == "dashboard" && !is_public(part) => {
                let finding = Diagnostic::error(Id::ExposedDashboard, "everybody can see the `dashboard`", part.options.span.clone())
                    .label("no layer and no route above asks who comes")
                    .hint("put `basic_auth` above it, or `access` that lets in some alone, or write `\"public\": true` if everybody may see it");
                if self.findings.iter().all(|known| known.span != finding.span) {
                    self.findings.push(finding);
                }
            }
            App::Part(_) => {}
            App::Named(id, _) => self.stack(&self.file.apps[*id].stack, depth + 1),
            App::Routes(table) => {
                for (nth, route) in table.routes.iter().enumerate() {
                    if route.is_enabled() && !guards::is_for_some(&table.routes, nth) {
                        self.stack(&route.stack, depth + 1);
                    }
                }
            }
        }
    }

    fn asks_who(&self, layer: &Part) -> bool {
        guards::asks_who(layer, &layer.kind.effects(&layer.options, self.secrets))
    }
}

fn is_public(part: &Part) -> bool {
    let public = part.options.nearest(&["public".into()]);
    matches!(public.value, Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::pipeline::Pipeline;

    fn refused(text: &str) -> bool {
        let read = Pipeline::from_text("pipeline.json", text, Path::new("/"), &crate::builtin(), &|_| None);
        match read {
            Ok(_) => false,
            Err(report) => {
                assert_eq!(report.to_json()[0]["id"], "exposed-dashboard", "{report}");
                true
            }
        }
    }

    #[test]
    fn a_dashboard_without_anything_above_that_asks_who_comes_is_refused() {
        for text in [
            r#"{ "app": { "dashboard": {} } }"#,
            r#"{ "layers": ["compress", "request_id"], "app": { "dashboard": {} } }"#,
            r#"{ "app": { "routes": [{ "match": { "path": "/dashboard" }, "app": { "dashboard": {} } }] } }"#,
            r#"{ "apps": { "d": { "dashboard": {} } }, "app": { "routes": [{ "match": { "client": "127.0.0.1" }, "app": "d" }, { "app": "d" }] } }"#,
            r#"{ "app": { "routes": [{ "match": { "client_cert": false }, "app": { "dashboard": {} } }] } }"#,
            r#"{ "app": { "routes": [{ "match": { "not": { "client": "10.0.0.7" } }, "app": { "dashboard": {} } }] } }"#,
        ] {
            assert!(refused(text), "{text}");
        }
    }

    #[test]
    fn a_layer_or_a_route_that_lets_everybody_in_is_no_guard() {
        for rules in [
            r#"[{ "allow": "all" }]"#,
            r#"[{ "allow": "0.0.0.0/0" }]"#,
            r#"[{ "allow": "::/0" }]"#,
            r#"[{ "allow": ["0.0.0.0/1", "128.0.0.0/1"] }]"#,
            r#"[{ "deny": "10.0.0.7" }, { "allow": "all" }]"#,
        ] {
            let text = format!(
                r#"{{ "app": {{ "routes": [{{ "mount": "/m", "layers": [{{ "access": {rules} }}], "app": {{ "dashboard": {{}} }} }}] }} }}"#
            );
            assert!(refused(&text), "{text}");
        }
        for client in [r#""0.0.0.0/0""#, r#"["0.0.0.0/1", "128.0.0.0/1"]"#, r#"["10.0.0.0/8", "::/0"]"#] {
            let text = format!(r#"{{ "app": {{ "routes": [{{ "match": {{ "client": {client} }}, "app": {{ "dashboard": {{}} }} }}] }} }}"#);
            assert!(refused(&text), "{text}");
        }
    }

    #[test]
    fn a_layer_or_a_route_that_asks_or_the_word_public_suffices() {
        for text in [
            r#"{ "app": { "dashboard": { "public": true } } }"#,
            r#"{ "layers": [{ "access": [{ "allow": "10.0.0.0/8" }] }], "app": { "routes": [{ "app": { "dashboard": {} } }] } }"#,
            r#"{ "app": { "routes": [{ "layers": [{ "basic_auth": { "users": "users" } }], "app": { "dashboard": {} } }] } }"#,
            r#"{ "app": { "routes": [{ "match": { "client": "127.0.0.1" }, "app": { "dashboard": {} } }] } }"#,
            r#"{ "app": { "routes": [{ "match": { "client_cert": "CN=ann" }, "app": { "dashboard": {} } }] } }"#,
            r#"{ "app": { "routes": [{ "match": { "not": { "client": "10.0.0.0/8" } }, "app": { "respond": 403 } }, { "app": { "dashboard": {} } }] } }"#,
            r#"{ "layers": [{ "access": [{ "allow": "10.0.0.0/8" }, { "deny": ["0.0.0.0/0", "::/0"] }, { "allow": "unix" }] }], "app": { "dashboard": {} } }"#,
            r#"{ "apps": { "d": { "layers": [{ "access": [{ "allow": "10.0.0.0/8" }] }], "app": { "dashboard": {} } } }, "app": "d" }"#,
        ] {
            assert!(!refused(text), "{text}");
        }
    }
}
