//! The built-in layers and apps: one readable list.

use ziggurat_middleware::access::Access;
use ziggurat_middleware::access_log::AccessLog;
use ziggurat_middleware::api_key::ApiKey;
use ziggurat_middleware::basic_auth::BasicAuth;
use ziggurat_middleware::body_limit::BodyLimit;
use ziggurat_middleware::buffer::Buffer;
use ziggurat_middleware::cache::Cache;
use ziggurat_middleware::compress::Compress;
use ziggurat_middleware::cors::Cors;
use ziggurat_middleware::csp_nonce::CspNonce;
use ziggurat_middleware::csrf::Csrf;
use ziggurat_middleware::decompress::Decompress;
use ziggurat_middleware::early_hints::SendEarlyHints;
use ziggurat_middleware::errors::Errors;
use ziggurat_middleware::forward_auth::ForwardAuth;
use ziggurat_middleware::forwarded::Forwarded;
use ziggurat_middleware::headers::Headers;
use ziggurat_middleware::jwt::Jwt;
use ziggurat_middleware::limit::Limit;
use ziggurat_middleware::maintenance::Maintenance;
use ziggurat_middleware::mirror::Mirror;
use ziggurat_middleware::oidc::Oidc;
use ziggurat_middleware::rate_limit::RateLimit;
use ziggurat_middleware::request_id::AssignRequestId;
use ziggurat_middleware::rewrite::Rewrite;
use ziggurat_middleware::security_headers::SecurityHeaders;
use ziggurat_middleware::sendfile::Sendfile;
use ziggurat_middleware::server_timing::ServerTiming;
use ziggurat_middleware::slash::Slash;
use ziggurat_middleware::static_files::Static;
use ziggurat_middleware::timeout::Timeout;
use ziggurat_middleware::wsgi_lint::LintWsgi;

use crate::apps::cgi::Cgi;
use crate::apps::dashboard::Dashboard;
use crate::apps::gateway::{FastCgi, Scgi, Uwsgi};
use crate::apps::metrics::ShowMetrics;
use crate::apps::proxy::Proxy;
use crate::apps::redirect::Redirect;
use crate::apps::respond::Respond;
use crate::pipeline::Registry;
use crate::pipeline::django::Django;

/// Every built-in layer and kind of app. (`routes` is part of the grammar, see [`crate::pipeline`].)
#[must_use]
pub fn builtin() -> Registry {
    Registry::new()
        .layer::<Access>()
        .layer::<AccessLog>()
        .layer::<ApiKey>()
        .layer::<BasicAuth>()
        .layer::<BodyLimit>()
        .layer::<Buffer>()
        .layer::<Cache>()
        .layer::<Compress>()
        .layer::<Cors>()
        .layer::<CspNonce>()
        .layer::<Csrf>()
        .layer::<Decompress>()
        .layer::<SendEarlyHints>()
        .layer::<Errors>()
        .layer::<ForwardAuth>()
        .layer::<Forwarded>()
        .layer::<Headers>()
        .layer::<Jwt>()
        .layer::<Limit>()
        .layer::<Maintenance>()
        .layer::<Mirror>()
        .layer::<Oidc>()
        .layer::<RateLimit>()
        .layer::<AssignRequestId>()
        .layer::<Rewrite>()
        .layer::<SecurityHeaders>()
        .layer::<Sendfile>()
        .layer::<ServerTiming>()
        .layer::<Slash>()
        .layer::<Static>()
        .layer::<Timeout>()
        .layer::<LintWsgi>()
        .composite::<Django>()
        .app::<Cgi>()
        .app::<Dashboard>()
        .app::<FastCgi>()
        .app::<ShowMetrics>()
        .app::<Proxy>()
        .app::<Redirect>()
        .app::<Respond>()
        .app::<Scgi>()
        .app::<Static>()
        .app::<Uwsgi>()
        .wsgi()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use ziggurat_middleware::Behavior;

    use super::*;

    /// The layer that a name means, and what it does.
    fn behavior(name: &str) -> Option<&'static [Behavior]> {
        builtin().layers().iter().find(|kind| kind.name == name).map(|kind| kind.behavior)
    }

    fn read(path: &str) -> String {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
    }

    #[test]
    fn every_layer_says_what_it_does() {
        let silent: Vec<&str> = builtin().layers().iter().filter(|kind| kind.behavior.is_empty()).map(|kind| kind.name).collect();
        assert!(silent.is_empty(), "{silent:?}");
    }

    #[test]
    fn every_layer_has_a_row_in_the_benchmarks() {
        let rows = [
            "middleware/benches/stack/guards.rs",
            "middleware/benches/stack/layers.rs",
            "middleware/benches/stack/login.rs",
            "benches/wsgi.rs",
        ];
        let rows = rows.map(read).concat();
        // A function cannot have the name of a keyword.
        let row = |name: &str| if name == "static" { "fn static_files(".to_owned() } else { format!("fn {name}(") };
        let missing: Vec<&str> = builtin().layers().iter().map(|kind| kind.name).filter(|name| !rows.contains(&row(name))).collect();
        // Only a stack that is timed can have it: `bench/timing.py` measures one.
        assert_eq!(missing, ["server_timing"]);
    }

    #[test]
    fn in_our_own_pipelines_layers_that_need_the_client_stand_below_the_one_that_trusts_proxies() {
        for path in
            ["pipeline.json", "examples/axum-beside-django/pipeline.json", "examples/django/pipeline.json", "examples/django/short.json"]
        {
            let file: serde_json::Value = serde_json::from_str(&read(path)).unwrap();
            let layers = file["layers"].as_array().unwrap().iter().map(|layer| match layer {
                serde_json::Value::Object(layer) => layer.keys().next().unwrap(),
                name => name.as_str().unwrap(),
            });
            let behavior: Vec<_> = layers.map(|name| behavior(name).unwrap()).collect();
            let trusts = behavior.iter().position(|behavior| behavior.contains(&Behavior::TrustsProxies)).unwrap();
            assert!(!behavior[..trusts].iter().any(|behavior| behavior.contains(&Behavior::NeedsConnectionInfo)), "{path}");
        }
    }
}
