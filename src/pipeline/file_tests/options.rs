//! A test as the file writes it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use ziggurat_middleware::options::{OneOrMany, OrFalse};
use ziggurat_middleware::units::Size;
use ziggurat_middleware::{Finding, Findings};

use crate::pipeline::explain::Question;

/// A request, and what is expected to become of it. `ziggurat check` judges what is known without running anything, and `ziggurat test --live` asks the built stack.
#[derive(Clone, Debug)]
pub(crate) struct FileTest {
    pub(crate) name: String,
    pub(crate) question: Question,
    pub(crate) expect: Expectation,
}

/// A request, and what is expected to become of it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Test")]
pub(crate) struct WrittenTest {
    /// What is tested, as reports name it.
    name: String,
    /// The method and the URL, or a path: `GET /admin/`, `https://shop.example/`. Without a method it is GET.
    request: String,
    /// Headers by name: a value, or a list of values.
    #[serde(default)]
    headers: BTreeMap<String, OneOrMany<String>>,
    /// Cookies by name.
    #[serde(default)]
    cookies: BTreeMap<String, String>,
    /// The size of the body.
    #[serde(default)]
    body_size: Option<Size>,
    /// The peer of the connection: an IP address, or `unix`. By default the client is on this machine.
    #[serde(default)]
    from: Option<String>,
    /// A user name, or name and password with a colon between them, for HTTP Basic.
    #[serde(default)]
    user: Option<String>,
    /// The subject of the client's certificate, for instance `CN=ann,O=Example`.
    #[serde(default)]
    client_cert: Option<String>,
    /// What becomes of the request.
    expect: Expectation,
}

/// What is expected of a request. Every key must hold. Layers and apps are named by their place or their kind, as `ziggurat explain` shows them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Expectation")]
pub(crate) struct Expectation {
    /// The status of the response.
    #[schemars(range(min = 200, max = 599))]
    pub(super) status: Option<u16>,
    /// Headers of the response by name: the value, or `false` for none.
    pub(super) header: BTreeMap<String, OrFalse<String>>,
    /// Where the client is sent: the `Location` of a response with a status of 3xx.
    pub(super) redirect: Option<String>,
    /// The layer that refuses the request, with a status of 4xx or 5xx.
    pub(super) refused_by: Option<String>,
    /// A route that takes the request, by the name that `as` gives it.
    pub(super) route: Option<String>,
    /// The app that answers: its place, its kind, or the entry of `apps`.
    pub(super) app: Option<String>,
    /// Layers that the request meets, in this order. Others may be between them.
    pub(super) layers: OneOrMany<String>,
    /// Layers that the request does not meet.
    pub(super) not_layers: OneOrMany<String>,
}

impl<'de> Deserialize<'de> for FileTest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        WrittenTest::deserialize(deserializer).map(Self::from)
    }
}

impl From<WrittenTest> for FileTest {
    fn from(test: WrittenTest) -> Self {
        let mut question = Question::of_line(&test.request);
        for (name, values) in test.headers {
            question.headers.extend(values.0.into_iter().map(|value| (name.clone(), value)));
        }
        test.cookies.iter().for_each(|(name, value)| question.add_cookie(&format!("{name}={value}")));
        question.body_size = test.body_size.map(|size| size.to_string());
        (question.from, question.user, question.client_cert) = (test.from, test.user, test.client_cert);
        Self { name: test.name, question, expect: test.expect }
    }
}

impl FileTest {
    /// Reports requests that cannot be made, and tests that expect nothing.
    pub(crate) fn validate(&self, findings: &mut Findings) {
        if let Err(refusal) = self.question.check() {
            let (message, hint) =
                refusal.message.split_once("\nhint: ").map_or((refusal.message.as_str(), None), |(message, hint)| (message, Some(hint)));
            let finding = Finding::new(message.to_owned()).at(refusal.option);
            findings.push(match hint {
                Some(hint) => finding.hint(hint.to_owned()),
                None => finding,
            });
        }
        if self.expect.is_empty() {
            let finding = Finding::new(format!("the test `{}` expects nothing", self.name)).at("expect");
            findings.push(finding.hint("write what becomes of the request, as in `{ \"status\": 403 }`"));
        }
    }
}

impl Expectation {
    fn is_empty(&self) -> bool {
        let Self { status, header, redirect, refused_by, route, app, layers, not_layers } = self;
        status.is_none()
            && [redirect, refused_by, route, app].iter().all(|text| text.is_none())
            && header.is_empty()
            && layers.0.is_empty()
            && not_layers.0.is_empty()
    }
}
