//! Filters and apps of Python that have a native counterpart. They stay as they are: their options and their answers differ.

use super::loader::Target;

/// The last part of an entry point, or of `module:callable`, and what could take its place.
const NATIVE: &[(&[&str], &str)] = &[
    (&["Paste#gzip", "paste.gzipper:make_gzip_middleware"], "`compress`"),
    (&["Paste#translogger", "paste.translogger:make_filter"], "`access_log`"),
    (&["PasteDeploy#prefix", "paste.deploy.config:make_prefix_middleware"], "`forwarded`, and `mount` of a route"),
    (&["Paste#proxy", "Paste#transparent_proxy", "paste.proxy:make_proxy"], "app `proxy`"),
    (&["Paste#static", "paste.urlparser:make_static"], "app `static`"),
    (&["Paste#cgi", "paste.cgiapp:make_cgi_application"], "app `cgi`"),
    (&["Paste#auth_basic", "paste.auth.basic:make_basic"], "`basic_auth`"),
    (&["Paste#grantip", "paste.auth.grantip:make_grantip"], "`access`"),
    (
        &[
            "wsgicors#middleware",
            "wsgicors:make_middleware",
            "oslo.middleware#cors",
            "oslo_middleware:CORS.factory",
            "oslo_middleware.cors:filter_factory",
        ],
        "`cors`",
    ),
    (&["oslo.middleware#request_id", "oslo_middleware:RequestId.factory", "oslo_middleware.request_id:RequestId.factory"], "`request_id`"),
    (
        &[
            "oslo.middleware#sizelimit",
            "oslo_middleware:RequestBodySizeLimiter.factory",
            "oslo_middleware.sizelimit:RequestBodySizeLimiter.factory",
        ],
        "`body_limit`",
    ),
    (
        &[
            "oslo.middleware#http_proxy_to_wsgi",
            "oslo_middleware:HTTPProxyToWSGI.factory",
            "oslo_middleware.http_proxy_to_wsgi:HTTPProxyToWSGI.factory",
        ],
        "`forwarded`",
    ),
    (
        &["oslo.middleware#healthcheck", "oslo_middleware:Healthcheck.app_factory", "oslo_middleware:Healthcheck.factory"],
        "app `respond` of a route",
    ),
    (&["whitenoise", "whitenoise#main"], "`static`"),
];

/// The part of the pipeline file that could take the place of this code.
pub(super) fn native(target: &Target) -> Option<&'static str> {
    let (Target::Egg(name) | Target::Object(name)) = target;
    NATIVE.iter().find(|(names, _)| names.iter().any(|known| known.eq_ignore_ascii_case(name))).map(|(_, native)| *native)
}
