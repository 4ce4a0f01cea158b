//! `headers`: renames, removes, sets and appends headers of requests and responses.

mod template;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, Entry, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::options::OneOrMany;
use crate::path::{PathParamUse, PathParams};
use crate::units::HeaderKey;
use crate::{
    Behavior, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Middleware, Request, Response, Step, around, hop_by_hop,
};
use template::HeaderTemplate;

/// Renames, removes, sets and appends headers of requests and responses, in this order.
///
/// Request headers are changed on the way to the app, response headers on the way back. Headers that concern the connection (`Connection`,
/// `Transfer-Encoding`, `Upgrade` and so on) and `Content-Length` cannot be changed.
///
/// Below a route whose `path` has a `{name}`, a value may contain this part of the path: `{ "set": { "x-user": "{name}" } }`. It stays percent-encoded as the
/// client sent it, so it cannot contain a line end. `{{name}}` is the text with braces.
///
/// Place it above the layers whose responses should have the headers, and below those that should see what the app sent.
///
/// ```json
/// {
///   "layers": [
///     { "headers": {
///       "request": { "rename": { "x-amzn-trace-id": "x-request-id" }, "remove": ["x-internal-user"] },
///       "response": { "set": { "cache-control": "no-store" }, "remove": ["x-powered-by"] }
///     } }
///   ],
///   "app": { "wsgi": "hello:app" }
/// }
/// ```
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Headers {
    /// Changes to the request, before the layers below see it.
    request: Changes,
    /// Changes to the response, before the layers above see it.
    response: Changes,
}

/// Changes to the headers of a message. They are applied in this order: rename, remove, set, append.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Changes {
    /// Headers to rename, from the old name to the new one, with all their values. They replace headers of the new name. Where there is none of the old name, nothing changes: a client can
    /// send the new name itself.
    rename: BTreeMap<HeaderKey, HeaderKey>,
    /// Names of headers to remove.
    remove: OneOrMany<HeaderKey>,
    /// Headers to set; they replace headers of the same name.
    set: BTreeMap<HeaderKey, HeaderTemplate>,
    /// Headers to add; headers of the same name stay. A list adds several.
    append: BTreeMap<HeaderKey, OneOrMany<HeaderTemplate>>,
}

impl Middleware for Headers {
    const NAME: &'static str = "headers";
    const BEHAVIOR: &'static [Behavior] = &[Behavior::SetsResponseHeaders];

    fn validate(&self, findings: &mut Findings) {
        for (message, changes) in [("request", &self.request), ("response", &self.response)] {
            changes.validate(message, findings);
        }
    }

    fn path_params(&self) -> Vec<PathParamUse> {
        self.request.params("request").chain(self.response.params("response")).collect()
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        let (of_request, of_response) = (self.request.in_words(), self.response.in_words());
        if let Some(words) = of_request {
            explain.note(format!("of the request: {words}"));
        }
        let editor = HeaderEditor::new(self);
        explain.around(|request| Ok(editor.edit(request)));
        explain.on_response(move |response| {
            if let (None, Some(words)) = (response.known(), of_response) {
                response.note(words);
            }
        });
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        for name in self.request.remove.0.iter().chain(self.request.rename.keys()) {
            effects.by("request", Effect::RemovesRequestHeader(name.0.clone()));
        }
        for name in self.request.set.keys().chain(self.request.append.keys()).chain(self.request.rename.values()) {
            effects.by("request", Effect::SetsRequestHeader(name.0.clone()));
        }
        for name in self.response.remove.0.iter().chain(self.response.set.keys()).chain(self.response.rename.keys()) {
            effects.by("response", Effect::SetsHeader(name.0.clone()));
        }
    }

    fn layer(self, _: &Context) -> Result<impl IntoStage, Finding> {
        let editor = HeaderEditor::new(self);
        Ok(around(move |request: &mut Request| Ok(editor.edit(request))))
    }
}

/// The options, ready to be applied.
#[derive(Clone)]
struct HeaderEditor {
    has_params: bool,
    request: Arc<Changes>,
    response: Arc<Changes>,
}

impl HeaderEditor {
    fn new(options: Headers) -> Self {
        let has_params = !options.path_params().is_empty();
        Self { has_params, request: Arc::new(options.request), response: Arc::new(options.response) }
    }

