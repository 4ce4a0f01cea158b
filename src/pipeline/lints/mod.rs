//! Order lints: warnings about layers, apps and routes that are each sound, and do not do together what was meant.
//!
//! A lint looks at the ways that requests can take ([`Site::ways`]), and at what the layers on a way say of themselves: their
//! [`Behavior`](ziggurat_middleware::Behavior) and [`Effects`](ziggurat_middleware::Effects). It knows no layer by its name, so the layers of other people take part. Each file of `rules` is one
//! lint: its page, with a wrong and a right file, and its check.

mod allow;
mod follow;
mod hit;
mod page;
mod rules;
mod site;

use std::path::Path;

use super::diagnostic::{Diagnostic, Id, LintId};
use super::model::File;
use super::secrets::Secrets;
use hit::Hit;
pub(crate) use page::{listing, pages};
use rules::LINTS;
use site::{Served, Site, Stage};

/// One lint.
pub(crate) struct Lint {
    /// Lower case, with hyphens. It stays the same in later versions.
    pub(crate) id: &'static str,
    harm: Harm,
    /// What it finds, in one sentence.
    pub(crate) summary: &'static str,
    /// Why that does harm, and what to do.
    why: &'static str,
    /// When the order is right all the same.
    allow: &'static str,
    /// A file in which it finds something.
    wrong: Example,
    /// A file in which it finds nothing. It is the fixed one, if there is a fix.
    right: &'static str,
    /// Whether `--fix` makes the right file of the wrong one.
    is_fixed: bool,
    check: fn(&Site<'_>) -> Vec<Hit>,
}

/// A wrong file.
struct Example {
    text: &'static str,
    /// What the finding points at, and the other place that it shows.
    #[cfg_attr(not(test), expect(dead_code, reason = "the test of all lints asks for them"))]
    places: (&'static str, Option<&'static str>),
    /// The files that have to be there.
    files: &'static [&'static str],
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Harm {
    /// Secrets become public, or the wrong ones get in.
    Access,
    /// Requests that should be answered are not.
    Outage,
    /// Something that the file asks for does not happen.
    Lost,
    /// The log does not tell what happened.
    Log,
    /// It works, and costs more than it has to.
    Cost,
}

impl Harm {
    const ALL: [Self; 5] = [Self::Access, Self::Outage, Self::Lost, Self::Log, Self::Cost];

    const fn title(self) -> &'static str {
        match self {
            Self::Access => "Secrets and access",
            Self::Outage => "Outages and loops",
            Self::Lost => "Functions without effect",
            Self::Log => "Blind logs",
            Self::Cost => "Cost",
        }
    }
}

/// The lint with this id.
pub(crate) fn find(id: &str) -> Option<&'static Lint> {
    LINTS.iter().copied().find(|lint| lint.id == id)
}

/// All ids.
pub(crate) fn ids() -> impl Iterator<Item = &'static str> {
    LINTS.iter().map(|lint| lint.id)
}

/// What the lints find in a file without errors whose relative paths start at `base`, but for what it allows; and what it allows without need.
pub(super) fn check(file: &File, secrets: &Secrets, base: &Path) -> Vec<Diagnostic> {
    let site = Site::new(file, secrets, base);
    let mut findings: Vec<Diagnostic> = Vec::new();
    for lint in LINTS {
        let Some(id) = LintId::of(lint.id).map(Id::Lint) else { continue };
        for hit in (lint.check)(&site) {
            // The same two places can be on many ways.
            let is_known = |known: &Diagnostic| known.id == id && known.span == Some(hit.span.clone());
            if !findings.iter().any(is_known) {
                findings.push(hit.into_diagnostic(id));
            }
        }
    }
    allow::apply(file, findings)
}

#[cfg(test)]
mod tests {
    mod near_misses;

    use std::fs;
    use std::path::Path;

    use super::{LINTS, Lint};
    use crate::pipeline::Pipeline;
    use crate::pipeline::tree::Span;

