//! The layer `{{layer}}` for Ziggurat, and the program that has it.

use ziggurat::prelude::*;

/// Adds the header `{{header}}` to every response.
///
/// These comments are what `layers {{layer}}` prints and what editors show: say what the layer does, and why one would want it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct {{Type}} {
    /// What the header says.
    value: HeaderText,
}

impl Middleware for {{Type}} {
    const NAME: &'static str = "{{layer}}";
    /// `{ "{{layer}}": "hello" }` is short for `{ "{{layer}}": { "value": "hello" } }`.
    const SHORTHAND: Option<&'static str> = Some("value");

    fn layer(self, _: &Context) -> Result<impl IntoStage> {
        let value = HeaderValue::from(self.value);
        let add = async |value, request: Request, next: Next| {
            let mut response = next.run(request).await;
            response.headers_mut().insert("{{header}}", value);
            response
        };
        Ok(from_fn(value, add))
    }
}

/// Ziggurat with the layers of this crate.
pub fn program() -> Ziggurat {
    Ziggurat::new().layer::<{{Type}}>()
}

// The same program as a Python extension, for `pip install .`.
ziggurat::python_module!(_native, program);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_response_has_the_header() {
        let stack = TestStack::of::<{{Type}}>(r#"{ "value": "hello" }"#).over_text("the app");
        let response = stack.get("/").await;
        assert_eq!(response.header("{{header}}"), "hello");
        assert_eq!(response.text(), "the app");
    }

    #[test]
    fn an_option_that_it_does_not_know_is_refused() {
        let refusal = TestStack::refusal::<{{Type}}>(r#"{ "valeu": "hello" }"#);
        assert!(refusal[0].contains("unknown field `valeu`"), "{refusal:?}");
    }
}