    /// Changes a request, and gives what changes its response.
    fn edit(&self, request: &mut Request) -> impl FnOnce(Response) -> Response + use<> {
        let params = request.extensions().get::<PathParams>().filter(|_| self.has_params).cloned();
        self.request.apply(request.headers_mut(), params.as_ref());
        let changes = Arc::clone(&self.response);
        move |mut response: Response| {
            changes.apply(response.headers_mut(), params.as_ref());
            response
        }
    }
}

impl Changes {
    fn validate(&self, message: &str, findings: &mut Findings) {
        let framing = |name: &HeaderKey| name.0 == CONTENT_LENGTH || hop_by_hop::contains(&name.0);
        let finding = |name: &HeaderKey| {
            Finding::new(format!("`{name}` belongs to the connection, not to the {message}"))
                .hint("leave it out: the server sets it from the body and the protocol")
                .at(message)
        };
        for (index, name) in self.remove.0.iter().enumerate().filter(|(_, name)| framing(name)) {
            findings.push(finding(name).at("remove").at(index));
        }
        for (old, new) in &self.rename {
            for name in [old, new].into_iter().filter(|name| framing(name)) {
                findings.push(finding(name).at("rename").at(old.to_string()));
            }
            let is_taken = |other: (&HeaderKey, &HeaderKey)| other.0 == new || (other.0 < old && other.1 == new);
            if self.rename.iter().any(is_taken) {
                let finding = Finding::new(format!("`{new}` is a name that another header has or gets, too")).at(message);
                findings.push(finding.at("rename").at(old.to_string()).hint("give each header a new name of its own"));
            }
        }
        for (change, names) in [("set", self.set.keys().collect::<Vec<_>>()), ("append", self.append.keys().collect())] {
            for name in names.into_iter().filter(|name| framing(name)) {
                findings.push(finding(name).at(change).at(name.to_string()));
            }
        }
    }

    /// The `{name}`s of its values, and where they stand.
    fn params<'a>(&'a self, message: &'a str) -> impl Iterator<Item = PathParamUse> + 'a {
        let set = self.set.iter().map(|(name, value)| (vec!["set".into(), name.to_string().into()], value));
        let append = self.append.iter().flat_map(|(name, values)| {
            let is_list = values.0.len() != 1;
            values.0.iter().enumerate().map(move |(nth, value)| {
                let mut path: Vec<Step> = vec!["append".into(), name.to_string().into()];
                path.extend(is_list.then_some(Step::Index(nth)));
                (path, value)
            })
        });
        set.chain(append).flat_map(move |(path, value)| {
            let path: Vec<Step> = [message.into()].into_iter().chain(path).collect();
            value.params().map(move |name| PathParamUse {
                name: name.to_owned(),
                path: path.clone(),
                hint: "double the braces of a text that is to stay",
            })
        })
    }

    /// What is done, without the values: `removes` these, `sets` those. `None` if nothing is.
    fn in_words(&self) -> Option<String> {
        let changes = [
            ("removes", self.remove.0.iter().collect::<Vec<_>>()),
            ("sets", self.set.keys().collect()),
            ("appends", self.append.keys().collect()),
        ];
        let changes = changes.into_iter().filter(|(_, names)| !names.is_empty()).map(|(verb, names)| {
            let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
            format!("{verb} {}", names.join(", "))
        });
        let renamed: Vec<String> = self.rename.iter().map(|(old, new)| format!("`{old}` to `{new}`")).collect();
        let renames = (!renamed.is_empty()).then(|| format!("renames {}", renamed.join(", ")));
        Some(renames.into_iter().chain(changes).collect::<Vec<_>>().join("; ")).filter(|words| !words.is_empty())
    }

