//! `timeout`: bounds the time until a response begins.

use std::pin::pin;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::timeout;

use crate::units::Duration;
use crate::{
    Behavior, Context, EarlyAnswer, Effect, Effects, Explain, Finding, Findings, IntoStage, Middleware, Next, Problem, Request, from_fn,
};

/// Answers `504 Gateway Timeout` if no response begins in time.
///
/// The time runs from when the request reaches this layer until the head of the response. It includes the wait of the app for a slow upload. A response that has begun is
/// not cut, so downloads and event streams may last.
///
/// At the timeout, the request is dropped in all layers below. A Python call that runs goes on to its end; its result is discarded. To end the call, use the `deadline` of
/// the `wsgi` app.
///
/// Place it above everything that may be slow. An `access_log` above or below it logs the 504.
///
/// ```json
/// { "layers": ["access_log", { "timeout": "30s" }], "app": { "wsgi": "hello:app" } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeout {
    /// The longest time until the response begins. Raise it for apps that answer slowly.
    after: Duration,
}

impl Default for Timeout {
    fn default() -> Self {
        Self { after: Duration::secs(30) }
    }
}

impl Middleware for Timeout {
    const NAME: &'static str = "timeout";
    const SHORTHAND: Option<&'static str> = Some("after");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::BoundsTime];

    fn validate(&self, findings: &mut Findings) {
        if self.after.0.is_zero() {
            let finding = Finding::new("no response can begin within `0s`").at("after");
            findings.push(finding.hint("write a longer time, as in `\"30s\"`, or remove the layer"));
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        explain.may_answer(StatusCode::GATEWAY_TIMEOUT, format!("if no response begins within {}", self.after));
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.by("after", Effect::AnswersWithin(self.after.0));
    }

    fn layer(self, _: &Context) -> Result<impl IntoStage, Finding> {
        Ok(from_fn(self.after, async |after: Duration, mut request: Request, next: Next| {
            let early = request.extensions().get::<EarlyAnswer>().cloned().unwrap_or_default();
            request.extensions_mut().insert(early.clone());
            let mut response = pin!(next.run(request));
            match timeout(after.0, response.as_mut()).await {
                Ok(response) => response,
                Err(_) => {
                    early.set(StatusCode::GATEWAY_TIMEOUT);
                    let problem = Problem::new(StatusCode::GATEWAY_TIMEOUT).detail("the response took too long");
                    problem.because(format!("no response within {after}")).into_response()
                }
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::time;

    use bytes::Bytes;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tokio::time::sleep;

    use super::*;
    use crate::{Body, BoxError, Response, TestStack};

    fn slow(options: &str, millis: u64) -> TestStack {
        TestStack::of::<Timeout>(options).over(move |_: Request| async move {
            sleep(time::Duration::from_millis(millis)).await;
            Response::new(Body::from("done"))
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_in_time_passes_and_a_late_one_is_a_504() {
        assert_eq!(slow(r#""100ms""#, 99).get("/").await.text(), "done");
        let late = slow(r#""100ms""#, 101).get("/").await;
        assert_eq!(late.status(), StatusCode::GATEWAY_TIMEOUT);
        assert!(late.text().contains("the response took too long"), "{}", late.text());
    }

    #[tokio::test(start_paused = true)]
    async fn thirty_seconds_are_given_by_default() {
        assert_eq!(slow("{}", 29_999).get("/").await.status(), StatusCode::OK);
        assert_eq!(slow("{}", 30_001).get("/").await.status(), StatusCode::GATEWAY_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_has_begun_is_never_cut() {
        let stack = TestStack::of::<Timeout>(r#"{"after": "1s"}"#).over(async |_| {
            Response::new(Body::new(StreamBody::new(stream::unfold(0, |n| async move {
                sleep(time::Duration::from_secs(10)).await;
                (n < 3).then(|| (Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"tick "))), n + 1))
            }))))
        });
        assert_eq!(stack.get("/").await.text(), "tick tick tick ");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_below_is_dropped_at_the_time_out() {
        let (gone, left) = tokio::sync::oneshot::channel::<()>();
        let gone = std::sync::Arc::new(std::sync::Mutex::new(Some(gone)));
        let stack = TestStack::of::<Timeout>(r#""1s""#).over(move |_| {
            let gone = gone.lock().unwrap().take();
            async move {
                sleep(time::Duration::from_secs(60)).await;
                drop(gone);
                Response::new(Body::empty())
            }
        });
        let started = tokio::time::Instant::now();
        assert_eq!(stack.get("/").await.status(), StatusCode::GATEWAY_TIMEOUT);
        assert!(left.await.is_err());
        assert_eq!(started.elapsed().as_secs(), 1);
    }

    #[test]
    fn no_time_at_all_is_refused() {
        assert_eq!(
            TestStack::refusal::<Timeout>(r#""0s""#),
            ["no response can begin within `0s` (hint: write a longer time, as in `\"30s\"`, or remove the layer)"]
        );
    }
}
