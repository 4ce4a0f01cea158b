//! A stack that runs on a thread of another server, as under gunicorn: a small runtime has the sockets, and the thread polls.

use super::support::Upstream;

#[test]
fn a_thread_that_is_not_of_the_runtime_reaches_upstreams() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let upstream = runtime.block_on(Upstream::saying("ok"));
    let entered = runtime.enter();
    let options = format!(r#"{{ "to": "http://localhost:{}", "health": {{ "path": "/" }} }}"#, upstream.address.port());
    let stack = ziggurat::Ziggurat::new().test().pipeline(&format!(r#"{{ "app": {{ "proxy": {options} }} }}"#));
    for _ in 0..3 {
        assert_eq!(pollster::block_on(async { stack.get("/").await }).text(), "ok");
    }
    drop(entered);
    runtime.block_on(stack.lifecycle().retire());
}
