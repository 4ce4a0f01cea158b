//! The layers and apps that come with Ziggurat: one readable list.

use ziggurat_middleware as layers;

use crate::apps::redirect::Redirect;
use crate::apps::respond::Respond;
use crate::pipeline::Registry;

/// Every built-in layer and kind of app. (`routes` is part of the grammar, see [`crate::pipeline`].)
#[must_use]
pub fn builtin() -> Registry {
    Registry::new().layer::<layers::headers::Headers>().app::<Redirect>().app::<Respond>()
}
