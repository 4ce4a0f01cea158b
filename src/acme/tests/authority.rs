//! An authority in memory that speaks RFC 8555, with faults. It checks nonces, URLs and who asks; Pebble, in `tests/tls`, checks signatures too.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData, SignatureAlgorithm};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tower::service_fn;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use ziggurat_middleware::{Body, BoxError, Client, Request, Response};

use crate::acme::time::Timestamp;

/// Its URL.
pub(super) const DIRECTORY: &str = "https://acme.test/dir";

/// Asks for the answer to a challenge, as the authority would over the network: kind, name, token.
pub(super) type Validate = Arc<dyn Fn(&str, &str, &str) -> Option<String> + Send + Sync>;

/// What goes wrong, until it is changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// Nothing answers.
    pub(super) is_dead: bool,
    /// The next nonces that are refused, at paths that start so.
    pub(super) bad_nonces: (u32, &'static str),
    /// `Retry-After` of a 429 to new orders, in seconds.
    pub(super) order_limit: Option<u64>,
    /// The same to every request.
    pub(super) limit: Option<u64>,
    /// Answers to orders are cut in half.
    pub(super) half_json: bool,
    /// How many questions an order stays `processing` for.
    pub(super) slow: u32,
    /// Orders with `replaces` are refused with this type.
    pub(super) refuses_replacing: Option<&'static str>,
    /// External account bindings are asked for.
    pub(super) wants_binding: bool,
    /// The certificate is for another key.
    pub(super) wrong_key: bool,
    /// An authorization offers these kinds only.
    pub(super) offers: Option<Vec<&'static str>>,
    /// The window of renewal: seconds after now. Without one the directory has no such resource.
    pub(super) window: Option<(i64, i64)>,
}

#[derive(Clone)]
pub(super) struct Authority(Arc<Mutex<State>>);

struct State {
    faults: Faults,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    validate: Validate,
    lifetime: Duration,
    issuer: CertifiedIssuer<'static, KeyPair>,
    nonces: HashSet<String>,
    serial: u64,
    accounts: HashMap<String, Value>,
    orders: HashMap<u64, Order>,
    /// Method and path, in the order of arrival.
    asked: Vec<String>,
}

struct Order {
    name: String,
    status: &'static str,
    error: Option<Value>,
    replaces: Option<String>,
    certificate: Option<String>,
    left: u32,
}

struct CsrKey(Vec<u8>);

