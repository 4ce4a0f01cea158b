//! Where redirects lead: a request is followed through the file's own listeners, layers and routes, as a browser follows it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;

use http::header::{HOST, HeaderName, HeaderValue, LOCATION};
use http::uri::Uri;
use ziggurat_middleware::path::DecodedPath;
use ziggurat_middleware::{Behavior, Body, ConnectionInfo, Context, Effect, Explain, Explained, Lifecycle, Request, Scheme};

use super::site::{Site, Stage, Way};
use crate::apps::matching::RequestView;
use crate::apps::routes::{Route, Table};
use crate::pipeline::model::{App, Part, Routes};
use crate::server::{Address, Protocol};

/// Browsers give up after so many redirects.
const MOST_REDIRECTS: usize = 20;

/// A bound on the requests that are tried on one way.
const MOST_REQUESTS: usize = 64;

/// A client of nobody's network (RFC 5737).
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Follows redirects through a file.
pub(super) struct Follow<'s, 'a> {
    site: &'s Site<'a>,
    /// By the address of the part, which does not move.
    stages: HashMap<*const Part, &'s Stage<'a>>,
    tables: HashMap<*const Routes, Table<usize>>,
    origins: Vec<Origin>,
    /// Whether a route depends on cookies, so that a second request may take another one.
    has_cookies: bool,
}

/// What the clients of a listener put before the path.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Origin {
    scheme: Scheme,
    /// `None` if it is not known, as with a Unix socket.
    port: Option<u16>,
}

/// A URL.
#[derive(Clone)]
struct Url {
    origin: Origin,
    host: String,
    /// With the query.
    path: String,
}

/// What does not change from one request of a browser to the next.
struct Browser<'a> {
    client: IpAddr,
    headers: Vec<(&'a str, &'a str)>,
}

impl<'s, 'a> Follow<'s, 'a> {
    pub(super) fn new(site: &'s Site<'a>) -> Self {
        let stages = site.stages().map(|stage| (std::ptr::from_ref(stage.part), stage)).collect();
        let listeners = site.file.listen.iter().filter(|entry| entry.listen.protocol == Protocol::Http);
        let mut origins: Vec<Origin> = listeners
            .map(|entry| Origin {
                scheme: if entry.tls.is_some() { Scheme::Https } else { Scheme::Http },
                port: match entry.listen.address {
                    Address::Tcp { port, .. } if port != 0 => Some(port),
                    _ => None,
                },
            })
            .collect();
        if origins.is_empty() {
            origins.push(Origin { scheme: Scheme::Http, port: None });
        }
        let mut conditions = site.ways.iter().flat_map(|way| &way.routes).filter_map(|passed| passed.route.condition.as_ref());
        let has_cookies = conditions.any(|condition| condition.value.asks_for_cookies());
        Self { site, stages, tables: HashMap::new(), origins, has_cookies }
    }

    /// The redirects that send a client round in circles, this one at the end of a way first. `None` if that is not certain.
    pub(super) fn circle(&mut self, way: &Way<'a>) -> Option<Vec<&'s Stage<'a>>> {
        let app = way.stages.last()?;
        let conditions = || way.routes.iter().filter_map(|passed| Some(&passed.route.condition.as_ref()?.value));
        let browser = Browser {
            client: conditions().find_map(|keys| keys.sample_client()).unwrap_or(CLIENT),
            headers: conditions().flat_map(|keys| keys.sample_headers()).collect(),
        };
        // A proxy in front may have ended TLS.
        let in_front = knows_scheme(way).then_some(Origin { scheme: Scheme::Https, port: None });
        let origins: Vec<Origin> = self.origins.iter().copied().chain(in_front).collect();
        let urls = origins.into_iter().flat_map(|origin| {
            let paths = sample_paths(way);
            sample_hosts(way).into_iter().flat_map(move |host| {
                let url = move |path: &String| Url { origin, host: host.clone(), path: path.clone() };
                paths.iter().map(url).collect::<Vec<_>>()
            })
        });
        let urls: Vec<Url> = urls.take(MOST_REQUESTS).collect();
        urls.into_iter().find_map(|url| self.round(url, &browser, app, way))
    }

