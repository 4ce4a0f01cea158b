//! The service of `fastcgi`, `scgi` and `uwsgi`.

use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{Request as HttpRequest, StatusCode};
use http_body::Body as _;
use percent_encoding::percent_decode_str;
use ziggurat_middleware::{Body, BoxError, Mount, Place, Problem, Request, RequestSummary, Response, hop_by_hop};

use super::options::Params;
use super::script::Scripts;
use crate::apps::upstream_problem;
use crate::cgi::from_request;
use crate::gateway::Variables;
use crate::upstream::gateway::{Gateway, GatewayRequest};
use crate::upstream::{Upstream, UpstreamRequest};

/// Passes requests on.
pub(super) struct GatewayService {
    upstream: Arc<Upstream<Gateway>>,
    params: Params,
    scripts: Option<Scripts>,
    place: Place,
}

/// The protocols begin with the length of the body.
pub(super) fn length_required() -> Problem {
    Problem::new(StatusCode::LENGTH_REQUIRED).detail("a request to this app needs a length")
}

impl GatewayService {
    pub(super) fn new(upstream: Arc<Upstream<Gateway>>, params: Params, scripts: Option<Scripts>, place: Place) -> Self {
        Self { upstream, params, scripts, place }
    }

    pub(super) async fn serve(self: Arc<Self>, request: Request) -> Result<Response, BoxError> {
        let (parts, body) = request.into_parts();
        let stated = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let Some(length) = body.size_hint().exact().or(stated) else {
            return Err(length_required().into());
        };
        // Without a body, there is no length of one (RFC 3875 section 4.1.2). SCGI adds its own.
        let variables = Arc::new(self.variables(&parts, Some(length).filter(|length| *length > 0).or(stated))?);
        let head = |_: &_, has_body: bool| {
            let mut request = HttpRequest::new(());
            *request.method_mut() = parts.method.clone();
            let length = if has_body { length } else { 0 };
            request.extensions_mut().insert(GatewayRequest { variables: Arc::clone(&variables), length });
            if let Some(summary) = RequestSummary::of(&parts.extensions) {
                request.extensions_mut().insert(summary.clone());
            }
            request
        };
        let request = UpstreamRequest { parts: &parts, body, head: &head, expects_continue: false };
        let answer = upstream_problem::send(&self.upstream, &self.place, request).await?;
        let (mut answer, body) = answer.response.into_parts();
        hop_by_hop::remove_all(&mut answer.headers);
        let mut response = Response::new(Body::new(body));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }

    fn variables(&self, parts: &Parts, length: Option<u64>) -> Result<Variables, Problem> {
        let mut variables = Variables::new();
        from_request(parts, length, &mut variables);
        variables.push("GATEWAY_INTERFACE", "CGI/1.1");
        variables.push("SERVER_SOFTWARE", "ziggurat");
        if let Some(scripts) = &self.scripts {
            // This thread asks the file system, as `static` does: it takes less time than to ask another thread.
            let script = scripts.of_path(parts.uri.path())?;
            let mount = parts.extensions.get::<Mount>().map_or("", |mount| &mount.prefix);
            let name = format!("{}{}", percent_decode_str(mount).decode_utf8_lossy(), script.name);
            variables.replace("SCRIPT_NAME", name);
            variables.replace("PATH_INFO", script.path_info);
            variables.replace("SCRIPT_FILENAME", script.file.as_os_str().as_encoded_bytes());
            // PHP's own guard against being called without a server.
            variables.replace("REDIRECT_STATUS", "200");
            variables.replace("DOCUMENT_ROOT", scripts.root().as_os_str().as_encoded_bytes());
        }
        for (name, value) in &self.params {
            variables.replace(name, value);
        }
        Ok(variables)
    }
}
