//! What any answer is made of.

use crate::support::{Site, THREADS};

#[tokio::test(flavor = "multi_thread")]
async fn hello_is_one_whole_body_with_its_length() {
    for threads in THREADS {
        let site = Site::new("plain:hello", threads);
        for _ in 0..3 {
            let answer = site.get("/").await;
            assert_eq!((answer.status.as_u16(), answer.text().as_str(), answer.header("content-length")), (200, "hello", "5"));
        }
        site.shutdown();
    }
}
