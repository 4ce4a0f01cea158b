//! What a stack under test does itself.

use super::*;
use crate::{Problem, from_fn};

#[tokio::test]
async fn layers_stand_in_the_order_they_are_named_in() {
    let mark = |name: &'static str| {
        from_fn((), move |(), mut request: Request, next: Next| async move {
            request.headers_mut().append("x-way", http::HeaderValue::from_static(name));
            next.run(request).await
        })
    };
    let stack = TestStack::stage(mark("outer")).then_stage(mark("inner")).over(async |request| {
        let way: Vec<_> = request.headers().get_all("x-way").iter().map(|name| name.to_str().unwrap().to_owned()).collect();
        Response::new(Body::from(way.join(" ")))
    });
    assert_eq!(stack.get("/").await.text(), "outer inner");
}

#[tokio::test]
async fn what_a_layer_says_to_the_log_is_heard_and_that_of_other_stacks_is_not() {
    let says = |what: &'static str| {
        TestStack::stage(from_fn((), move |(), request: Request, next: Next| async move {
            tracing::warn!(user = "ada", seen = 2, "{what}");
            tracing::debug!("not by default");
            next.run(request).await
        }))
    };
    let (one, other) = (says("one").over_text(""), says("other").over_text(""));
    one.get("/").await;
    other.get("/").await;
    assert_eq!(one.log(), ["WARN user=ada seen=2 one"]);
    assert_eq!(other.log(), ["WARN user=ada seen=2 other"]);
}

#[tokio::test]
async fn the_cause_of_a_failure_is_in_the_log_with_the_place() {
    let fail = crate::around(|_: &mut Request| Err::<fn(Response) -> Response, _>(Problem::internal("the disk is full")));
    let stack = TestStack::stage(crate::around(|_: &mut Request| Ok(|response| response))).then_stage(fail).over_text("");
    assert_eq!(stack.get("/").await.status(), 500);
    assert_eq!(stack.log(), ["ERROR request=GET / place=test status=500 the disk is full"]);
}

/// Counts seconds until the stack retires.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Clock {}

impl Middleware for Clock {
    const NAME: &'static str = "clock";

    fn layer(self, context: &Context) -> crate::Result<impl IntoStage> {
        context.spawn(async move {
            for second in 1_u64.. {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                tracing::info!(second, "tick");
                assert!(second < 3, "the clock is worn out");
            }
        });
        Ok(crate::around(|_: &mut Request| Ok(|response| response)))
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_run_in_paused_time_and_end_with_the_stack() {
    let stack = TestStack::of::<Clock>("{}").over_text("");
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    stack.shutdown().await;
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    assert_eq!(stack.log(), ["INFO second=1 tick", "INFO second=2 tick"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_is_in_the_log_with_the_place() {
    let stack = TestStack::of::<Clock>("{}").over_text("");
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    stack.shutdown().await;
    assert_eq!(stack.log()[3..], ["ERROR place=clock a background task panicked: the clock is worn out"]);
}
