//! Answers that take their time: streamed as they come, held back by a slow reader, ended by one that leaves, closed once.

use http::Method;
use http_body_util::BodyExt;
use ziggurat_middleware::{Body, request};

use crate::support::{EXECUTORS, SPOOL, Site, wait_until};

fn closed(site: &Site, kind: &str) -> usize {
    site.python("plain", &format!("closed.count({kind:?})"))
}

#[tokio::test(flavor = "multi_thread")]
async fn close_is_called_once_on_whatever_was_returned() {
    for executor in EXECUTORS {
        let site = Site::new("plain:closing", executor);
        for kind in ["plain", "raise", "midway", "bodiless"] {
            let before = closed(&site, kind);
            site.get(&format!("/?{kind}")).await;
            wait_until(kind, || closed(&site, kind) > before);
            site.get("/?other").await;
            assert_eq!(closed(&site, kind), before + 1, "{kind}");
        }
        let before = closed(&site, "head");
        site.send(request(Method::HEAD, "/?head", Body::empty())).await;
        wait_until("HEAD", || closed(&site, "head") == before + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_client_leaves_is_stopped_and_closed() {
    for executor in EXECUTORS {
        let site = Site::new("plain:closing", executor);
        let before = closed(&site, "forever");
        let mut response = site.call(request(Method::GET, "/?forever", Body::empty())).await;
        assert_eq!(response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        assert_eq!(closed(&site, "forever"), before);
        drop(response);
        wait_until("it is closed", || closed(&site, "forever") == before + 1);
        assert_eq!(site.log(), "", "a client that leaves is no error");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn write_raises_when_the_client_left() {
    for executor in EXECUTORS {
        let site = Site::new("plain:endless_write", executor);
        let before = closed(&site, "BrokenPipeError");
        drop(site.call(request(Method::GET, "/", Body::empty())).await);
        wait_until("write() raised", || closed(&site, "BrokenPipeError") == before + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_gets_ahead_of_a_slow_reader_as_far_as_the_spool_has_room() {
    for executor in EXECUTORS {
        for (app, counter) in [("plain:endless", "produced"), ("plain:endless_write", "written")] {
            let site = Site::new(app, executor);
            let mut response = site.call(request(Method::GET, "/", Body::empty())).await;
            let mut read = 0;
            while read < 1_000_000 {
                read += response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap().len();
            }
            // The app goes on until file and pipe are full, and no further.
            wait_until("the pipe is full", || site.python::<usize>("plain", counter) >= read + SPOOL as usize - 4 * 65_536);
            let other = Site::new("plain:hello", executor);
            for _ in 0..20 {
                assert_eq!(other.get("/").await.text(), "hello");
            }
            let made: usize = site.python("plain", counter);
            assert!(made <= read + SPOOL as usize + 10 * 65_536, "{app} made {made} while {read} were read");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_chunk_goes_out_before_the_next_one_is_made() {
    for executor in EXECUTORS {
        let site = Site::new("plain:gated", executor);
        site.run("plain", "gate.clear()");
        let mut response = site.call(request(Method::GET, "/", Body::empty())).await;
        assert_eq!(response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "first");
        site.run("plain", "gate.set()");
        assert_eq!(response.body_mut().collect().await.unwrap().to_bytes(), "second");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_body_is_read_to_its_end_within_a_bound() {
    for executor in EXECUTORS {
        let site = Site::new("plain:with_effects", executor);
        for (method, query, effects) in
            [(Method::HEAD, "", 3), (Method::GET, "empty", 3), (Method::HEAD, "large", 17), (Method::HEAD, "tiny", 1025)]
        {
            site.run("plain", "effects.clear()");
            let answer = site.send(request(method.clone(), &format!("/?{query}"), Body::empty())).await;
            assert_eq!(answer.text(), "");
            wait_until("it is closed", || site.python::<Vec<String>>("plain", "effects").last().is_some_and(|last| last == "closed"));
            assert_eq!(site.python::<usize>("plain", "len(effects)"), effects + 1, "{method} {query} with {executor:?}");
        }
        site.shutdown();
    }
}
