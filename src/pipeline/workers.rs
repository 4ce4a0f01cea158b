//! What the file says about workers before any is started.

use super::model::{Event, File, Part};
use super::tree::Value;

/// The user and the group of the workers of each app that names any.
pub(super) fn identities(file: &File) -> Vec<(Option<String>, Option<String>)> {
    let mut found = Vec::new();
    for stack in file.stacks() {
        stack.walk(|event, _| {
            if let Event::App(part) = event
                && part.kind.name == "wsgi"
            {
                found.push((text(part, "user"), text(part, "group")));
            }
        });
    }
    found.retain(|(user, group)| user.is_some() || group.is_some());
    found
}

fn text(part: &Part, option: &str) -> Option<String> {
    match &part.options.nearest(&[option.into()]).value {
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::pipeline::Pipeline;

    #[test]
    fn users_of_workers_are_found_wherever_an_app_is_named() {
        let text = r#"{ "apps": { "blog": { "wsgi": { "app": "blog:app", "user": "blog" } } },
            "app": { "routes": [{ "match": { "path": "/x" }, "app": { "wsgi": { "app": "x:app", "group": "x" } } },
                                { "app": { "wsgi": "site:app" } }] } }"#;
        let pipeline = Pipeline::from_text("pipeline.json", text, Path::new("/srv"), &crate::builtin(), &|_| None);
        let found = pipeline.unwrap_or_else(|report| panic!("{report}")).worker_identities();
        assert_eq!(found, [(Some("blog".to_owned()), None), (None, Some("x".to_owned()))]);
    }
}
