//! Runs the health checks of the endpoints of an upstream.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Upstream;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::health::HealthOptions;
use super::protocol::{Connection, Protocol};
use super::replay::Upload;

/// Runs the checks of every endpoint. It never ends.
pub(super) async fn run<P: Protocol>(upstream: Arc<Upstream<P>>) {
    let mut checks: Vec<(Arc<Endpoint<P>>, JoinSet<()>)> = Vec::new();
    loop {
        let set = upstream.set.load_full();
        checks.retain(|(checked, _)| set.members.iter().any(|member| Arc::ptr_eq(&member.endpoint, checked)));
        for member in &set.members {
            if !checks.iter().any(|(checked, _)| Arc::ptr_eq(&member.endpoint, checked)) {
                let mut task = JoinSet::new();
                match &upstream.settings.health {
                    Some(options) => {
                        member.endpoint.state.health.begin(&options.path);
                        task.spawn(check_again(Arc::clone(&upstream), Arc::clone(&member.endpoint), options.clone()));
                    }
                    None => member.endpoint.state.health.begin(""),
                }
                checks.push((Arc::clone(&member.endpoint), task));
            }
        }
        drop(set);
        upstream.changed.notified().await;
    }
}

async fn check_again<P: Protocol>(upstream: Arc<Upstream<P>>, endpoint: Arc<Endpoint<P>>, options: HealthOptions) {
    let every = options.every.0;
    // The first check is almost immediate. Checks of many endpoints are spread over time.
    let mut pause = every.min(Duration::from_secs(1)).mul_f64(0.2 * fastrand::f64());
    loop {
        sleep(pause).await;
        pause = every.mul_f64(0.9 + 0.2 * fastrand::f64());
        let host = upstream.settings.host.as_ref().unwrap_or(&endpoint.authority);
        let result = match timeout(options.timeout.0, check(&endpoint, &options, host)).await {
            Ok(Ok(status)) if options.is_expected(status) => Ok(()),
            Ok(Ok(status)) => Err(format!("status {}", status.as_u16())),
            // This says nothing about the endpoint.
            Ok(Err(failure)) if !failure.kind.is_held_against_endpoint() => continue,
            Ok(Err(failure)) => Err(failure.to_string()),
            Err(_) => Err(format!("no answer within {}", options.timeout)),
        };
        if result.is_err() {
            endpoint.state.counters.checks_failed.add(1);
        }
        let is_changed = endpoint.state.health.count(result.is_ok(), &options);
        let (app, upstream_label) = (upstream.place.as_str(), &*endpoint.label);
        match result {
            Err(cause) if is_changed => {
                tracing::warn!(app, upstream = upstream_label, "health checks failed: {cause}");
            }
            Ok(()) if is_changed => {
                tracing::info!(app, upstream = upstream_label, "health checks succeeded");
                upstream.state.queue.all();
            }
            _ => {}
        }
    }
}

/// How much of a check's response body is read, so that the server can finish writing it.
const BODY: usize = 64 << 10;

async fn check<P: Protocol>(endpoint: &Endpoint<P>, options: &HealthOptions, host: &HeaderValue) -> Result<StatusCode, Failure> {
    let mut connection = endpoint.pool.open().await?;
    let target = format!("{}{}", endpoint.target.path, options.path);
    let request = Request::get(target)
        .header(HOST, host)
        .header(USER_AGENT, "ziggurat-health-check")
        .body(Upload::empty())
        .map_err(Failure::unreachable)?;
    let (parts, body) = connection.exchange(request, false).await?.into_parts();
    let mut body = http_body_util::Limited::new(body, BODY);
    while let Some(Ok(_)) = body.frame().await {}
    Ok(parts.status)
}
