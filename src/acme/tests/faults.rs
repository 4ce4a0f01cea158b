//! What goes wrong: at the directory, in the store, in the process.

use std::fs;

use super::*;
use crate::acme::options::EabOptions;

#[tokio::test(start_paused = true)]
async fn bad_nonces_are_answered_with_good_ones() {
    let paths = ["/account/new", "/order/new", "/order", "/authorization", "/challenge", "/finalize", "/certificate"];
    for bad in [(1, ""), (6, ""), (12, "")].into_iter().chain(paths.map(|path| (12, path))) {
        let world = World::new();
        world.authority.faults(|faults| faults.bad_nonces = bad);
        let manager = world.start(&["a.test"]);
        issued(&manager, "a.test").await;
        assert_eq!(report(&manager, "a.test").error, None, "{bad:?}");
        assert_eq!(world.serial("a.test"), report(&manager, "a.test").serial);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_is_respected_by_all_processes_and_after_restarts() {
    let world = World::new();
    world.authority.faults(|faults| faults.order_limit = Some(3600));
    let first = world.start(&["a.test"]);
    let failure = failed(&first, "a.test").await;
    assert!(failure.error.unwrap().contains("too many new orders"));
    let asked = world.authority.requests();
    let second = world.start(&["a.test"]);
    for _ in 0..5 {
        kill(&first);
        let again = world.start(&["a.test"]);
        sleep(Duration::from_secs(600)).await;
        kill(&again);
    }
    assert_eq!(world.authority.requests(), asked, "nothing before 3600 s are over");
    world.authority.faults(|faults| faults.order_limit = None);
    sleep(HOUR).await;
    issued(&second, "a.test").await;
}

#[tokio::test(start_paused = true)]
async fn a_limited_directory_is_not_asked_for_any_name() {
    let world = World::new();
    world.authority.faults(|faults| faults.limit = Some(7200));
    let manager = world.start(&["a.test", "b.test", "c.test"]);
    assert_eq!(failed(&manager, "c.test").await.failures, 1);
    let asked = world.authority.requests();
    sleep(2 * HOUR - Duration::from_secs(120)).await;
    assert_eq!(world.authority.requests(), asked);
    world.authority.faults(|faults| faults.limit = None);
    sleep(Duration::from_secs(300)).await;
    issued(&manager, "c.test").await;
    assert_eq!(report(&manager, "a.test").error, None);
}

#[tokio::test(start_paused = true)]
async fn a_dead_directory_costs_nothing_but_time_and_is_asked_again_and_again() {
    let world = World::new();
    world.authority.faults(|faults| faults.is_dead = true);
    let manager = world.start(&["a.test", "b.test"]);
    assert!(failed(&manager, "a.test").await.error.unwrap().contains("connection refused"));
    sleep(5 * HOUR).await;
    let asked = world.authority.requests();
    assert!((8..40).contains(&asked), "{asked}");
    world.authority.faults(|faults| faults.is_dead = false);
    sleep(HOUR).await;
    issued(&manager, "b.test").await;
}

#[tokio::test(start_paused = true)]
async fn failed_validations_of_a_name_are_few_and_take_turns_between_challenges_and_do_not_hold_others_up() {
    let world = World::new();
    let kinds = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (seen, answers) = (Arc::clone(&kinds), answers_of(&world.store()));
    world.authority.validate(Arc::new(move |kind, name, token| {
        if name == "a.test" {
            seen.lock().unwrap().push(kind.to_owned());
            return None;
        }
        answers(kind, name, token)
    }));
    let manager = world.start(&["a.test", "b.test"]);
    issued(&manager, "b.test").await;
    let failure = failed(&manager, "a.test").await;
    let error = failure.error.unwrap();
    assert!(error.contains("connection to a.test refused") && error.contains("tls-alpn-01"), "{error}");
    sleep(HOUR).await;
    assert_eq!(kinds.lock().unwrap().join(" "), "tls-alpn-01 http-01 tls-alpn-01", "after 0, 15 and 45 minutes");
    sleep(DAY).await;
    assert!(world.authority.orders() < 12, "{}", world.authority.orders());
    assert!(fs::read_dir(world.folder.path().join("challenges/http-01")).unwrap().next().is_none());
}

#[tokio::test(start_paused = true)]
async fn ten_kills_during_failing_validations_make_one_order() {
    let world = World::new();
    world.authority.validate(Arc::new(|_, _, _| None));
    for milliseconds in [5, 10, 50, 200, 800, 3_000, 3_000, 3_000, 3_000, 3_000] {
        let manager = world.start(&["a.test"]);
        sleep(Duration::from_millis(milliseconds)).await;
        kill(&manager);
    }
    assert!(world.authority.orders() <= 1, "{}", world.authority.orders());
}

#[tokio::test(start_paused = true)]
async fn half_an_answer_is_a_failure_that_is_told_and_not_the_end() {
    let world = World::new();
    world.authority.faults(|faults| faults.half_json = true);
    let manager = world.start(&["a.test"]);
    assert!(failed(&manager, "a.test").await.error.unwrap().contains("no ACME message"));
    world.authority.faults(|faults| faults.half_json = false);
    sleep(HOUR).await;
    issued(&manager, "a.test").await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_order_is_waited_for_and_an_endless_one_is_not() {
    let world = World::new();
    world.authority.faults(|faults| faults.slow = 20);
    let manager = world.start(&["a.test"]);
    issued(&manager, "a.test").await;
    world.authority.faults(|faults| faults.slow = u32::MAX);
    manager.stop().await;
    let manager = world.start(&["b.test"]);
    assert!(failed(&manager, "b.test").await.error.unwrap().contains("within 5 min") || report(&manager, "b.test").failures == 1);
    until("the attempt ends", || report(&manager, "b.test").error.is_some_and(|error| error.contains("within 5 min"))).await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_of_another_key_is_refused_and_the_old_one_goes_on() {
    let world = World::new();
    let manager = world.start(&["a.test"]);
    issued(&manager, "a.test").await;
    let first = world.serial("a.test");
    world.authority.faults(|faults| faults.wrong_key = true);
    sleep(7 * DAY).await;
    assert_eq!(world.serial("a.test"), first);
    assert!(manager.certificate("a.test").is_some());
    let report = report(&manager, "a.test");
    assert!(report.error.unwrap().contains("do not fit") && report.failures >= 1);
}

#[tokio::test(start_paused = true)]
async fn a_binding_that_is_missing_or_refused_is_told_as_such_and_tried_seldom() {
    for (eab, words) in [
        (None, "wants an external account binding"),
        (Some(EabOptions { key_id: "kid-1".to_owned(), mac_key: "AAAA".to_owned() }), "external account binding `kid-1`"),
    ] {
        let world = World::new();
        world.authority.faults(|faults| faults.wants_binding = true);
        let manager = world.start_with(AcmeSettings { eab, ..world.settings(&["a.test"]) });
        let error = failed(&manager, "a.test").await.error.unwrap();
        assert!(error.contains(words), "{error}");
        sleep(DAY).await;
        assert!(world.authority.count("POST /account/new") <= 5);
    }
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_forgets_again_and_again_gets_one_new_account_an_hour() {
    let world = World::new();
    world.authority.lifetime(Duration::from_secs(600));
    let manager = world.start(&["a.test"]);
    issued(&manager, "a.test").await;
    let before = world.authority.count("POST /account/new");
    for _ in 0..60 {
        world.authority.forget();
        sleep(Duration::from_secs(120)).await;
    }
    let made = world.authority.count("POST /account/new") - before;
    assert!(made <= 3, "{made}");
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_offers_no_such_challenge_is_told_with_what_it_offers() {
    let world = World::new();
    world.authority.faults(|faults| faults.offers = Some(vec!["dns-01"]));
    let manager = world.start(&["a.test"]);
    let error = failed(&manager, "a.test").await.error.unwrap();
    assert!(error.contains("tls-alpn-01") && error.contains("Dns01"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_entry_is_set_aside_and_had_anew_while_others_are_served() {
    let world = World::new();
    let manager = world.start(&["a.test", "b.test"]);
    issued(&manager, "b.test").await;
    manager.stop().await;
    let file = world.store().directory(DIRECTORY).certificate_file("a.test");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let manager = world.start(&["a.test", "b.test"]);
    assert!(manager.certificate("a.test").is_none() && manager.certificate("b.test").is_some());
    issued(&manager, "a.test").await;
    assert_eq!(fs::read(file.with_extension("json.damaged")).unwrap(), whole[..whole.len() / 2]);
    assert_eq!(world.authority.orders(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_damaged_is_set_aside_and_another_one_is_registered() {
    let world = World::new();
    let manager = world.start(&["a.test"]);
    issued(&manager, "a.test").await;
    manager.stop().await;
    let folder = world.store().directory(DIRECTORY).certificate_file("a.test");
    let account = folder.ancestors().nth(2).unwrap().join("account.json");
    fs::write(&account, "{}").unwrap();
    let manager = world.start(&["a.test", "b.test"]);
    issued(&manager, "b.test").await;
    assert_eq!(world.authority.count("POST /account/new"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_written_orders_nothing_and_serves_what_it_has() {
    let world = World::new();
    let manager = world.start(&["a.test"]);
    issued(&manager, "a.test").await;
    manager.stop().await;
    let orders = world.authority.orders();
    // A folder in the place of the lock: root may write wherever it likes.
    fs::create_dir(world.folder.path().join("lock")).unwrap();
    let manager = world.start(&["a.test", "b.test"]);
    assert!(manager.certificate("a.test").is_some());
    sleep(HOUR).await;
    assert_eq!(world.authority.orders(), orders);
}