    fn apply(&self, headers: &mut HeaderMap, params: Option<&PathParams>) {
        for (old, new) in &self.rename {
            if let Entry::Occupied(entry) = headers.entry(&old.0) {
                let (_, values) = entry.remove_entry_mult();
                let values: Vec<HeaderValue> = values.collect();
                headers.remove(&new.0);
                headers.extend(values.into_iter().map(|value| (new.0.clone(), value)));
            }
        }
        for name in &self.remove.0 {
            headers.remove(&name.0);
        }
        for (name, value) in &self.set {
            headers.insert(&name.0, value.fill(params));
        }
        for (name, values) in &self.append {
            for value in &values.0 {
                headers.append(&name.0, value.fill(params));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};

    use super::*;
    use crate::{Body, TestStack, request};

    fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn response_headers_are_removed_then_set_then_appended() {
        let options = r#"{"response": {"remove": ["x-a"], "set": {"X-A": "new", "x-b": "b"}, "append": {"x-a": ["1", "2"], "x-b": "3"}}}"#;
        let stack = TestStack::of::<Headers>(options).over(async |_| {
            let mut response = Response::new(Body::empty());
            response.headers_mut().insert("x-a", HeaderValue::from_static("old"));
            response.headers_mut().append("x-b", HeaderValue::from_static("old"));
            response
        });
        let response = stack.get("/").await;
        assert_eq!(all(response.headers(), "x-a"), ["new", "1", "2"]);
        assert_eq!(all(response.headers(), "x-b"), ["b", "3"]);
    }

    #[tokio::test]
    async fn the_app_sees_the_changed_request_and_nothing_else_changes() {
        let options = r#"{"request": {"remove": "x-user", "set": {"x-site": "one"}}}"#;
        let stack = TestStack::of::<Headers>(options).over(async |request: Request| {
            assert!(!request.headers().contains_key("x-user"));
            assert_eq!(all(request.headers(), "x-site"), ["one"]);
            assert_eq!(all(request.headers(), "host"), ["test"]);
            Response::new(Body::empty())
        });
        let mut request = request(Method::GET, "/", "");
        request.headers_mut().append("x-user", HeaderValue::from_static("root"));
        request.headers_mut().append("x-user", HeaderValue::from_static("admin"));
        request.headers_mut().append("x-site", HeaderValue::from_static("forged"));
        assert!(stack.send(request).await.headers().is_empty());
    }

    #[tokio::test]
    async fn headers_are_renamed_with_all_their_values_before_anything_else() {
        let options = r#"{"request": {"rename": {"x-old": "x-new", "x-none": "x-kept"}, "append": {"x-new": "3"}}}"#;
        let stack = TestStack::of::<Headers>(options).over(async |request: Request| {
            assert_eq!(all(request.headers(), "x-new"), ["1", "2", "3"]);
            assert_eq!((all(request.headers(), "x-old").len(), all(request.headers(), "x-kept")), (0, vec!["own".to_owned()]));
            Response::new(Body::from("seen"))
        });
        let sent = stack.get("/").header("x-old", "1").header("x-old", "2").header("x-new", "replaced").header("x-kept", "own");
        assert_eq!(sent.await.text(), "seen");
    }

    #[test]
    fn headers_that_would_meet_under_one_name_are_refused() {
        for rename in [r#"{"a": "c", "b": "c"}"#, r#"{"a": "b", "b": "c"}"#, r#"{"a": "a"}"#] {
            let refused = TestStack::refusal::<Headers>(&format!(r#"{{"response": {{"rename": {rename}}}}}"#));
            assert!(refused.len() == 1 && refused[0].contains("another header has or gets"), "{rename}: {refused:?}");
        }
        assert!(
            TestStack::refusal::<Headers>(r#"{"request": {"rename": {"host": "connection"}}}"#)[0].contains("belongs to the connection")
        );
    }

    #[tokio::test]
    async fn the_bare_name_changes_nothing() {
        let response = TestStack::of::<Headers>("null").over_text("x").get("/").await;
        assert!(response.headers().is_empty());
    }

    #[test]
    fn a_bad_name_or_value_is_refused() {
        assert_eq!(TestStack::refusal::<Headers>(r#"{"response": {"set": {"x y": "1"}}}"#), ["`x y` is not a header name"]);
        assert!(TestStack::refusal::<Headers>(r#"{"response": {"set": {"x": "a\r\nset-cookie: b"}}}"#)[0].contains("line ends"));
        assert!(TestStack::refusal::<Headers>(r#"{"respons": {}}"#)[0].contains("respons"));
    }

    #[test]
    fn headers_that_frame_a_message_are_refused_wherever_they_stand() {
        let options = r#"{"request": {"remove": ["x", "Content-Length"]}, "response": {"set": {"Connection": "close"}, "append": {"transfer-encoding": "x"}}}"#;
        let mut findings = Findings::default();
        serde_json::from_str::<Headers>(options).unwrap().validate(&mut findings);
        let paths: Vec<_> = findings.into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths.len(), 3);
        assert_eq!(paths[0], ["request".into(), "remove".into(), 1.into()]);
        assert_eq!(paths[1], ["response".into(), "set".into(), "connection".into()]);
    }
}