impl PublicKeyData for CsrKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// Status, type, detail.
type Refusal = (StatusCode, &'static str, String);

impl Authority {
    pub(super) fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static, validate: Validate) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.use_authority_key_identifier_extension = true;
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self(Arc::new(Mutex::new(State {
            faults: Faults::default(),
            now: Arc::new(now),
            validate,
            lifetime: Duration::from_secs(10 * 24 * 3600),
            issuer,
            nonces: HashSet::new(),
            serial: 0,
            accounts: HashMap::new(),
            orders: HashMap::new(),
            asked: Vec::new(),
        })))
    }

    /// A client that reaches nothing but this authority.
    pub(super) fn client(&self) -> Client {
        let authority = self.clone();
        Client::new(service_fn(move |request: Request| {
            let authority = authority.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let mut state = authority.state();
                state.asked.push(format!("{} {}", parts.method, parts.uri.path()));
                if state.faults.is_dead {
                    return Err(BoxError::from("connection refused"));
                }
                Ok::<Response, BoxError>(state.answer(&parts.method, &parts.uri.to_string(), parts.uri.path(), &body))
            }
        }))
    }

    pub(super) fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.state().faults);
    }

    pub(super) fn lifetime(&self, lifetime: Duration) {
        self.state().lifetime = lifetime;
    }

    pub(super) fn validate(&self, validate: Validate) {
        self.state().validate = validate;
    }

    /// Forgets all accounts, as a restarted Pebble does.
    pub(super) fn forget(&self) {
        self.state().accounts.clear();
    }

    pub(super) fn accounts(&self) -> Vec<Value> {
        self.state().accounts.values().cloned().collect()
    }

    pub(super) fn orders(&self) -> usize {
        self.count("POST /order/new")
    }

    pub(super) fn replaced(&self) -> Vec<Option<String>> {
        let state = self.state();
        let mut orders: Vec<_> = state.orders.iter().collect();
        orders.sort_by_key(|(id, _)| **id);
        orders.into_iter().map(|(_, order)| order.replaces.clone()).collect()
    }

    pub(super) fn requests(&self) -> usize {
        self.state().asked.len()
    }

    pub(super) fn count(&self, start: &str) -> usize {
        self.state().asked.iter().filter(|asked| asked.starts_with(start)).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn answer(&mut self, method: &Method, url: &str, path: &str, body: &[u8]) -> Response {
        if let Some(seconds) = self.faults.limit {
            return self.limited(seconds);
        }
        let mut response = match (method, path) {
            (&Method::GET, "/dir") => self.json(&self.directory()),
            (&Method::GET, path) if path.starts_with("/ari/") => self.window(),
            (&Method::HEAD, "/nonce") => Response::new(Body::empty()),
            (&Method::POST, _) => match self.post(url, path, body) {
                Ok(response) => response,
                Err(refusal) => problem(refusal),
            },
            _ => problem((StatusCode::NOT_FOUND, "malformed", "no such resource".to_owned())),
        };
        self.serial += 1;
        let nonce = format!("nonce-{}", self.serial);
        response.headers_mut().insert("replay-nonce", nonce.parse().unwrap());
        self.nonces.insert(nonce);
        response
    }

    fn directory(&self) -> Value {
        let mut directory = json!({
            "newNonce": "https://acme.test/nonce", "newAccount": "https://acme.test/account/new", "newOrder": "https://acme.test/order/new",
            "revokeCert": "https://acme.test/revoke", "keyChange": "https://acme.test/key",
        });
        if self.faults.window.is_some() {
            directory["renewalInfo"] = json!("https://acme.test/ari");
        }
        directory
    }

    fn window(&self) -> Response {
        let Some((start, end)) = self.faults.window else { return problem((StatusCode::NOT_FOUND, "malformed", "no".to_owned())) };
        let now = i64::try_from((self.now)().0).unwrap();
        let at = |offset: i64| {
            OffsetDateTime::from_unix_timestamp(now + offset).unwrap().format(&time::format_description::well_known::Rfc3339).unwrap()
        };
        let mut response = self.json(&json!({ "suggestedWindow": { "start": at(start), "end": at(end) } }));
        response.headers_mut().insert("retry-after", "21600".parse().unwrap());
        response
    }

    fn post(&mut self, url: &str, path: &str, body: &[u8]) -> Result<Response, Refusal> {
        let malformed = |what: &str| (StatusCode::BAD_REQUEST, "malformed", what.to_owned());
        let jws: Value = serde_json::from_slice(body).map_err(|_| malformed("no JWS"))?;
        let part = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(jws[name].as_str().unwrap_or_default()).unwrap_or_default();
        let protected: Value = serde_json::from_slice(&part("protected")).map_err(|_| malformed("no protected header"))?;
        let payload: Value = serde_json::from_slice(&part("payload")).unwrap_or(Value::Null);
        if protected["url"] != url {
            return Err(malformed("the URL in the header is another one"));
        }
        let is_known = self.nonces.remove(protected["nonce"].as_str().unwrap_or_default());
        if !is_known || self.faults.bad_nonces.0 > 0 && path.starts_with(self.faults.bad_nonces.1) {
            self.faults.bad_nonces.0 = self.faults.bad_nonces.0.saturating_sub(1);
            return Err((StatusCode::BAD_REQUEST, "badNonce", "not this nonce".to_owned()));
        }
        if path == "/account/new" {
            return self.new_account(&payload);
        }
        let account = protected["kid"].as_str().unwrap_or_default().to_owned();
        if !self.accounts.contains_key(&account) {
            return Err((StatusCode::BAD_REQUEST, "accountDoesNotExist", "who is that?".to_owned()));
        }
        let id = path.split('/').nth(2).and_then(|id| id.parse::<u64>().ok());
        match (path.split('/').nth(1), id) {
            (Some("account"), _) => {
                self.accounts.insert(account, payload);
                Ok(self.json(&json!({ "status": "valid" })))
            }
            (Some("order"), None) => self.new_order(&payload),
            (Some("order"), Some(id)) => Ok(self.poll(id)),
            (Some("authorization"), Some(id)) => Ok(self.authorization(id)),
            (Some("challenge"), Some(id)) => Ok(self.challenge(id, path.split('/').nth(3).unwrap_or_default())),
            (Some("finalize"), Some(id)) => self.finalize(id, &payload),
            (Some("certificate"), Some(id)) => Ok(Response::new(Body::from(self.orders[&id].certificate.clone().unwrap()))),
            _ => Err(malformed("no such resource")),
        }
    }

    fn new_account(&mut self, payload: &Value) -> Result<Response, Refusal> {
        if self.faults.wants_binding && payload["externalAccountBinding"].is_null() {
            return Err((StatusCode::FORBIDDEN, "externalAccountRequired", "bind the account first".to_owned()));
        }
        if self.faults.wants_binding {
            return Err((StatusCode::FORBIDDEN, "unauthorized", "this key identifier was used before".to_owned()));
        }
        self.serial += 1;
        let url = format!("https://acme.test/account/{}", self.serial);
        self.accounts.insert(url.clone(), payload.clone());
        let mut response = self.json(&json!({ "status": "valid" }));
        *response.status_mut() = StatusCode::CREATED;
        response.headers_mut().insert("location", url.parse().unwrap());
        Ok(response)
    }

    fn new_order(&mut self, payload: &Value) -> Result<Response, Refusal> {
        if let Some(seconds) = self.faults.order_limit {
            return Ok(self.limited(seconds));
        }
        let replaces = payload["replaces"].as_str().map(str::to_owned);
        if let (Some(_), Some(kind)) = (&replaces, self.faults.refuses_replacing) {
            return Err((StatusCode::CONFLICT, kind, "it cannot replace that".to_owned()));
        }
        self.serial += 1;
        let (id, name) = (self.serial, payload["identifiers"][0]["value"].as_str().unwrap().to_owned());
        let order = Order { name, status: "pending", error: None, replaces, certificate: None, left: self.faults.slow };
        self.orders.insert(id, order);
        let mut response = self.order(id);
        *response.status_mut() = StatusCode::CREATED;
        response.headers_mut().insert("location", format!("https://acme.test/order/{id}").parse().unwrap());
        Ok(response)
    }

    fn poll(&mut self, id: u64) -> Response {
        let order = self.orders.get_mut(&id).unwrap();
        if order.status == "processing" {
            match order.left {
                0 => order.status = "valid",
                _ => order.left -= 1,
            }
        }
        self.order(id)
    }

    fn order(&self, id: u64) -> Response {
        let order = &self.orders[&id];
        let mut shown = json!({
            "status": order.status, "identifiers": [{ "type": "dns", "value": order.name }],
            "authorizations": [format!("https://acme.test/authorization/{id}")], "finalize": format!("https://acme.test/finalize/{id}"),
        });
        for (key, value) in [
            ("error", order.error.clone()),
            ("replaces", order.replaces.clone().map(Value::from)),
            ("certificate", (order.status == "valid").then(|| json!(format!("https://acme.test/certificate/{id}")))),
        ] {
            if let Some(value) = value {
                shown[key] = value;
            }
        }
        let response = self.json(&shown);
        if self.faults.half_json {
            let text = shown.to_string();
            return response.map(|_| Body::from(text[..text.len() / 2].to_owned()));
        }
        response
    }

    fn authorization(&self, id: u64) -> Response {
        let order = &self.orders[&id];
        let status = match order.status {
            "pending" | "invalid" => order.status,
            _ => "valid",
        };
        let offers = self.faults.offers.clone().unwrap_or_else(|| vec!["dns-01", "http-01", "tls-alpn-01"]);
        let challenge = |kind: &str| json!({ "type": kind, "url": format!("https://acme.test/challenge/{id}/{kind}"), "token": format!("token-{id}"), "status": status, "error": order.error });
        let challenges: Vec<Value> = offers.into_iter().map(challenge).collect();
        self.json(&json!({ "identifier": { "type": "dns", "value": order.name }, "status": status, "challenges": challenges }))
    }

    /// Validates at once.
    fn challenge(&mut self, id: u64, kind: &str) -> Response {
        let order = self.orders.get_mut(&id).unwrap();
        let token = format!("token-{id}");
        let answer = (self.validate)(kind, &order.name, &token);
        let is_met = match kind {
            "http-01" => answer.is_some_and(|answer| answer.starts_with(&format!("{token}."))),
            _ => answer.is_some_and(|answer| BASE64_URL_SAFE_NO_PAD.decode(answer).is_ok_and(|digest| digest.len() == 32)),
        };
        if is_met {
            order.status = "ready";
        } else {
            order.status = "invalid";
            order.error =
                Some(json!({ "type": "urn:ietf:params:acme:error:connection", "detail": format!("connection to {} refused", order.name) }));
        }
        self.json(
            &json!({ "type": kind, "url": format!("https://acme.test/challenge/{id}/{kind}"), "token": token, "status": "processing" }),
        )
    }

    fn finalize(&mut self, id: u64, payload: &Value) -> Result<Response, Refusal> {
        let order = &self.orders[&id];
        if order.status != "ready" {
            return Err((StatusCode::FORBIDDEN, "orderNotReady", format!("it is {}", order.status)));
        }
        let csr = BASE64_URL_SAFE_NO_PAD.decode(payload["csr"].as_str().unwrap()).unwrap();
        let (_, csr) = X509CertificationRequest::from_der(&csr).unwrap();
        let own = KeyPair::generate().unwrap();
        let key = match self.faults.wrong_key {
            true => CsrKey(own.public_key_raw().to_vec()),
            false => CsrKey(csr.certification_request_info.subject_pki.subject_public_key.data.to_vec()),
        };
        let mut params = CertificateParams::new(vec![order.name.clone()]).unwrap();
        let now = OffsetDateTime::from_unix_timestamp(i64::try_from((self.now)().0).unwrap()).unwrap();
        params.not_before = now;
        params.not_after = now + self.lifetime;
        params.use_authority_key_identifier_extension = true;
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem() + &self.issuer.pem();
        let order = self.orders.get_mut(&id).unwrap();
        order.status = "processing";
        order.certificate = Some(chain);
        Ok(self.order(id))
    }

    fn json(&self, value: &Value) -> Response {
        Response::new(Body::from(value.to_string()))
    }

    fn limited(&self, seconds: u64) -> Response {
        let mut response = problem((StatusCode::TOO_MANY_REQUESTS, "rateLimited", "too many new orders recently".to_owned()));
        response.headers_mut().insert("retry-after", seconds.to_string().parse().unwrap());
        response
    }
}

fn problem((status, kind, detail): Refusal) -> Response {
    let text = json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail, "status": status.as_u16() }).to_string();
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}
