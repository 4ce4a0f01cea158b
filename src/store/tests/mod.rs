//! The store against a real Redis, and against what is none.

mod broken;
#[path = "../../../tests/black_box/redis_server.rs"]
mod redis_server;
mod tls;

use std::path::Path;
use std::time::Instant;

use redis_server::Redis;
use ziggurat_middleware::Lifecycle;
use ziggurat_middleware::rate_limit::Quota;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

fn context() -> Context {
    Context::new("server.store", Path::new("/"), Lifecycle::default())
}

fn open(setting: serde_json::Value) -> Arc<SharedStore> {
    open_with(setting, &context())
}

fn open_with(setting: serde_json::Value, context: &Context) -> Arc<SharedStore> {
    SharedStore::open(&serde_json::from_value(setting).unwrap(), Path::new("/"), context).unwrap()
}

/// As `open`, with an answer time that a busy machine keeps.
fn patient(redis: &Redis) -> Arc<SharedStore> {
    open(serde_json::json!({ "url": redis.url(), "timeout": "1s", "connect_timeout": "10s" }))
}

fn quota(rate: &str, burst: u64) -> Quota {
    let (requests, unit) = rate.split_once('/').unwrap();
    let seconds = match unit {
        "s" => 1,
        "min" => 60,
        "h" => 3_600,
        _ => 86_400,
    };
    Quota::every(Duration::from_secs(seconds) / requests.parse::<u32>().unwrap(), burst)
}

fn key(name: &str) -> StoreKey {
    StoreKey::new(&Place::new("test"), name)
}

