//! Sessions that end on several machines, which share a store.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use super::issuer::{Browser, Issuer};
use super::{SECRET, log_in};
use crate::oidc::Oidc;
use crate::store::{Store, TestStore};
use crate::{Body, Request, Response, TestStack};

fn machine(issuer: &Issuer, store: &TestStore, change: Value) -> TestStack {
    let mut options =
        json!({ "issuer": "https://id.test", "client_id": "wiki", "client_secret": "s&cret", "secrets": SECRET, "algorithms": "ES256" });
    options.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let store: Arc<dyn Store> = Arc::new(store.clone());
    let app = async |_: Request| Response::new(Body::from("in"));
    TestStack::of::<Oidc>(&options.to_string()).host(issuer.client()).host(store).over(app)
}

async fn log_out(browser: &mut Browser, stack: &TestStack) -> u16 {
    browser.send(stack, Method::POST, "/oidc/logout", &[("origin", "https://wiki.test")]).await.status().as_u16()
}

#[tokio::test(start_paused = true)]
async fn a_logout_on_one_machine_ends_the_session_on_all() {
    let (issuer, store, mut browser) = (Issuer::new(), TestStore::answering(), Browser::default());
    let machines = [machine(&issuer, &store, json!({})), machine(&issuer, &store, json!({}))];
    let apart = machine(&issuer, &store, json!({ "shared": false }));
    assert_eq!(log_in(&mut browser, &machines[0], &issuer, "/").await.status(), 303);
    for machine in machines.iter().chain([&apart]) {
        assert_eq!(browser.get(machine, "/").await.status(), 200);
    }
    let mut copy = Browser(browser.0.clone());
    assert_eq!(log_out(&mut browser, &machines[0]).await, 303);
    for machine in &machines {
        assert_eq!(copy.get(machine, "/").await.status(), 302);
    }
    assert_eq!(Browser(copy.0.clone()).get(&apart, "/").await.status(), 200, "it does not ask the store");
    assert!(store.expiries().iter().all(|time| (24 * 3600 - 5..=24 * 3600).contains(&time.as_secs())), "{:?}", store.expiries());
}

#[tokio::test(start_paused = true)]
async fn without_the_store_the_layer_does_what_its_options_say() {
    for (on_failure, with_session, at_logout) in [("local", 200, 303), ("allow", 200, 303), ("refuse", 503, 503)] {
        let (issuer, store, mut browser) = (Issuer::new(), TestStore::answering(), Browser::default());
        let change = json!({ "on_store_failure": on_failure });
        let (stack, other) = (machine(&issuer, &store, change.clone()), machine(&issuer, &store, change));
        assert_eq!(log_in(&mut browser, &stack, &issuer, "/").await.status(), 303, "{on_failure}");
        let mut copy = Browser(browser.0.clone());
        store.go(true);
        assert_eq!(browser.get(&stack, "/").await.status(), with_session, "{on_failure}");
        assert_eq!(Browser::default().get(&stack, "/").await.status(), 302, "who has no session need not be asked about");
        assert_eq!(log_out(&mut browser, &stack).await, at_logout, "{on_failure}");
        assert_eq!(browser.session().is_some(), at_logout == 503, "{on_failure}: who is not logged out sees that");
        assert_eq!(Browser(copy.0.clone()).get(&stack, "/").await.status(), 302, "{on_failure}: this process knows");
        assert_eq!(Browser(copy.0.clone()).get(&other, "/").await.status(), with_session, "{on_failure}");
        let missed = format!("ziggurat_store_missed_total{{place=\"oidc\",decision=\"{on_failure}\"}} 2");
        assert!(stack.metrics().contains(&missed), "{}", stack.metrics());
        store.go(false);
        if on_failure == "refuse" {
            assert_eq!(log_out(&mut browser, &stack).await, 303, "the logout is repeated");
            assert_eq!(copy.get(&other, "/").await.status(), 302);
        }
    }
}