    /// What was found in a file: the id, the places and whether there is a fix.
    struct Found {
        id: &'static str,
        span: Option<Span>,
        related: Option<Span>,
        is_fixed: bool,
        has_hint: bool,
    }

    /// The findings in a text, in a folder with these files.
    fn check(text: &str, folder: &Path) -> Vec<Found> {
        let read = Pipeline::from_text("pipeline.json", text, folder, &crate::builtin(), &|_| None);
        let pipeline = match read {
            Ok(pipeline) => pipeline,
            Err(report) => {
                println!("{report}");
                return vec![Found { id: "refused", span: None, related: None, is_fixed: false, has_hint: false }];
            }
        };
        let found = pipeline.warnings().diagnostics().iter().map(|finding| Found {
            id: finding.id.as_str(),
            span: finding.span.clone(),
            related: finding.related.as_deref().map(|(span, _)| span.clone()),
            is_fixed: finding.fix.is_some(),
            has_hint: finding.hint.is_some(),
        });
        found.collect()
    }

    fn folder(lint: &Lint) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in lint.wrong.files {
            let file = folder.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        folder
    }

    #[test]
    fn each_lint_finds_its_wrong_file_at_the_right_places_and_nothing_else() {
        let mut failed = Vec::new();
        for lint in LINTS {
            let (folder, text) = (folder(lint), lint.wrong.text);
            let found = check(text, folder.path());
            let at = |span: &Option<Span>| span.clone().map(|span| &text[span]);
            let found: Vec<_> =
                found.iter().map(|found| (found.id, at(&found.span), at(&found.related), found.has_hint, found.is_fixed)).collect();
            let (place, other) = lint.wrong.places;
            if found != [(lint.id, Some(place), other, true, lint.is_fixed)] {
                failed.push(format!("{}: {found:#?}", lint.id));
            }
        }
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    }

    #[test]
    fn each_lint_is_silent_about_its_right_file() {
        let mut failed = Vec::new();
        for lint in LINTS {
            let found = check(lint.right, folder(lint).path());
            failed.extend(found.iter().map(|found| format!("{}: {}", lint.id, found.id)));
        }
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    }

    #[test]
    fn a_fix_makes_the_right_file_of_the_wrong_one_and_then_nothing_more() {
        let mut failed = Vec::new();
        for lint in LINTS.iter().filter(|lint| lint.is_fixed) {
            let folder = folder(lint);
            let fix = |text: &str| match Pipeline::fixed("pipeline.json", text, folder.path(), &crate::builtin(), &|_| None) {
                Ok(fixed) => (fixed.text, fixed.mended.len()),
                Err(report) => (report.to_string(), 0),
            };
            let (fixed, again) = (fix(lint.wrong.text), fix(lint.right));
            if (fixed.0.as_str(), fixed.1) != (lint.right, 1) || again.1 != 0 {
                failed.push(format!("{}: {} {}", lint.id, fixed.0, again.0));
            }
        }
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    }

