//! The built-in layers and apps: one readable list.

use ziggurat_middleware::access_log::AccessLog;
use ziggurat_middleware::basic_auth::BasicAuth;
use ziggurat_middleware::body_limit::BodyLimit;
use ziggurat_middleware::buffer::Buffer;
use ziggurat_middleware::compress::Compress;
use ziggurat_middleware::cors::Cors;
use ziggurat_middleware::errors::Errors;
use ziggurat_middleware::forwarded::Forwarded;
use ziggurat_middleware::headers::Headers;
use ziggurat_middleware::request_id::AssignRequestId;
use ziggurat_middleware::rewrite::Rewrite;
use ziggurat_middleware::security_headers::SecurityHeaders;
use ziggurat_middleware::sendfile::Sendfile;
use ziggurat_middleware::static_files::Static;
use ziggurat_middleware::timeout::Timeout;

use crate::apps::metrics::ShowMetrics;
use crate::apps::redirect::Redirect;
use crate::apps::respond::Respond;
use crate::pipeline::Registry;
use crate::pipeline::django::Django;

/// Every built-in layer and kind of app. (`routes` is part of the grammar, see [`crate::pipeline`].)
#[must_use]
pub fn builtin() -> Registry {
    Registry::new()
        .layer::<AccessLog>()
        .layer::<BasicAuth>()
        .layer::<BodyLimit>()
        .layer::<Buffer>()
        .layer::<Compress>()
        .layer::<Cors>()
        .layer::<Errors>()
        .layer::<Forwarded>()
        .layer::<Headers>()
        .layer::<AssignRequestId>()
        .layer::<Rewrite>()
        .layer::<SecurityHeaders>()
        .layer::<Sendfile>()
        .layer::<Static>()
        .layer::<Timeout>()
        .composite::<Django>()
        .app::<ShowMetrics>()
        .app::<Redirect>()
        .app::<Respond>()
        .app::<Static>()
        .wsgi()
}
