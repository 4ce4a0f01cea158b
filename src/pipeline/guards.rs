//! Who keeps strangers out: layers and routes that not everybody passes.

use ziggurat_middleware::{Behavior, Effect, Effects};

use super::model::{Part, Route};
use crate::apps::matching::Condition;

/// Whether a layer with these effects lets only those pass who say who they are, or whom it names by address.
pub(super) fn asks_who(layer: &Part, effects: &Effects) -> bool {
    let does = |effect: &Effect| effects.iter().any(|own| own == effect);
    layer.kind.has(Behavior::Authenticates) || does(&Effect::AdmitsClients) && !does(&Effect::AdmitsEverybody)
}

/// Whether only some clients come to the route with this number in its table: by its own condition, or because a route before takes all others.
pub(super) fn is_for_some(routes: &[Route], nth: usize) -> bool {
    let Some((route, before)) = routes.get(..=nth).and_then(<[Route]>::split_last) else { return false };
    let takes_strangers = |earlier: &Route| {
        let others = earlier.condition.as_ref().and_then(|condition| condition.value.of_strangers());
        let mount = earlier.mount.as_ref().map(|mount| &mount.value);
        // What can be switched off leaves the route to everybody.
        earlier.is_enabled()
            && earlier.enabled.is_none()
            && others.is_some_and(|others| Condition::new(Some(&others), mount).covers(&route.asked()))
    };
    route.condition.as_ref().is_some_and(|condition| condition.value.asks_who()) || before.iter().any(takes_strangers)
}