    #[test]
    fn what_is_needless_is_removed_with_the_list_that_it_was_alone_in() {
        let fixed = |text: &str| Pipeline::fixed("pipeline.jsonc", text, Path::new(""), &crate::builtin(), &|_| None).unwrap().text;
        let route = |layers: &str| {
            let first = format!(r#"{{ "match": {{ "path": "/a" }},{layers} "app": {{ "respond": 204 }} }}"#);
            format!(r#"{{ "layers": ["compress"], "app": {{ "routes": [{first}, {{ "app": {{ "respond": 404 }} }}] }} }}"#)
        };
        for (text, expected) in [
            (
                r#"{ "layers": ["compress", "compress"], "app": { "respond": 204 } }"#.to_owned(),
                r#"{ "layers": ["compress"], "app": { "respond": 204 } }"#.to_owned(),
            ),
            (route(r#" "layers": ["compress"],"#), route("")),
            (route(r#" "layers": ["request_id", "compress"],"#), route(r#" "layers": ["request_id"],"#)),
            (
                "{\n  \"allow\": [{ \"lint\": \"twice\", \"reason\": \"x\" }],\n  \"app\": { \"respond\": 204 }\n}".to_owned(),
                "{\n  \"app\": { \"respond\": 204 }\n}".to_owned(),
            ),
        ] {
            assert_eq!(fixed(&text), expected);
        }
        // Another way to the layer does not meet the one above, or the options differ, or there is a comment.
        let named = r#"{ "apps": { "a": { "layers": ["compress"], "app": { "respond": 204 } } }, "app": { "routes": [
            { "match": { "path": "/a" }, "layers": ["compress"], "app": "a" }, { "app": "a" }
        ] } }"#;
        let differing = route(r#" "layers": [{ "compress": { "level": 3 } }],"#);
        for text in
            [named, &differing, "{ \"allow\": [\n// why\n{ \"lint\": \"twice\", \"reason\": \"x\" }], \"app\": { \"respond\": 204 } }"]
        {
            assert_eq!(fixed(text), text);
        }
    }

    #[test]
    fn a_lint_that_is_allowed_where_it_finds_something_is_silent() {
        let mut failed = Vec::new();
        for lint in LINTS {
            let folder = folder(lint);
            let allow = format!("{{ \"allow\": [{{ \"lint\": \"{}\", \"reason\": \"tested\" }}],", lint.id);
            let ids = |text: &str| {
                let text = text.trim_start().replacen('{', &allow, 1);
                check(&text, folder.path()).iter().map(|found| found.id).collect::<Vec<_>>()
            };
            let (allowed, useless) = (ids(lint.wrong.text), ids(lint.right));
            if !allowed.is_empty() || useless != ["useless-allow"] {
                failed.push(format!("{}: {allowed:?} {useless:?}", lint.id));
            }
        }
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    }

    #[test]
    fn an_allow_in_a_route_is_about_that_route_alone() {
        let route = |path: &str, allow: &str| {
            format!(r#"{{ "match": {{ "path": "{path}" }}, {allow} "layers": ["compress", "compress"], "app": {{ "respond": 204 }} }}"#)
        };
        let allow = r#""allow": [{ "lint": "twice", "reason": "tested" }],"#;
        let text = format!(r#"{{ "app": {{ "routes": [{}, {}] }} }}"#, route("/a", allow), route("/b", ""));
        let found = check(&text, Path::new(""));
        assert_eq!(found.iter().map(|found| found.id).collect::<Vec<_>>(), ["twice"]);
        assert!(found[0].span.clone().unwrap().start > text.find("/b").unwrap());
    }

    #[test]
    fn an_allow_with_an_unknown_id_or_without_a_reason_is_refused() {
        let refusal = |allow: &str| {
            let text = format!(r#"{{ "allow": [{allow}], "app": {{ "respond": 204 }} }}"#);
            Pipeline::from_text("pipeline.json", &text, Path::new(""), &crate::builtin(), &|_| None).unwrap_err().render(false)
        };
        insta::assert_snapshot!(refusal(r#"{ "lint": "log-mises", "reason": "why" }"#));
        assert!(refusal(r#"{ "lint": "log-misses" }"#).contains("`reason` of `allow` is missing"));
        assert!(refusal(r#"{ "lint": "log-misses", "reason": " " }"#).contains("the reason is empty"));
    }

    #[test]
    fn layers_in_two_routes_never_meet() {
        let text = r#"{ "app": { "routes": [
            { "match": { "path": "/a" }, "layers": ["compress"], "app": { "respond": 204 } },
            { "layers": ["compress"], "app": { "respond": 204 } }
        ] } }"#;
        assert!(check(text, Path::new("")).is_empty());
        let meet =
            r#"{ "apps": { "site": { "layers": ["compress"], "app": { "respond": 204 } } }, "layers": ["compress"], "app": "site" }"#;
        assert_eq!(check(meet, Path::new("")).len(), 1);
    }

    #[test]
    fn a_cache_below_a_python_layer_is_found_and_stays_where_it_is() {
        let found = |layers: &str, workers: usize| {
            let app = format!(r#"{{ "wsgi": {{ "app": "mysite.wsgi", "workers": {workers} }} }}"#);
            let text = format!(r#"{{ "layers": [{layers}], "app": {app} }}"#);
            let found = check(&text, Path::new(""));
            found.iter().filter(|found| found.id == "per-worker-state").map(|found| found.is_fixed).collect::<Vec<_>>()
        };
        let python = r#"{ "wsgi": "mysite.sso:SingleSignOn" }"#;
        assert_eq!(found(&format!(r#"{python}, "cache""#), 4), [false]);
        assert!(found(&format!(r#"{python}, "cache""#), 1).is_empty());
        assert!(found(&format!(r#""cache", {python}"#), 4).is_empty());
    }

    #[test]
    fn only_index_pages_that_are_there_and_whose_path_stays_meet_a_slash_layer() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["site/index.html", "site/css/a.css", "docs/a/b/start.html", "docs/.git/index.html"] {
            fs::create_dir_all(folder.path().join(file).parent().unwrap()).unwrap();
            fs::write(folder.path().join(file), "").unwrap();
        }
        let found = |layers: &str| {
            let text = format!(r#"{{ "layers": [{layers}], "app": {{ "wsgi": "mysite.wsgi" }} }}"#);
            check(&text, folder.path()).iter().filter(|found| found.id == "slash-hides-index").count()
        };
        let files = |options: &str| found(&format!(r#"{{ "slash": "remove" }}, {{ "static": {{ {options} }} }}"#));
        assert_eq!(files(r#""root": "site", "at": "/""#), 0);
        assert_eq!(files(r#""root": "site", "at": "/static""#), 1);
        assert_eq!(files(r#""root": "docs", "at": "/""#), 0);
        assert_eq!(files(r#""root": "docs", "at": "/", "index": "start.html""#), 1);
        assert_eq!(files(r#""root": "docs", "at": "/", "dotfiles": true"#), 1);
        assert_eq!(files(r#""root": "site", "at": "/static", "index": false"#), 0);
        assert_eq!(found(r#"{ "slash": "append" }, { "static": { "root": "site" } }"#), 0);
        assert_eq!(found(r#"{ "static": { "root": "site" } }, { "slash": "remove" }"#), 0);
        let rewritten =
            r#"{ "slash": "remove" }, { "rewrite": { "from": "/old/*", "to": "/static/*" } }, { "static": { "root": "site" } }"#;
        assert_eq!(found(rewritten), 0);
    }

    #[test]
    fn limits_on_the_two_sides_of_a_decoder_count_different_octets() {
        let found = |layers: &str| {
            let text = format!(r#"{{ "layers": [{layers}], "app": {{ "respond": 204 }} }}"#);
            check(&text, Path::new("")).iter().map(|found| found.id).collect::<Vec<_>>()
        };
        let coded = r#"{ "body_limit": "1MiB" }"#;
        assert!(found(&format!(r#"{coded}, {{ "decompress": "20MiB" }}, {{ "body_limit": "20MiB" }}"#)).is_empty());
        assert_eq!(found(r#"{ "decompress": "10MiB" }, { "body_limit": "20MiB" }"#), ["smaller-limit-above"]);
    }

    #[test]
    fn the_texts_of_lints_are_sentences() {
        for lint in LINTS {
            assert!(lint.id.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'-'), "{}", lint.id);
            for text in [lint.summary, lint.why, lint.allow] {
                assert!(text.ends_with('.') && text.starts_with(|first: char| first.is_uppercase() || first == '`'), "{}: {text}", lint.id);
            }
        }
    }
}