    /// The redirects that a client meets again and again from this URL on.
    fn round(&mut self, mut url: Url, browser: &Browser<'_>, app: &Stage<'a>, way: &Way<'a>) -> Option<Vec<&'s Stage<'a>>> {
        let mut met = Vec::new();
        for _ in 0..MOST_REDIRECTS {
            let (stage, location) = self.redirect(&url, browser)?;
            met.push(stage);
            url = self.followed(&url, &location, way)?;
        }
        let mut circle: Vec<&Stage<'a>> = Vec::new();
        for stage in met.split_off(MOST_REDIRECTS / 2) {
            if !circle.iter().any(|known| std::ptr::eq(known.part, stage.part)) {
                circle.push(stage);
            }
        }
        let first = circle.iter().position(|stage| std::ptr::eq(stage.part, app.part))?;
        circle.rotate_left(first);
        Some(circle)
    }

    /// The layer or app that redirects this request, and where it redirects it to.
    fn redirect(&mut self, url: &Url, browser: &Browser<'_>) -> Option<(&'s Stage<'a>, String)> {
        let file = self.site.file;
        let (mut request, mut stack) = (url.request(browser)?, &file.stack);
        loop {
            for layer in &stack.layers {
                let stage = *self.stages.get(&std::ptr::from_ref(layer))?;
                let may_set_cookie = stage.has(Behavior::SetsResponseHeaders) || stage.has(Behavior::Authenticates);
                if stage.has(Behavior::RunsPython) || may_set_cookie && self.has_cookies || self.may_serve(stage, &request) {
                    return None;
                }
                if acts(stage) {
                    let explained = self.explained(layer, request)?;
                    if explained.answer.is_some() {
                        return Some((stage, location(&explained)?));
                    }
                    request = explained.request;
                }
            }
            stack = match &stack.app {
                App::Part(app) => {
                    let stage = *self.stages.get(&std::ptr::from_ref(app))?;
                    let is_redirect = stage.effects.iter().any(|effect| matches!(effect, Effect::RedirectsTo(_)));
                    let explained = if is_redirect { self.explained(app, request)? } else { return None };
                    return Some((stage, location(&explained)?));
                }
                App::Named(id, _) => &file.apps[*id].stack,
                App::Routes(routes) => {
                    let table = self.tables.entry(std::ptr::from_ref(routes)).or_insert_with(|| table(routes));
                    let decision = table.decide(&RequestView::new(&request)).ok()?;
                    &routes.routes.get(*decision.enter(&mut request))?.stack
                }
            };
        }
    }

    /// What a layer or an app says of a request.
    fn explained(&self, part: &Part, request: Request) -> Option<Explained> {
        let context = Context::new(&part.place, self.site.base, Lifecycle::default());
        let mut explain = Explain::new(&context, request);
        part.kind.explain(&part.options, self.site.secrets, &mut explain).ok()?;
        Some(explain.finish()).filter(|explained| !explained.is_vague)
    }

    /// Whether there may be a file for this request, so that nothing below gets it.
    fn may_serve(&self, stage: &Stage<'_>, request: &Request) -> bool {
        let path = DecodedPath::new(request.uri().path());
        stage.effects.iter().any(|effect| {
            let Effect::ServesFolder(folder) = effect else { return false };
            let below = path.octets().strip_prefix(folder.at.trim_end_matches('/').as_bytes());
            let Some(below) = below.filter(|below| below.is_empty() || below.starts_with(b"/")) else { return false };
            match self.site.real(&folder.root) {
                Some(root) if !folder.has_fallback => root.join(OsStr::from_bytes(below.strip_prefix(b"/").unwrap_or(below))).exists(),
                _ => true,
            }
        })
    }