async fn until(store: &SharedStore, state: &str) {
    let since = Instant::now();
    while store.link.figures.status()["state"] != state {
        assert!(since.elapsed() < PATIENCE, "{}", store.link.figures.status());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until the store is down for a reason with this text.
async fn until_down(store: &SharedStore, reason: &str) {
    let since = Instant::now();
    loop {
        let status = store.link.figures.status();
        if status["reason"].as_str().is_some_and(|text| text.contains(reason)) {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{status}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until a decision comes from the store.
async fn take(store: &SharedStore, key: &StoreKey, quota: Quota) -> Verdict {
    let since = Instant::now();
    loop {
        match store.take(key, quota).await {
            Ok(verdict) => return verdict,
            Err(error) => assert!(since.elapsed() < PATIENCE, "{error}: {}", store.link.figures.status()),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn the_script_decides_as_the_algorithm_does() {
    let Some(redis) = Redis::start() else { return };
    let store = patient(&redis);
    until(&store, "up").await;
    // The clock is an argument, and nothing expires by the clock of Redis.
    let text = include_str!("../rate.lua").replace("redis.call('TIME')", "{ARGV[4], ARGV[5]}");
    let text = text.replace(", 'PX', math.ceil(left / 1e6)", "");
    let script = Script::new(text.leak());
    for (nth, quota) in
        [quota("1000000/s", 1), quota("3/s", 7), quota("700000/s", 1_000_000), quota("7/min", 3), quota("1/d", 90)].into_iter().enumerate()
    {
        // Nanoseconds since 1970, and those that are used up.
        let (mut now, mut arrival) = (1_767_225_600_000_000_000_u64, 0_u64);
        let interval = u64::try_from(quota.interval().as_nanos()).unwrap();
        let window = u64::try_from(quota.window().as_nanos()).unwrap();
        let mut allowed = 0;
        for _ in 0..300 {
            now += fastrand::u64(0..interval.max(2_000)) / 1_000 * 1_000;
            let used = arrival.saturating_sub(now).min(window);
            let (seconds, micros) = (now / 1_000_000_000, now % 1_000_000_000 / 1_000);
            let numbers = [interval, window, 1, seconds, micros].map(|number| number.to_string());
            let reply = store.link.ask(script.with(&[format!("model:{nth}")], &numbers)).await.unwrap();
            assert_eq!(reply, Reply::Number(i64::try_from(used).unwrap()), "{quota:?}");
            let verdict = quota.verdict(Duration::from_nanos(used));
            if verdict.is_allowed {
                arrival = now + used + interval;
                allowed += 1;
            }
        }
        assert!(allowed >= 50, "{quota:?}: {allowed}");
    }
}

#[tokio::test]
async fn a_key_is_counted_by_all_and_expires_when_nothing_is_used_up() {
    let Some(redis) = Redis::start() else { return };
    let (one, other) = (patient(&redis), patient(&redis));
    let (key, quota) = (key("k"), quota("2/h", 2));
    assert!(take(&one, &key, quota).await.is_allowed);
    let left = other_verdict(&other, &key, quota).await;
    assert_eq!((left.is_allowed, left.remaining), (true, 0));
    assert!(take(&other, &key, quota).await.is_allowed);
    let refused = take(&one, &key, quota).await;
    assert!(!refused.is_allowed && (1..=1800).contains(&refused.seconds()), "{refused:?}");
    let expires: u64 = redis.ask(&["PTTL", "ziggurat:rate:test:k"]).parse().unwrap();
    assert!((3_500_000..=3_600_000).contains(&expires), "{expires}");
    assert!(take(&one, &StoreKey::new(&Place::new("test"), "other"), quota).await.is_allowed);
}

#[tokio::test]
async fn a_smaller_quota_does_not_punish_for_the_larger_one_before() {
    let Some(redis) = Redis::start() else { return };
    let (store, key) = (patient(&redis), key("k"));
    for is_allowed in [true, true, false] {
        assert_eq!(take(&store, &key, quota("2/h", 2)).await.is_allowed, is_allowed);
    }
    let quota = quota("10/min", 10);
    assert!(!take(&store, &key, quota).await.is_allowed);
    let expires: u64 = redis.ask(&["PTTL", "ziggurat:rate:test:k"]).parse().unwrap();
    assert!((50_000..=60_000).contains(&expires), "{expires}");
    // The next one does not begin the minute again.
    redis.ask(&["PEXPIRE", "ziggurat:rate:test:k", "40000"]);
    assert!(!take(&store, &key, quota).await.is_allowed);
    let expires: u64 = redis.ask(&["PTTL", "ziggurat:rate:test:k"]).parse().unwrap();
    assert!((30_000..=40_000).contains(&expires), "{expires}");
}

async fn other_verdict(store: &SharedStore, key: &StoreKey, quota: Quota) -> Verdict {
    until(store, "up").await;
    store.peek(key, quota).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_together_allow_what_the_rate_says() {
    let Some(redis) = Redis::start() else { return };
    let (key, quota) = (key("k"), quota("200/s", 200));
    let clock = || {
        let time = redis.ask(&["TIME"]);
        let (seconds, micros) = time.split_once('\n').unwrap();
        seconds.parse::<f64>().unwrap() + micros.parse::<f64>().unwrap() / 1e6
    };
    let stores = [patient(&redis), patient(&redis)];
    for store in &stores {
        until(store, "up").await;
    }
    let (begin, since) = (clock(), Instant::now());
    let asking = (0..4).map(|nth| {
        let (store, key) = (Arc::clone(&stores[nth % 2]), key.clone());
        tokio::spawn(async move {
            let mut allowed = 0;
            while since.elapsed() < Duration::from_secs(2) {
                allowed += u32::from(store.take(&key, quota).await.unwrap().is_allowed);
            }
            allowed
        })
    });
    let allowed: u32 = futures_util::future::join_all(asking).await.into_iter().map(Result::unwrap).sum();
    let expected = 200.0 + 200.0 * (clock() - begin);
    assert!((0.98 * expected..=expected + 1.0).contains(&f64::from(allowed)), "{allowed} of {expected}");
}

#[tokio::test]
async fn places_are_given_in_the_order_of_arrival_and_free_when_their_holders_are_dead() {
    let Some(redis) = Redis::start() else { return };
    let store = patient(&redis);
    until(&store, "up").await;
    let (key, bounds) = (key("k"), PlaceBounds { at_most: 2, queue: 2 });
    let enter = |ticket: u64| store.enter(&key, Ticket(ticket), bounds);
    for (ticket, turn) in
        [(1, Turn::UnderWay), (2, Turn::UnderWay), (3, Turn::Waiting(0)), (4, Turn::Waiting(1)), (5, Turn::Refused), (3, Turn::Waiting(0))]
    {
        assert_eq!(enter(ticket).await, Ok(turn), "{ticket}");
    }
    store.leave(&key, Ticket(1));
    assert_eq!(enter(4).await, Ok(Turn::Waiting(1)));
    assert_eq!(enter(3).await, Ok(Turn::UnderWay));
    assert_eq!(enter(5).await, Ok(Turn::Waiting(1)));
    store.leave(&key, Ticket(4));
    assert_eq!(enter(5).await, Ok(Turn::Waiting(0)));
    // As if 30 seconds had passed without a renewal.
    assert_eq!(redis.ask(&["ZADD", "ziggurat:held:test:k", "XX", "1", &Ticket(2).to_string()]), "0");
    assert_eq!(enter(5).await, Ok(Turn::UnderWay));
    store.renew(&key, Ticket(3)).await.unwrap();
    let left: u64 = redis.ask(&["PTTL", "ziggurat:held:test:k"]).parse().unwrap();
    assert!(left > 20_000, "{left}");
    // One that waits and does not ask loses its turn.
    assert_eq!(enter(6).await, Ok(Turn::Waiting(0)));
    redis.ask(&["ZADD", "ziggurat:waiting:test:k", "XX", "1", &Ticket(6).to_string()]);
    assert_eq!(enter(7).await, Ok(Turn::Waiting(0)));
}

#[tokio::test]
async fn values_expire_and_one_of_several_deletes_them() {
    let Some(redis) = Redis::start() else { return };
    let store = patient(&redis);
    until(&store, "up").await;
    let key = key("session");
    assert_eq!(store.get(&key).await, Ok(None));
    let value = Bytes::from(vec![0; MOST_VALUE]);
    store.set(&key, value.clone(), Duration::from_secs(60)).await.unwrap();
    assert_eq!(store.get(&key).await, Ok(Some(value)));
    let left: u64 = redis.ask(&["PTTL", "ziggurat:value:test:session"]).parse().unwrap();
    assert!((1..=60_000).contains(&left), "{left}");
    assert_eq!((store.delete(&key).await, store.delete(&key).await), (Ok(true), Ok(false)));
    assert!(store.set(&key, Bytes::from(vec![0; MOST_VALUE + 1]), Duration::from_secs(1)).await.is_err());
}

#[tokio::test]
async fn scripts_that_redis_has_forgotten_are_sent_again() {
    let Some(mut redis) = Redis::start() else { return };
    let store = patient(&redis);
    let (key, quota) = (key("k"), quota("1/h", 100));
    assert_eq!(take(&store, &key, quota).await.remaining, 99);
    assert_eq!(redis.ask(&["SCRIPT", "FLUSH"]), "OK");
    assert_eq!(store.take(&key, quota).await.unwrap().remaining, 98);
    redis.restart();
    assert_eq!(take(&store, &key, quota).await.remaining, 99);
}

#[tokio::test]
async fn a_store_stays_over_a_reload_and_another_setting_is_another_store() {
    let setting = |prefix: &str| serde_json::json!({ "url": "unix:/nowhere", "prefix": prefix });
    let lifecycle = Lifecycle::default();
    let next = lifecycle.successor();
    let context = |lifecycle: &Lifecycle| Context::new("server.store", Path::new("/"), lifecycle.clone());
    let first = open_with(setting("a:"), &context(&lifecycle));
    assert!(Arc::ptr_eq(&first, &open_with(setting("a:"), &context(&next))));
    assert!(!Arc::ptr_eq(&first, &open_with(setting("b:"), &context(&next))));
    assert_eq!(next.status()[0].1["store"], "unix:/nowhere");
}
