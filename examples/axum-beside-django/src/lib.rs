//! Hot routes in Rust beside a Django site, under the same layers: an axum router that a pipeline names as `{ "live": {} }`.

use axum::extract::Extension;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use ziggurat::prelude::*;

/// What need not wait for Python.
pub fn live() -> Router {
    Router::new().route("/count", post(count)).route("/whoami", get(whoami))
}

/// The size of a text, for a form that shows it with every key.
#[derive(Serialize)]
struct Count {
    words: usize,
    characters: usize,
}

async fn count(text: String) -> Json<Count> {
    Json(Count { words: text.split_whitespace().count(), characters: text.chars().count() })
}

/// What the server and the layers have found out about the request.
#[derive(Serialize)]
struct Whoami {
    client: Option<String>,
    user: Option<String>,
    request_id: String,
}

async fn whoami(
    Extension(connection): Extension<ConnectionInfo>,
    Extension(id): Extension<RequestId>,
    user: Option<Extension<RemoteUser>>,
) -> Json<Whoami> {
    Json(Whoami {
        client: connection.client.map(|address| address.to_string()),
        user: user.map(|Extension(user)| user.user.to_string()),
        request_id: id.as_str().to_owned(),
    })
}

/// Ziggurat with the router.
pub fn program() -> Ziggurat {
    Ziggurat::new().router("live", live())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The stack of `pipeline.json`, with a closure in place of Django.
    fn site() -> TestStack {
        let folder = tempfile::tempdir().unwrap();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipeline.json");
        let test = program().test().env("STATIC_ROOT", folder.path().to_str().unwrap());
        test.wsgi("fieldnotes.wsgi:application", async |request: Request| Response::new(Body::from(format!("Django: {}", request.uri()))))
            .file(file)
    }

    #[tokio::test]
    async fn the_hot_routes_are_answered_by_axum_and_the_others_by_django() {
        let site = site();
        let counted = site.post("/live/count", "They bend, the reeds.").await;
        assert_eq!((counted.header("content-type"), counted.text().as_str()), ("application/json", r#"{"words":4,"characters":21}"#));
        assert_eq!(site.get("/notes/1/").await.text(), "Django: /notes/1/");
        assert_eq!(site.get("/live").await.status(), 404);
        assert_eq!(site.get("/live/count").await.status(), 405);
    }

    #[tokio::test]
    async fn both_stand_under_the_same_layers() {
        let site = site();
        for target in ["/", "/live/whoami"] {
            let response = site.get(target).await;
            assert!(!response.header("x-request-id").is_empty(), "{target}");
            assert_eq!(response.header("x-content-type-options"), "nosniff", "{target}");
        }
    }

    #[tokio::test]
    async fn what_the_layers_found_out_reaches_the_handlers() {
        let known = RemoteUser { user: "ada".into(), auth_type: "Basic".into() };
        let response = site().get("/live/whoami").fact(known).await;
        let id = response.header("x-request-id");
        assert_eq!(response.text(), format!(r#"{{"client":"192.0.2.1","user":"ada","request_id":"{id}"}}"#));
    }
}
