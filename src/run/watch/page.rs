//! The stack of a site that cannot be built. It responds to every request with the error.

use std::convert::Infallible;
use std::fmt::Write;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, VARY};
use http::{HeaderMap, StatusCode};
use tower::service_fn;
use ziggurat_middleware::{Body, IntoApp, Next, Place, Request, Response};

use crate::pipeline::Report;

const FOOTER: &str = "Nothing is served until this is fixed. The page then reloads by itself.";

/// A stack that shows this report.
pub(super) fn stack(report: &Report) -> Next {
    let report = report.render(false);
    let page = Bytes::from(html(&report));
    let text = Bytes::from(format!("{report}\n{FOOTER}\n"));
    let app = service_fn(move |request: Request| {
        let (kind, body) =
            if asks_for_html(request.headers()) { ("text/html; charset=utf-8", &page) } else { ("text/plain; charset=utf-8", &text) };
        let response = response(kind, body.clone());
        async move { Ok::<_, Infallible>(response) }
    });
    app.into_next(&Place::new("watch"))
}

fn response(kind: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"));
    response
}

/// Whether `Accept` names HTML, as that of browsers does. Clients that accept anything, such as curl, get plain text.
fn asks_for_html(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    fields.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html") || kind.eq_ignore_ascii_case("text/*"));
        let weight = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("q"));
        named && weight.is_none_or(|(_, weight)| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
    })
}

fn html(report: &str) -> String {
    let report = escape(report);
    // Browsers reload the page without a script.
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"refresh\" content=\"2\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>This site cannot be built</title>\n\
         <style>:root{{color-scheme:light dark}}body{{font-family:system-ui,sans-serif;margin:2rem}}pre{{overflow-x:auto;line-height:1.4}}</style>\n\
         </head>\n<body>\n<h1>This site cannot be built</h1>\n<pre>{report}</pre>\n<p>{FOOTER}</p>\n</body>\n</html>\n"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' | '\'' => _ = write!(escaped, "&#{};", u32::from(character)),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_cannot_become_markup() {
        let page = html("error: </pre><script>alert('x' & \"y\")</script>");
        assert!(page.contains("&lt;/pre&gt;&lt;script&gt;alert(&#39;x&#39; &amp; &#34;y&#34;)&lt;/script&gt;"), "{page}");
        assert!(!page.contains("<script"));
    }

    #[test]
    fn html_is_sent_to_clients_that_name_it() {
        for (accept, html) in [
            ("text/html,application/xhtml+xml,*/*;q=0.8", true),
            ("text/plain, TEXT/HTML; q=0.5", true),
            ("text/*", true),
            ("*/*", false),
            ("application/json", false),
            ("text/html;q=0", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(asks_for_html(&headers), html, "{accept}");
        }
        assert!(!asks_for_html(&HeaderMap::new()));
    }
}
