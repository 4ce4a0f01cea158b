//! Programs with layers, apps and routers of their own: their files under test, and what their commands say.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use axum::Router;
use axum::extract::Extension;
use axum::routing::{get, post};
use http::StatusCode;
use ziggurat::Ziggurat;
use ziggurat::pipeline::{Pipeline, schema};
use ziggurat::prelude::*;
use ziggurat_middleware::Behavior;

async fn site(request: Request) -> Response {
    Response::new(Body::from(format!("site {}", request.uri())))
}

fn api() -> Router {
    Router::new()
        .route("/notes/{id}", get(async |uri: http::Uri| format!("api {uri}")))
        .route("/client", get(async |Extension(connection): Extension<ConnectionInfo>| connection.client.unwrap().to_string()))
        .route("/echo", post(async |body: String| body))
        .route("/panic", get(async || -> String { panic!("on purpose") }))
}

const BESIDE: &str = r#"{
  "layers": ["request_id", { "body_limit": "4B" }],
  "app": { "routes": [
    { "mount": "/api", "app": { "api": {} } },
    { "app": { "wsgi": { "app": "site:app", "threads": 2 } } }
  ] }
}"#;

#[tokio::test]
async fn a_router_answers_beside_a_wsgi_app_and_under_the_same_layers() {
    let stack = Ziggurat::new().router("api", api()).test().wsgi("site:app", site).pipeline(BESIDE);
    assert_eq!(stack.get("/notes/1").await.text(), "site /notes/1");
    let noted = stack.get("/api/notes/1").await;
    assert_eq!(noted.text(), "api /notes/1");
    assert!(!noted.header("x-request-id").is_empty());
    assert_eq!(stack.get("/api/client").await.text(), "192.0.2.1");
    assert_eq!(stack.get("/api/elsewhere").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(stack.post("/api/echo", "four").await.text(), "four");
    assert_eq!(stack.post("/api/echo", "five!").await.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_handler_that_panics_is_answered_500_with_its_place_in_the_log() {
    let stack = Ziggurat::new().router("api", api()).test().pipeline(r#"{ "app": { "api": {} } }"#);
    assert_eq!(stack.get("/panic").await.status(), 500);
    assert_eq!(stack.log(), ["ERROR request=GET /panic place=api status=500 panicked: on purpose"]);
}

#[test]
fn a_router_is_known_wherever_kinds_of_app_are() {
    let program = || Ziggurat::new().router("api", api()).test().wsgi("site:app", site);
    let misspelt = program().refusal(r#"{ "app": { "apo": {} } }"#);
    assert!(misspelt.contains("did you mean `api`?"), "{misspelt}");
    let optioned = program().refusal(r#"{ "app": { "api": { "workers": 2 } } }"#);
    assert!(optioned.contains("unknown option `workers` for app `api`"), "{optioned}");
    let registry = ziggurat::builtin().router("api", api());
    let written = schema(&registry);
    assert_eq!(written.pointer("/$defs/App/anyOf/1/properties/api/$ref").unwrap(), "#/$defs/ServiceOfTheProgram");
    let kind = registry.apps().iter().find(|kind| kind.name == "api").unwrap();
    assert_eq!(kind.summary(), "Answers with a service that is part of this program, such as an axum router.");
    let shown = Pipeline::from_text("pipeline.json", BESIDE, std::path::Path::new(""), &registry, &|_| None).unwrap().show();
    assert!(shown.contains("├─ mount /api\n  │    api               as api/api\n"), "{shown}");
}

#[test]
fn a_wsgi_app_that_no_closure_stands_in_for_is_named() {
    let said = Ziggurat::new().test().wsgi("site:app", site).refusal(r#"{ "app": { "wsgi": { "app": "shop:app" } } }"#);
    assert!(said.contains("no closure replaces `shop:app`") && said.contains(r#".wsgi("shop:app", "#), "{said}");
    assert!(said.contains("--> pipeline.json:1:"), "{said}");
}

#[tokio::test]
async fn a_layer_stands_in_for_a_python_middleware() {
    let file = r#"{ "layers": [{ "wsgi": "sso:SingleSignOn" }], "app": { "wsgi": "site:app" } }"#;
    let test = || Ziggurat::new().test().wsgi("site:app", site);
    let refuse = from_fn((), async |(), request: Request, next: Next| match request.headers().contains_key("cookie") {
        true => next.run(request).await,
        false => Problem::new(StatusCode::FORBIDDEN).into_response(),
    });
    let stack = test().wsgi_layer("sso:SingleSignOn", refuse).pipeline(file);
    assert_eq!(stack.get("/").await.status(), StatusCode::FORBIDDEN);
    assert_eq!(stack.get("/").header("cookie", "ticket=1").await.text(), "site /");
    let said = test().refusal(file);
    assert!(said.contains("no layer replaces `sso:SingleSignOn`"), "{said}");
}

#[test]
#[should_panic(expected = "--> pipeline.json:1:3")]
fn a_file_with_a_mistake_is_shown_with_the_place() {
    let _ = Ziggurat::new().test().pipeline(r#"{ "ap": { "respond": 204 } }"#);
}

/// Panics where it is built.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Careless {}

impl Middleware for Careless {
    const NAME: &'static str = "careless";

    fn layer(self, _: &Context) -> Result<impl IntoStage> {
        let number: u64 = "seven".parse().expect("a number");
        Ok(around(move |_: &mut Request| {
            Ok(move |mut response: Response| {
                response.headers_mut().insert("x-number", number.into());
                response
            })
        }))
    }
}

#[test]
fn a_panic_while_a_layer_is_built_is_a_finding_at_its_place() {
    let said = Ziggurat::new().layer::<Careless>().test().refusal(r#"{ "layers": [{ "careless": {} }], "app": { "respond": 204 } }"#);
    assert!(said.contains("it panicked: a number: ") && said.contains("--> pipeline.json:1:28"), "{said}");
}

#[test]
fn options_of_a_wsgi_app_are_checked_as_ever() {
    let said = Ziggurat::new().test().wsgi("site:app", site).refusal(r#"{ "app": { "wsgi": { "app": "site:app", "threads": 0 } } }"#);
    assert!(said.contains("without threads, nothing calls the app"), "{said}");
}

#[tokio::test]
async fn a_file_is_built_from_its_own_folder_with_the_variables_of_the_test() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("files")).unwrap();
    std::fs::write(folder.path().join("files/page.txt"), "hello").unwrap();
    let file = folder.path().join("site.jsonc");
    std::fs::write(&file, r#"{ "app": { "static": { "root": "${ROOT}" } } /* here */ }"#).unwrap();
    let stack = Ziggurat::new().test().env("ROOT", "files").file(&file);
    assert_eq!(stack.get("/page.txt").await.text(), "hello");
}

/// Answers with a tunnel.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tunnel {}

impl App for Tunnel {
    const NAME: &'static str = "tunnel";
    const BEHAVIOR: &'static [Behavior] = &[Behavior::Upgrades];

    fn app(self, _: &Context) -> Result<impl IntoApp> {
        Ok(service_fn(async |_: Request| Ok::<_, std::convert::Infallible>(Problem::new(StatusCode::SWITCHING_PROTOCOLS).into_response())))
    }
}

#[test]
fn an_app_that_upgrades_connections_is_refused_below_a_python_layer() {
    let registry = ziggurat::builtin().app::<Tunnel>();
    let check = |file: &str| Pipeline::from_text("pipeline.json", file, std::path::Path::new(""), &registry, &|_| None).map(|_| ());
    let report = check(r#"{ "layers": [{ "wsgi": "sso:Layer" }], "app": { "routes": [{ "app": { "tunnel": {} } }] } }"#).unwrap_err();
    assert_eq!(report.to_json()[0]["id"], "upgrade-below-python");
    assert!(report.render(false).contains("app `tunnel` upgrades connections"), "{report}");
    check(
        r#"{ "app": { "routes": [
        { "match": { "path": "/ws" }, "app": { "tunnel": {} } },
        { "layers": [{ "wsgi": "sso:Layer" }], "app": { "wsgi": "site:app" } }
    ] } }"#,
    )
    .unwrap();
}
