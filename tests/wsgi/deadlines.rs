//! Requests whose app does not answer in time: the client hears so, the log shows where the app is, and its thread comes back.

use std::time::{Duration, Instant};

use http::Method;
use ziggurat_middleware::{Body, Deadline, Request, RequestId, request};

use crate::support::{Executor, PATIENCE, Site, folders, wait_until};

/// One thread, so that the next request needs the one that was late.
const ONE_THREAD: [Executor; 2] = [Executor::Workers(1), Executor::Pool(1)];

const DEADLINE: Duration = Duration::from_millis(200);

fn due(target: &str, deadline: Duration) -> Request {
    let mut request = request(Method::GET, target, Body::empty());
    request.extensions_mut().insert(Deadline(deadline));
    request.extensions_mut().insert(RequestId::new("the-late-one".parse().unwrap()).unwrap());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_runs_python_code_is_ended_and_its_thread_serves_the_next_request() {
    for executor in ONE_THREAD {
        let site = Site::new("plain:dawdles", executor);
        let thread = site.get("/").await.text();
        for (kind, function) in [("spins", "in spins"), ("naps", "in naps"), ("swallows", "in swallows")] {
            let asked = Instant::now();
            let answer = site.send(due(&format!("/?{kind}"), DEADLINE)).await;
            assert_eq!((answer.status.as_u16(), answer.text().contains("did not answer in time")), (504, true), "{kind}");
            assert!(asked.elapsed() >= DEADLINE && asked.elapsed() < PATIENCE, "{kind}");
            assert_eq!(site.get("/").await.text(), thread, "{kind}");
            site.wait_for_log(function);
            assert!(site.python::<bool>("plain", &format!("'{kind}' in left")), "{kind}");
        }
        site.wait_for_log("interrupted at the request's deadline");
        assert!(site.log().contains("the-late-one"));
        assert!(!site.log().contains("raised an exception"), "{}", site.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_waits_for_a_lock_is_shown_and_missed() {
    let site = Site::new("plain:dawdles", Executor::Pool(1));
    assert_eq!(site.send(due("/?deadlocks", DEADLINE)).await.status, 504);
    site.wait_for_log("in deadlocks");
    site.wait_for_log("lost to the app");
    site.run("plain", "bolt.release()");
    assert_eq!(site.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_app_returned_is_closed_when_it_is_ended() {
    for executor in ONE_THREAD {
        let site = Site::new("plain:dawdles_in_close", executor);
        assert_eq!(site.send(due("/", DEADLINE)).await.status, 504);
        wait_until("the answer is closed", || site.python("plain", "'close' in left"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exception_never_meets_another_request() {
    for executor in ONE_THREAD {
        let site = Site::new("plain:dozes", executor);
        let mut ended = 0;
        for nth in 0..150 {
            // About when the deadline comes, so that the exception often comes too late.
            let milliseconds = 3.0 + f64::from(nth % 15) / 10.0;
            let answer = site.send(due(&format!("/?{milliseconds}"), Duration::from_millis(3))).await;
            ended += u16::from(answer.status == 504);
            assert_eq!(site.get("/?1").await.text(), "awake");
        }
        assert!(ended > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_a_thread_is_over_its_deadline_too() {
    for executor in ONE_THREAD {
        let site = Site::new("plain:holds", executor);
        let first = site.call(request(Method::GET, "/?before", Body::empty()));
        let second = async {
            assert_eq!(site.send(due("/?never", DEADLINE)).await.status, 504);
            site.run("plain", "events['before'].set()");
        };
        assert_eq!(tokio::join!(first, second).0.status(), 200);
        assert!(!site.python::<bool>("plain", "'never' in events"), "the app never saw it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_that_did_not_come_through_is_taken_back() {
    for executor in ONE_THREAD {
        let site = Site::new("plain:dawdles_in_c", executor);
        assert_eq!(site.send(due("/?late", DEADLINE)).await.status, 504);
        site.wait_for_log("is over its deadline and is ended");
        site.run("plain", "latch.release()");
        assert_eq!(site.get("/").await.text(), "hello");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_holds_the_interpreter_does_not_hold_up_the_client() {
    for executor in ONE_THREAD {
        let site = Site::new("plain:dawdles", executor);
        let asked = Instant::now();
        assert_eq!(site.send(due("/?holds_on", DEADLINE)).await.status, 504);
        assert!(asked.elapsed() < Duration::from_secs(2));
        site.wait_for_log("holds the interpreter");
        assert_eq!(site.get("/").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stacks_of_all_threads_are_shown_on_demand() {
    let site = Site::new("plain:holds", Executor::Pool(2));
    let held = site.call(request(Method::GET, "/?stacks", Body::empty()));
    let shown = async {
        wait_until("the app is called", || site.python("plain", "'stacks' in events"));
        site.stacks();
        site.wait_for_log("in holds");
        site.wait_for_log("is idle");
        site.run("plain", "events['stacks'].set()");
    };
    assert_eq!(tokio::join!(held, shown).0.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_request_is_shown_and_goes_on() {
    let options = serde_json::json!({ "app": "plain:holds", "workers": 0, "threads": 1, "path": folders(), "slow": "50ms" });
    let site = Site::of(options).unwrap();
    let held = site.call(due("/?slow_one", PATIENCE));
    let shown = async {
        while !site.log().contains("in holds") {
            tokio::task::yield_now().await;
        }
        assert!(site.log().contains("the request is slow") && site.log().contains("the-late-one"), "{}", site.log());
        site.run("plain", "events['slow_one'].set()");
    };
    let both = async { tokio::join!(held, shown).0.status() };
    assert_eq!(tokio::time::timeout(PATIENCE, both).await.unwrap(), 200);
}
