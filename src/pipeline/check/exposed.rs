//! Dashboards that everybody can reach.

use ziggurat_middleware::Behavior;

use super::MAX_STAGES;
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::model::{App, File, Part, Stack};
use crate::pipeline::tree::Value;

/// Findings about every `dashboard` that a request can reach whose sender no layer and no route above has asked for.
pub(super) fn check(file: &File) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    stack(file, &file.stack, 0, &mut findings);
    findings
}

fn stack(file: &File, stack: &Stack, depth: usize, findings: &mut Vec<Diagnostic>) {
    // An entry of `apps` that contains itself is another finding.
    if depth > MAX_STAGES || stack.layers.iter().any(asks) {
        return;
    }
    match &stack.app {
        App::Part(part) if part.kind.name == "dashboard" && !is_public(part) => {
            let finding = Diagnostic::error(Id::ExposedDashboard, "everybody can see the `dashboard`", part.options.span.clone())
                .label("no layer above asks who comes")
                .hint("put `access` or `basic_auth` above it, or write `\"public\": true` if everybody may see it");
            if findings.iter().all(|known| known.span != finding.span) {
                findings.push(finding);
            }
        }
        App::Part(_) => {}
        App::Named(id, _) => self::stack(file, &file.apps[*id].stack, depth + 1, findings),
        App::Routes(table) => {
            let routes = table.routes.iter().filter(|route| {
                let keys = route.condition.as_ref().map(|condition| &condition.node);
                route.is_enabled() && keys.is_none_or(|keys| keys.children().all(|(step, _)| step != "client".into()))
            });
            routes.for_each(|route| self::stack(file, &route.stack, depth + 1, findings));
        }
    }
}

/// Whether a layer asks who comes.
fn asks(layer: &Part) -> bool {
    layer.kind.name == "access" || layer.kind.has(Behavior::Authenticates)
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
        ] {
            assert!(refused(text), "{text}");
        }
    }

    #[test]
    fn a_layer_or_a_route_that_asks_or_the_word_public_suffices() {
        for text in [
            r#"{ "app": { "dashboard": { "public": true } } }"#,
            r#"{ "layers": [{ "access": [{ "allow": "10.0.0.0/8" }] }], "app": { "routes": [{ "app": { "dashboard": {} } }] } }"#,
            r#"{ "app": { "routes": [{ "layers": [{ "basic_auth": { "users": "users" } }], "app": { "dashboard": {} } }] } }"#,
            r#"{ "app": { "routes": [{ "match": { "client": "127.0.0.1" }, "app": { "dashboard": {} } }] } }"#,
            r#"{ "apps": { "d": { "layers": [{ "access": [{ "allow": "10.0.0.0/8" }] }], "app": { "dashboard": {} } } }, "app": "d" }"#,
        ] {
            assert!(!refused(text), "{text}");
        }
    }
}
