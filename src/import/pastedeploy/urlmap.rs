//! `egg:Paste#urlmap`: apps by the beginning of the path, and by host.

use serde_json::{Map, Value as Json, json};

use super::super::NotImported;
use super::super::remarks::Treatment::{Approximated, Dropped, Taken};
use super::super::value::escaped;
use super::loader::{Factory, Item, Loader, Target};
use super::stack::{Route, Stack};

/// What has the rules of Paste's map.
const URLMAPS: &[&str] = &["Paste#urlmap", "paste#urlmap", "rutter#urlmap"];
const FACTORIES: &[&str] = &["paste.urlmap:urlmap_factory", "rutter.urlmap:urlmap_factory"];

/// Whether this is a map of paths.
pub(super) fn is_urlmap(factory: &Factory) -> bool {
    match &factory.target {
        Target::Egg(name) => URLMAPS.contains(&name.as_str()),
        Target::Object(name) => FACTORIES.contains(&name.as_str()),
    }
}

/// What a line of the map says of requests.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    host: Option<String>,
    port: Option<String>,
    /// Without a slash at its end.
    path: String,
}

/// The routes of a map. Hosts come before all hosts, and long paths before short ones, as Paste sorts them.
pub(super) fn routes(loader: &mut Loader, map: &Factory, is_inside: bool) -> Result<Vec<Route>, NotImported> {
    loader.remarks.once(
        &map.place,
        &map.theirs,
        Approximated,
        "app `routes`, with a `mount` for each path; a path with `//` in it is not changed",
    );
    let mut entries: Vec<(Address, &Item)> = Vec::new();
    let mut not_found = None;
    for item in &map.local {
        if item.name == "not_found_app" {
            not_found = Some(item.clone());
            continue;
        }
        let address =
            Address::parse(&item.name).map_err(|error| NotImported(format!("{}: `{}`: {error}", item.place, super::shown(&item.name))))?;
        let is_same = |known: &Address| known.host == address.host && known.path == address.path;
        if let Some((_, other)) = entries.iter().find(|(known, _)| is_same(known) && known.port != address.port) {
            return Err(NotImported(format!(
                "{}: only the port tells it from {}, and `match.host` does not compare ports\nhint: take one of them out, and import again",
                item.place, other.place
            )));
        }
        if let Some(at) = entries.iter().position(|(known, _)| is_same(known)) {
            let (_, earlier) = entries.remove(at);
            let note = format!("it does not count: {} has the same path", item.place);
            loader.remarks.once(&earlier.place, &format!("{} = {}", earlier.name, earlier.value), Dropped, note);
        }
        entries.push((address, item));
    }
    entries.sort_by_key(|(address, _)| (address.host.clone().unwrap_or("\u{ff}".to_owned()), std::cmp::Reverse(address.path.len())));
    let takes_all = entries.iter().any(|(address, _)| address.host.is_none() && address.path.is_empty());
    let mut routes = Vec::new();
    for (address, item) in entries {
        let theirs = format!("{} = {}", item.name, item.value);
        match (address.path.is_empty(), is_inside) {
            _ if address.port.is_some() => {
                loader.remarks.once(&item.place, &theirs, Approximated, "`match.host`: the port of the Host header is not compared");
            }
            (true, _) if address.host.is_some() => loader.remarks.once(&item.place, &theirs, Taken, "`match.host` of a route"),
            (true, _) => loader.remarks.once(&item.place, &theirs, Taken, "the route of all other paths"),
            (false, true) => loader.remarks.once(&item.place, &theirs, Taken, "`mount` of a route"),
            (false, false) => {
                loader.remarks.once(&item.place, &theirs, Approximated, "`mount` of a route; each app has workers of its own")
            }
        }
        let stack = loader.app_of(map, &item.value, |loader, part| Stack::of(loader, part, is_inside))?;
        routes.push(Route { condition: address.condition(), stack });
    }
    let global = map.global.iter().find(|(name, _)| name == "not_found_app").map(|(_, value)| value.clone());
    match not_found {
        Some(item) if takes_all => {
            loader.remarks.once(&item.place, &format!("not_found_app = {}", item.value), Dropped, "no request reaches it: the map has `/`");
        }
        Some(item) => {
            loader.remarks.once(&item.place, &format!("not_found_app = {}", item.value), Taken, "the route of all other paths");
            routes.push(Route {
                condition: Map::new(),
                stack: loader.app_of(map, &item.value, |loader, part| Stack::of(loader, part, is_inside))?,
            });
        }
        None => {
            if let Some(name) = global.filter(|_| !takes_all) {
                routes.push(Route {
                    condition: Map::new(),
                    stack: loader.app_of(map, &name, |loader, part| Stack::of(loader, part, is_inside))?,
                });
            }
        }
    }
    if routes.is_empty() {
        return Err(NotImported(format!("{}: the map has no path", map.place)));
    }
    Ok(routes)
}

impl Address {
    /// `/path`, `domain example.com /path`, `domain example.com port 8080 /path`.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (mut host, mut port, mut path) = (None, None, None);
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            let (slot, value) = match word {
                "domain" => (&mut host, words.next().ok_or("`domain` is followed by a name")?),
                "port" => (&mut port, words.next().ok_or("`port` is followed by a number")?),
                word => (&mut path, word),
            };
            if slot.replace(value.to_owned()).is_some() {
                return Err("it says the same twice");
            }
        }
        if port.is_some() && host.is_none() {
            return Err("with a `port` there is a `domain`");
        }
        let path = path.unwrap_or_default();
        if !path.is_empty() && !path.starts_with('/') {
            return Err("a path begins with `/`");
        }
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let path = segments.iter().map(|segment| format!("/{segment}")).collect();
        Ok(Self { host: host.map(|host| host.to_ascii_lowercase()), port, path })
    }

    fn condition(self) -> Map<String, Json> {
        let mut condition = Map::new();
        if let Some(host) = self.host {
            condition.insert("match".into(), json!({ "host": escaped(&host) }));
        }
        if !self.path.is_empty() {
            condition.insert("mount".into(), escaped(&self.path).into());
        }
        condition
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_path_and_perhaps_a_host() {
        let address = |host: Option<&str>, port: Option<&str>, path: &str| {
            Ok(Address { host: host.map(str::to_owned), port: port.map(str::to_owned), path: path.to_owned() })
        };
        assert_eq!(Address::parse("/"), address(None, None, ""));
        assert_eq!(Address::parse("//blog/x/"), address(None, None, "/blog/x"));
        assert_eq!(Address::parse("domain A.test"), address(Some("a.test"), None, ""));
        assert_eq!(Address::parse("domain a.test port 8080 /x"), address(Some("a.test"), Some("8080"), "/x"));
        for odd in ["blog", "port 80 /", "domain", "/a /b", "domain a domain b"] {
            assert!(Address::parse(odd).is_err(), "{odd}");
        }
    }
}
