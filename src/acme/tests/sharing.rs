//! Processes that share a store.

use std::fs;

use super::*;

#[tokio::test(start_paused = true)]
async fn two_processes_make_one_order_and_both_serve_its_certificate() {
    let world = World::new();
    let one = world.start(&["a.test"]);
    let other = world.start(&["a.test"]);
    issued(&one, "a.test").await;
    issued(&other, "a.test").await;
    assert_eq!(world.authority.orders(), 1);
    assert_eq!(world.authority.accounts().len(), 1);
    sleep(7 * DAY).await;
    assert_eq!(world.authority.orders(), 2);
    let serial = |manager: &Manager| report(manager, "a.test").serial;
    until("both serve the new one", || serial(&one) == world.serial("a.test") && serial(&other) == world.serial("a.test")).await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_did_not_order_answers_the_challenge() {
    let world = World::new();
    let answers = answers_of(&world.store());
    let bystander = world.start(&["a.test"]);
    bystander.stop().await;
    let asked = bystander.clone();
    world.authority.validate(Arc::new(move |kind, name, token| {
        // The certificate that the other process would show.
        assert!(kind != "tls-alpn-01" || asked.challenge(name).is_some());
        answers(kind, name, token)
    }));
    let manager = world.start(&["a.test"]);
    issued(&manager, "a.test").await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_left_by_a_dead_process_holds_nobody_up_for_long() {
    for content in ["", "00000000000000000007\nhost process 1 0\n"] {
        let world = World::new();
        fs::write(world.folder.path().join("lock"), content).unwrap();
        let begin = Instant::now();
        let manager = world.start(&["a.test"]);
        issued(&manager, "a.test").await;
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
        assert_eq!(world.authority.orders(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_loses_its_lock_gives_the_order_up() {
    let world = World::new();
    world.authority.faults(|faults| faults.slow = u32::MAX);
    let manager = world.start(&["a.test"]);
    until("an order is under way", || world.authority.orders() == 1).await;
    fs::remove_file(world.folder.path().join("lock")).unwrap();
    fs::write(world.folder.path().join("lock"), "another").unwrap();
    let asked = world.authority.requests();
    sleep(Duration::from_secs(20)).await;
    let given_up = world.authority.requests();
    assert!(given_up < asked + 30);
    sleep(Duration::from_secs(200)).await;
    assert_eq!(world.authority.requests(), given_up);
    drop(manager);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_server_waits_for_an_order_and_not_for_ever() {
    let world = World::new();
    world.authority.faults(|faults| faults.slow = 3);
    let manager = world.start(&["a.test"]);
    until("an order is under way", || world.authority.orders() == 1).await;
    manager.stop().await;
    assert!(world.serial("a.test").is_some());
    world.authority.faults(|faults| faults.slow = u32::MAX);
    let manager = world.start(&["b.test"]);
    until("an order is under way", || world.authority.orders() == 2).await;
    let begin = Instant::now();
    manager.stop().await;
    assert!(begin.elapsed() <= Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_does_not_serve_yet_serves_what_there_is_and_writes_nothing() {
    let world = World::new();
    let waiting = world.prepare(world.settings(&["a.test"]));
    sleep(HOUR).await;
    assert_eq!((world.authority.requests(), fs::read_dir(world.folder.path()).unwrap().count()), (0, 0));
    waiting.stop().await;
    let manager = world.start(&["a.test"]);
    issued(&manager, "a.test").await;
    assert!(world.prepare(world.settings(&["a.test"])).certificate("a.test").is_some());
}
