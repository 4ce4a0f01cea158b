//! A Redis that is stopped, dead, slow, full, read-only, secured, or none.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::UnixListener;

use super::*;
use crate::store::connection::Connection;

fn failures(store: &SharedStore, reason: &str) -> u64 {
    let mut metrics = Metrics::default();
    store.link.figures.scrape(&mut metrics, 0);
    let text = metrics.to_string();
    let mark = format!("reason=\"{reason}\"}} ");
    text.split_once(&mark).unwrap().1.lines().next().unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_as_long_as_the_setting_says_and_the_next_ones_not_at_all() {
    let store = SharedStore::named(&serde_json::from_str(r#""redis://test""#).unwrap(), Path::new("/"));
    // It takes commands, and never answers.
    let (near, _far) = duplex(1 << 20);
    let (connection, run) = Connection::over(near);
    let run = tokio::spawn(run);
    store.link.connected(&connection);
    let since = tokio::time::Instant::now();
    let all = (0..100).map(|nth| store.take(&key(&nth.to_string()), quota("1/s", 1)));
    for error in futures_util::future::join_all(all).await {
        assert_eq!(error.unwrap_err().to_string(), "no answer within 30ms");
    }
    assert_eq!(since.elapsed().as_millis(), 30);
    assert!(store.take(&key("k"), quota("1/s", 1)).await.is_err());
    assert_eq!(since.elapsed().as_millis(), 30);
    assert_eq!((failures(&store, "timeout"), failures(&store, "unreachable")), (100, 1));
    run.abort();
}

#[tokio::test]
async fn one_that_is_stopped_fails_and_is_used_again_when_it_goes_on() {
    let Some(redis) = Redis::start() else { return };
    let store = open(serde_json::json!(redis.url()));
    let (key, quota) = (key("k"), quota("1/h", 1_000_000));
    take(&store, &key, quota).await;
    redis.signal("STOP");
    until_failed(&store, &key, quota).await;
    until_down(&store, "no answer within 30ms").await;
    redis.signal("CONT");
    take(&store, &key, quota).await;
}

async fn until_failed(store: &SharedStore, key: &StoreKey, quota: Quota) {
    while store.take(key, quota).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_that_is_killed_fails_and_a_new_one_is_used() {
    let Some(mut redis) = Redis::start() else { return };
    let store = patient(&redis);
    let (key, quota) = (key("k"), quota("1/h", 10));
    assert_eq!(take(&store, &key, quota).await.remaining, 9);
    redis.kill();
    until(&store, "down").await;
    assert!(store.take(&key, quota).await.is_err());
    redis.restart();
    assert_eq!(take(&store, &key, quota).await.remaining, 9);
}

#[tokio::test]
async fn one_that_is_slow_never_decides() {
    let Some(redis) = Redis::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("slow.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let target = redis.socket();
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let far = tokio::net::UnixStream::connect(&target).await.unwrap();
            let ((mut from, mut to), (mut answers, mut commands)) = (near.into_split(), far.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from, &mut commands).await });
            tokio::spawn(async move {
                let mut octets = [0; 1024];
                while let Ok(read @ 1..) = answers.read(&mut octets).await {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    if to.write_all(&octets[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let store = open(serde_json::json!(format!("unix:{}", socket.display())));
    until_down(&store, "no answer within 30ms").await;
    assert!(store.take(&key("k"), quota("1/s", 1)).await.is_err());
    assert_eq!(redis.ask(&["EXISTS", "ziggurat:rate:test:k"]), "0");
}

#[tokio::test]
async fn a_wrong_password_is_told_without_it_and_the_right_one_lets_in() {
    let Some(redis) = Redis::start() else { return };
    redis.ask(&["ACL", "SETUSER", "ann", "on", ">p@ss w0rd", "~*", "+@all"]);
    redis.ask(&["CONFIG", "SET", "requirepass", "other"]);
    let with = |setting: serde_json::Value| {
        let mut options = serde_json::json!({ "url": redis.url() + "?db=3", "timeout": "1s" });
        options.as_object_mut().unwrap().extend(setting.as_object().unwrap().clone());
        open(options)
    };
    until_down(&with(serde_json::json!({})), "NOAUTH").await;
    let wrong = with(serde_json::json!({ "user": "ann", "password": "s3cr3t" }));
    until_down(&wrong, "WRONGPASS").await;
    assert!(!wrong.link.figures.status().to_string().contains("s3cr3t"));
    let right = with(serde_json::json!({ "user": "ann", "password": "p@ss w0rd" }));
    take(&right, &key("k"), quota("1/h", 1)).await;
    take(&with(serde_json::json!({ "password": "other" })), &key("l"), quota("1/h", 1)).await;
}

#[tokio::test]
async fn an_error_that_repeats_the_password_is_told_without_it() {
    let setting = serde_json::json!({ "url": "unix:/nowhere", "user": "operator", "password": "s3cr3t" });
    let store = SharedStore::named(&serde_json::from_value(setting).unwrap(), Path::new("/"));
    let told = store.link.without_secrets("ERR unknown command 'AUTH', with args beginning with: 'operator' 's3cr3t'\r\n\u{1b}[2J");
    assert_eq!(told, "ERR unknown command 'AUTH', with args beginning with: '***' '***'[2J");
}

#[tokio::test]
async fn one_that_cannot_be_written_is_left_until_it_can() {
    let Some(redis) = Redis::start() else { return };
    let store = patient(&redis);
    let (key, quota) = (key("k"), quota("1/h", 1_000_000));
    for (command, reason, back) in [
        (["CONFIG", "SET", "maxmemory", "1"], "OOM", ["CONFIG", "SET", "maxmemory", "0"]),
        (["REPLICAOF", "127.0.0.1", "1", ""], "READONLY", ["REPLICAOF", "NO", "ONE", ""]),
    ] {
        take(&store, &key, quota).await;
        assert_eq!(redis.ask(&words(&command)), "OK");
        until_failed(&store, &key, quota).await;
        until_down(&store, reason).await;
        assert_eq!(redis.ask(&words(&back)), "OK");
    }
    take(&store, &key, quota).await;
}

fn words<'a>(words: &[&'a str]) -> Vec<&'a str> {
    words.iter().copied().filter(|word| !word.is_empty()).collect()
}

#[tokio::test]
async fn an_entry_of_another_kind_is_an_error_and_no_panic() {
    let Some(redis) = Redis::start() else { return };
    let store = patient(&redis);
    until(&store, "up").await;
    redis.ask(&["LPUSH", "ziggurat:rate:test:list", "1"]);
    redis.ask(&["SET", "ziggurat:rate:test:text", "nonsense"]);
    assert!(store.take(&key("list"), quota("1/h", 1)).await.unwrap_err().to_string().contains("WRONGTYPE"));
    assert!(take(&store, &key("text"), quota("1/h", 1)).await.is_allowed);
}

/// Answers the greeting, and every further command with these octets.
async fn hostile(octets: Vec<u8>) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("sock")).unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let octets = octets.clone();
            tokio::spawn(async move {
                let mut commands = [0; 4096];
                if stream.read(&mut commands).await.is_err() || stream.write_all(b"+OK\r\n").await.is_err() {
                    return;
                }
                while let Ok(1..) = stream.read(&mut commands).await {
                    if stream.write_all(&octets).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let url = format!("unix:{}", folder.path().join("sock").display());
    (folder, url)
}

async fn decides(octets: &[u8]) -> Result<Verdict, StoreError> {
    let (_folder, url) = hostile(octets.to_vec()).await;
    let store = open(serde_json::json!({ "url": url, "timeout": "1s" }));
    until(&store, "up").await;
    let _ = store.enter(&key("k"), Ticket(1), PlaceBounds { at_most: 1, queue: 1 }).await;
    store.take(&key("k"), quota("1/h", 5)).await
}

#[tokio::test]
async fn answers_that_nobody_asked_for_are_none() {
    for octets in [
        &b"+OK\r\n"[..],
        b"$-1\r\n",
        b":-5\r\n",
        b"-NOSCRIPT no\r\n",
        b"-\r\n",
        b"*1\r\n:1\r\n",
        b":1\r\n:1\r\n",
        b":99999999999999999999\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\0",
    ] {
        let verdict = decides(octets).await;
        assert!(verdict.is_err(), "{:?}: {verdict:?}", String::from_utf8_lossy(octets));
    }
    // More is used up than there is.
    assert!(!decides(b":9223372036854775807\r\n").await.unwrap().is_allowed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_octets_are_a_verdict_or_an_error(octets in prop::collection::vec(prop_oneof![Just(b':'), Just(b'1'), Just(b'\r'), Just(b'\n'), Just(b'-'), any::<u8>()], 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_folder, url) = hostile(octets).await;
            let store = open(serde_json::json!({ "url": url, "timeout": "5ms" }));
            for _ in 0..3 {
                let _ = store.take(&key("k"), quota("1/h", 5)).await;
                let _ = store.get(&key("k")).await;
                tokio::task::yield_now().await;
            }
        });
    }
}