    /// The URL that a redirect means, if this file certainly answers it.
    fn followed(&self, from: &Url, location: &str, way: &Way<'a>) -> Option<Url> {
        if location.starts_with('/') {
            return Some(Url { path: location.to_owned(), ..from.clone() });
        }
        let uri: Uri = location.split('#').next()?.parse().ok()?;
        let scheme = match uri.scheme_str()? {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let origin = Origin { scheme, port: Some(uri.port_u16().unwrap_or(scheme.default_port())) };
        let host = uri.host()?;
        let mut named = self.site.ways.iter().flat_map(|way| &way.routes).filter_map(|passed| passed.route.condition.as_ref());
        if !host.eq_ignore_ascii_case(&from.host) && !named.any(|condition| condition.value.names_host(host)) {
            return None;
        }
        // The public port of https need not be the one that is listened on.
        let has_https = || knows_scheme(way) || self.origins.iter().any(|origin| origin.scheme == Scheme::Https);
        let is_own =
            from.origin == origin || self.origins.contains(&origin) || scheme == Scheme::Https && uri.port_u16().is_none() && has_https();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        is_own.then(|| Url { origin, host: host.to_owned(), path: path.to_owned() })
    }
}

impl Url {
    fn request(&self, browser: &Browser<'_>) -> Option<Request> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = self.path.parse().ok()?;
        let port = self.origin.port.filter(|port| *port != self.origin.scheme.default_port());
        let authority = port.map_or_else(|| self.host.clone(), |port| format!("{}:{port}", self.host));
        request.headers_mut().insert(HOST, HeaderValue::try_from(authority).ok()?);
        for (name, value) in &browser.headers {
            request.headers_mut().insert(HeaderName::try_from(*name).ok()?, HeaderValue::try_from(*value).ok()?);
        }
        request.extensions_mut().insert(ConnectionInfo {
            client: Some(browser.client),
            client_port: None,
            scheme: self.origin.scheme,
            server_port: None,
            local: Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.origin.port.unwrap_or_default())),
            is_vetted: false,
        });
        Some(request)
    }
}

/// Whether a layer changes requests, or redirects them, by what it says itself. Who authenticates lets the client through that is asked about.
fn acts(stage: &Stage<'_>) -> bool {
    let changes =
        |effect: &Effect| matches!(effect, Effect::EndsPathsWithSlash(_) | Effect::SetsRequestHeader(_) | Effect::RemovesRequestHeader(_));
    !stage.has(Behavior::Authenticates) && (stage.has(Behavior::RewritesPath) || stage.effects.iter().any(changes))
}

/// Whether a proxy in front says by which scheme clients come.
fn knows_scheme(way: &Way<'_>) -> bool {
    way.stages.iter().any(|stage| stage.has(Behavior::TrustsProxies))
}

fn location(explained: &Explained) -> Option<String> {
    let response = explained.answer.as_ref().filter(|response| response.status().is_redirection())?;
    Some(response.headers().get(LOCATION)?.to_str().ok()?.to_owned())
}

fn table(routes: &Routes) -> Table<usize> {
    let enabled = routes.routes.iter().enumerate().filter(|(_, route)| route.is_enabled());
    let routes = enabled.map(|(nth, route)| Route {
        condition: route.condition.as_ref().map(|condition| condition.value.clone()),
        mount: route.mount.as_ref().map(|mount| mount.value.clone()),
        target: nth,
    });
    Table::new(routes.collect())
}

/// Hosts that the routes of a way ask for; any host, if they ask for none.
fn sample_hosts(way: &Way<'_>) -> Vec<String> {
    let conditions = way.routes.iter().rev().filter_map(|passed| passed.route.condition.as_ref());
    let hosts = conditions.map(|condition| condition.value.sample_hosts().collect::<Vec<_>>()).find(|hosts| !hosts.is_empty());
    hosts.unwrap_or_else(|| vec!["site.example".to_owned()])
}

/// Paths that the routes of a way ask for, with what their mounts take off.
fn sample_paths(way: &Way<'_>) -> Vec<String> {
    let (mut prefix, mut paths) = (String::new(), vec!["/x".to_owned()]);
    for passed in &way.routes {
        let keys = passed.route.condition.as_ref().map(|condition| &condition.value);
        let asked: Vec<String> = keys.into_iter().flat_map(|keys| keys.sample_paths()).map(|path| format!("{prefix}{path}")).collect();
        let has_path = !asked.is_empty();
        if has_path {
            paths = asked;
        }
        if let Some(mount) = &passed.route.mount {
            prefix.push_str(mount.value.as_str());
            if !has_path {
                paths = vec![format!("{prefix}/x")];
            }
        }
    }
    paths
}
