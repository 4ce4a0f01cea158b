//! Answers that take their time: streamed as they come, held back by a slow reader, ended by one that leaves, closed once.

use http::Method;
use http_body_util::BodyExt;
use ziggurat_middleware::{Body, request};

use crate::support::{Site, THREADS, python, run, wait_until};

fn closed(kind: &str) -> usize {
    python("plain", &format!("closed.count({kind:?})"))
}

#[tokio::test(flavor = "multi_thread")]
async fn close_is_called_once_on_whatever_was_returned() {
    for threads in THREADS {
        let site = Site::new("plain:closing", threads);
        for kind in ["plain", "raise", "midway", "bodiless"] {
            let before = closed(kind);
            site.get(&format!("/?{kind}")).await;
            wait_until(kind, || closed(kind) > before);
            site.get("/?other").await;
            assert_eq!(closed(kind), before + 1, "{kind}");
        }
        let before = closed("head");
        site.send(request(Method::HEAD, "/?head", Body::empty())).await;
        wait_until("HEAD", || closed("head") == before + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_client_leaves_is_stopped_and_closed() {
    for threads in THREADS {
        let site = Site::new("plain:closing", threads);
        let before = closed("forever");
        let mut response = site.call(request(Method::GET, "/?forever", Body::empty())).await;
        assert_eq!(response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        assert_eq!(closed("forever"), before);
        drop(response);
        wait_until("it is closed", || closed("forever") == before + 1);
        assert_eq!(site.log(), "", "a client that leaves is no error");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn write_raises_when_the_client_left() {
    for threads in THREADS {
        let site = Site::new("plain:endless_write", threads);
        let before = closed("BrokenPipeError");
        drop(site.call(request(Method::GET, "/", Body::empty())).await);
        wait_until("write() raised", || closed("BrokenPipeError") == before + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_the_app_back() {
    for threads in THREADS {
        for (app, counter) in [("plain:endless", "produced"), ("plain:endless_write", "written")] {
            let site = Site::new(app, threads);
            let mut response = site.call(request(Method::GET, "/", Body::empty())).await;
            let mut read = 0;
            while read < 1_000_000 {
                read += response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap().len();
            }
            // The app goes on until the pipe is full, and no further.
            wait_until("the pipe is full", || python::<usize>("plain", counter) >= read + 3 * 65_536);
            let other = Site::new("plain:hello", threads);
            for _ in 0..20 {
                assert_eq!(other.get("/").await.text(), "hello");
            }
            let made: usize = python("plain", counter);
            assert!(made <= read + 6 * 65_536, "{app} made {made} while {read} were read");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_chunk_goes_out_before_the_next_one_is_made() {
    for threads in THREADS {
        let site = Site::new("plain:gated", threads);
        run("plain", "gate.clear()");
        let mut response = site.call(request(Method::GET, "/", Body::empty())).await;
        assert_eq!(response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "first");
        run("plain", "gate.set()");
        assert_eq!(response.body_mut().collect().await.unwrap().to_bytes(), "second");
    }
}
