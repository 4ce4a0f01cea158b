//! Certificates that are got, kept and renewed.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_first_certificate_is_ordered_and_served_and_nothing_is_left_of_the_challenge() {
    let world = World::new();
    let manager = world.start(&["a.test", "b.test"]);
    issued(&manager, "a.test").await;
    issued(&manager, "b.test").await;
    assert!(manager.certificate("c.test").is_none());
    assert_eq!(world.authority.orders(), 2);
    assert_eq!(world.authority.accounts().len(), 1, "one account for all names");
    assert!(manager.challenge("a.test").is_none());
    let report = report(&manager, "a.test");
    assert_eq!((report.error, report.failures), (None, 0));
    assert!(report.not_after > Some(world.clock.now()));
}

#[tokio::test(start_paused = true)]
async fn a_restart_orders_nothing() {
    let world = World::new();
    let manager = world.start(&["a.test"]);
    issued(&manager, "a.test").await;
    let asked = world.authority.requests();
    for _ in 0..10 {
        manager.stop().await;
        let manager = world.start(&["a.test"]);
        assert!(manager.certificate("a.test").is_some(), "served from the first moment on");
        sleep(Duration::from_secs(5)).await;
        manager.stop().await;
    }
    assert_eq!(world.authority.orders(), 1);
    // Once, whether the directory knows of windows.
    assert!(world.authority.requests() <= asked + 2, "{} after {asked}", world.authority.requests());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_renewed_after_two_thirds_of_its_life_and_replaced_where_it_is_served() {
    let world = World::new();
    let manager = world.start(&["a.test"]);
    issued(&manager, "a.test").await;
    let first = world.serial("a.test");
    sleep(6 * DAY).await;
    assert_eq!(world.authority.orders(), 1);
    sleep(DAY).await;
    assert_eq!(world.authority.orders(), 2);
    assert_ne!(world.serial("a.test"), first);
    until("the new one is served", || Some(report(&manager, "a.test").serial.unwrap()) == world.serial("a.test")).await;
}

#[tokio::test(start_paused = true)]
async fn certificates_of_a_minute_are_renewed_in_time_every_time() {
    let world = World::new();
    world.authority.lifetime(Duration::from_secs(60));
    let manager = world.start(&["a.test"]);
    issued(&manager, "a.test").await;
    for _ in 0..300 {
        sleep(Duration::from_secs(1)).await;
        assert!(report(&manager, "a.test").not_after > Some(world.clock.now()));
    }
    assert!((9..14).contains(&world.authority.orders()), "{}", world.authority.orders());
}

#[tokio::test(start_paused = true)]
async fn the_window_of_the_authority_decides_and_the_old_certificate_is_named_in_the_order() {
    let world = World::new();
    world.authority.faults(|faults| faults.window = Some((10 * 24 * 3600, 11 * 24 * 3600)));
    let manager = world.start(&["a.test"]);
    issued(&manager, "a.test").await;
    // The window moves while time passes: it is far away each time it is asked for.
    sleep(5 * DAY).await;
    assert_eq!(world.authority.orders(), 1);
    world.authority.faults(|faults| faults.window = Some((-1000, -500)));
    sleep(DAY).await;
    // A window in the past: at once, and yet not one after the other.
    let orders = world.authority.orders();
    assert!((2..=25).contains(&orders), "{orders}");
    let replaced = world.authority.replaced();
    assert!(replaced[0].is_none() && replaced[1].is_some(), "{replaced:?}");
    drop(manager);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_may_not_replace_follows_at_once_without() {
    for kind in ["alreadyReplaced", "unauthorized", "malformed", "serverInternal"] {
        let world = World::new();
        world.authority.faults(|faults| faults.window = Some((-1000, -500)));
        world.authority.faults(|faults| faults.refuses_replacing = Some(kind));
        let manager = world.start(&["a.test"]);
        issued(&manager, "a.test").await;
        let first = world.serial("a.test");
        sleep(Duration::from_secs(5400)).await;
        assert_ne!(world.serial("a.test"), first);
        assert_eq!(world.authority.orders(), 3, "{kind}: the first, the one that was refused, the one without");
        assert_eq!(report(&manager, "a.test").error, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_account_is_replaced_and_the_certificate_renewed_while_the_old_one_is_served() {
    let world = World::new();
    let manager = world.start(&["a.test"]);
    issued(&manager, "a.test").await;
    let first = world.serial("a.test");
    world.authority.forget();
    sleep(7 * DAY).await;
    assert_ne!(world.serial("a.test"), first);
    assert_eq!(world.authority.accounts().len(), 1);
    assert_eq!(report(&manager, "a.test").error, None);
    assert_eq!(world.authority.replaced(), [None, None], "what another account ordered is not replaced");
}

#[tokio::test(start_paused = true)]
async fn a_changed_email_is_an_update_of_the_account() {
    let world = World::new();
    let manager = world.start(&["a.test"]);
    issued(&manager, "a.test").await;
    manager.stop().await;
    let settings = AcmeSettings { email: Some("admin@a.test".to_owned()), ..world.settings(&["a.test", "b.test"]) };
    let manager = world.start_with(settings);
    issued(&manager, "b.test").await;
    assert_eq!(world.authority.count("POST /account/new"), 1);
    assert_eq!(world.authority.accounts(), [serde_json::json!({ "contact": ["mailto:admin@a.test"] })]);
}
