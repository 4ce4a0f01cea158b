//! Which of many conditions may hold for a request, by the host and the path that they name.
//!
//! An index decides nothing: it leaves out conditions whose host or path cannot hold, and the others are tested as they are without it.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashMap};

use super::host::{Host, HostOf};
use super::path::{Path, Rest, Segment};
use super::tree::Tree;
use super::{Match, Prefix, RequestView};

/// Conditions by host and path. It grows with the number of hosts and paths that they name.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Which groups a host belongs to. A name is read from its end: `com`, `example`, `www`.
    hosts: Tree,
    /// The paths of the conditions that name the same hosts.
    groups: Vec<Tree>,
    /// The paths of those that name none.
    any_host: Tree,
}

impl Index {
    /// Of conditions in their order, each with the prefix of its mount.
    pub(crate) fn new<'a>(conditions: impl Iterator<Item = (Option<&'a Match>, Option<&'a Prefix>)>) -> Self {
        let mut index = Self::default();
        let mut known = HashMap::<&[Host], u32>::new();
        for (number, (keys, mount)) in (0..).zip(conditions) {
            let group = match keys.and_then(|keys| keys.host.as_ref()) {
                None => Some(&mut index.any_host),
                Some(hosts) => {
                    let next = u32::try_from(index.groups.len()).unwrap_or(u32::MAX);
                    let group = *known.entry(&hosts.0).or_insert_with(|| {
                        hosts.0.iter().for_each(|host| add_host(&mut index.hosts, host, next));
                        index.groups.push(Tree::default());
                        next
                    });
                    index.groups.get_mut(group as usize)
                }
            };
            let Some(group) = group else { continue };
            match (keys.and_then(|keys| keys.path.as_ref()), mount) {
                (Some(paths), _) => paths.0.iter().for_each(|path| add_path(group, path, number)),
                (None, Some(mount)) => add_path(group, &mount.into(), number),
                (None, None) => group.insert([].into_iter(), true, number),
            }
        }
        index
    }

    /// The numbers of the conditions that may hold, in their order.
    pub(crate) fn candidates<'i>(&'i self, request: &RequestView<'_>) -> Candidates<'i> {
        let path = request.path().octets();
        let segments = path.strip_prefix(b"/").into_iter().flat_map(|path| path.split(|octet| *octet == b'/')).map(Some);
        let mut lists = BinaryHeap::new();
        let mut in_group = |group: &'i Tree| group.walk(segments.clone(), &mut |list| lists.push(Reverse(list)));
        in_group(&self.any_host);
        if let Some(host) = request.host().filter(|_| !self.groups.is_empty()) {
            self.of_host(host, in_group);
        }
        Candidates { lists, last: None }
    }

    /// The numbers of the conditions that may cover this one, with the prefix of its mount, in their order.
    pub(crate) fn covering<'i>(&'i self, keys: Option<&Match>, mount: Option<&Prefix>) -> Candidates<'i> {
        // One of several hosts is enough, and one of several paths: each has to be covered.
        let host = keys.and_then(|keys| keys.host.as_ref()?.0.first());
        let path = keys.and_then(|keys| keys.paths().first());
        let mount = mount.map(Path::from);
        // Another one may cover its path, or its mount.
        let paths = [path, mount.as_ref()].map(|path| path.map_or(&[][..], Path::segments));
        let mut lists = BinaryHeap::new();
        let mut in_group = |group: &'i Tree| {
            paths.iter().for_each(|path| group.walk(path.iter().map(Segment::literal), &mut |list| lists.push(Reverse(list))));
        };
        in_group(&self.any_host);
        match host {
            None => {}
            Some(Host::Exact(name)) => self.of_host(HostOf::Name(name), in_group),
            Some(Host::Below(suffix)) => self.of_host(HostOf::Name(suffix.strip_prefix('.').unwrap_or(suffix)), in_group),
            Some(Host::Address(address)) => self.of_host(HostOf::Address(*address), in_group),
        }
        Candidates { lists, last: None }
    }

    /// The groups that a host may belong to.
    fn of_host<'i>(&'i self, host: HostOf<'_>, mut each: impl FnMut(&'i Tree)) {
        let mut in_groups = |groups: &'i [u32]| groups.iter().filter_map(|group| self.groups.get(*group as usize)).for_each(&mut each);
        match host {
            HostOf::Name(name) => {
                let name = match name.bytes().any(|octet| octet.is_ascii_uppercase()) {
                    true => Cow::Owned(name.to_ascii_lowercase()),
                    false => Cow::Borrowed(name),
                };
                self.hosts.walk(labels(&name), &mut in_groups);
            }
            HostOf::Address(address) => self.hosts.walk([Some(&address.octets()[..])].into_iter(), &mut in_groups),
        }
    }
}

/// Numbers out of sorted lists, in their order, and each once.
#[derive(Debug)]
pub(crate) struct Candidates<'i> {
    lists: BinaryHeap<Reverse<&'i [u32]>>,
    last: Option<u32>,
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        loop {
            // Slices are compared by their first element, so the list with the lowest number is on top.
            let mut list = self.lists.peek_mut()?;
            let (first, rest) = list.0.split_first()?;
            if rest.is_empty() {
                PeekMut::pop(list);
            } else {
                list.0 = rest;
            }
            if self.last != Some(*first) {
                self.last = Some(*first);
                return usize::try_from(*first).ok();
            }
        }
    }
}

/// A name from its end.
fn labels(name: &str) -> impl Iterator<Item = Option<&[u8]>> + Clone {
    name.rsplit('.').map(|label| Some(label.as_bytes()))
}

fn add_host(hosts: &mut Tree, host: &Host, group: u32) {
    match host {
        Host::Exact(name) => hosts.insert(labels(name), false, group),
        Host::Below(suffix) => hosts.insert(labels(suffix.strip_prefix('.').unwrap_or(suffix)), true, group),
        Host::Address(address) => hosts.insert([Some(&address.octets()[..])].into_iter(), false, group),
    }
}

fn add_path(paths: &mut Tree, path: &Path, number: u32) {
    let is_open = !matches!(path, Path::Segments { rest: Rest::None, .. });
    paths.insert(path.segments().iter().map(Segment::literal), is_open, number);
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use ziggurat_middleware::{Body, Request, request};

    use super::*;
    use crate::apps::matching::Condition;

    fn hosts() -> impl Strategy<Value = Value> {
        let host = prop_oneof![
            "(\\*\\.)?(([ab]|A|xn--a)\\.){0,3}(b|example|EXAMPLE)\\.?".prop_filter("a host", |text| text.parse::<Host>().is_ok()),
            proptest::sample::select(&["*.a..b", "a..b", "*.b.", "::1", "[::2]", "127.0.0.1", "*.0.0.1"][..]).prop_map(str::to_owned),
        ];
        proptest::collection::vec(host, 1..4).prop_map(Value::from)
    }

    fn paths() -> impl Strategy<Value = Value> {
        let path = prop_oneof![
            6 => "(/([abc]|\\{x\\}|\\{y\\})){0,3}(/|/\\*|/\\{z\\*\\})?".prop_filter_map("a path", |text| text.parse::<Path>().is_ok().then(|| json!(text))),
            1 => (30_usize..36, "(/\\*)?").prop_map(|(depth, rest)| json!(format!("{}{rest}", "/a".repeat(depth)))),
            1 => proptest::sample::select(&["/a.*", ".*", "\\*", "/[ab]/", "/(?s-u:.)"][..]).prop_map(|regex| json!({ "regex": regex })),
        ];
        proptest::collection::vec(path, 1..4).prop_map(Value::from)
    }

    type Written = (Option<Value>, Option<Value>, bool, Option<&'static str>);

    fn condition((host, path, is_post, mount): &Written) -> (Match, Option<Prefix>) {
        let mut keys = json!({});
        let method = is_post.then(|| json!("POST"));
        for (name, value) in [("host", host), ("path", path), ("method", &method)] {
            value.iter().for_each(|value| keys[name] = (*value).clone());
        }
        (serde_json::from_value(keys).unwrap(), mount.map(|mount| mount.parse().unwrap()))
    }

    fn written() -> impl Strategy<Value = Written> {
        use proptest::option::{of, weighted};
        (weighted(0.6, hosts()), weighted(0.8, paths()), any::<bool>(), of(proptest::sample::select(&["/a", "/a/b", "/c"][..])))
    }

    fn requests() -> impl Strategy<Value = Request> {
        let path = prop_oneof![
            4 => "(/|/[abcd]|/%6[123]|%2[fF]|%2f%61|/%|/%zz|/%ff|/%2e|a|/A){0,5}",
            1 => Just("*".to_owned()),
            1 => (30_usize..36, "(/|/b)?").prop_map(|(depth, rest)| format!("{}{rest}", "/a".repeat(depth))),
        ];
        let host = prop_oneof![
            4 => "(([abAB]|XN--A|xn--a|\\.)\\.){0,4}(b|example|eXample)\\.{0,2}(:|:8000)?",
            1 => proptest::sample::select(&["", "[::1]", "[0:0::1]:80", "[::2].", "::1", "127.0.0.1:80", "1.127.0.0.1", ".b", "[", "x/y.b", "é.b", "a b"][..]).prop_map(str::to_owned),
        ];
        (path, host, any::<[bool; 2]>()).prop_filter_map("a request", |(path, host, [is_post, is_absolute])| {
            let rooted = if path.starts_with('/') || path == "*" { path } else { format!("/{path}") };
            let target = if is_absolute { format!("http://{host}{rooted}") } else { rooted };
            target.parse::<http::Uri>().ok()?;
            let mut request = request(if is_post { Method::POST } else { Method::GET }, &target, Body::empty());
            request.headers_mut().insert("host", HeaderValue::from_str(&host).ok()?);
            Some(request)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        /// No condition that holds is left out, and the order is theirs, so the first one that holds is the same with an index and without.
        #[test]
        fn an_index_leaves_out_no_condition_that_holds(written in proptest::collection::vec(written(), 0..24), requests in proptest::collection::vec(requests(), 8)) {
            let conditions: Vec<_> = written.iter().map(condition).collect();
            let index = Index::new(conditions.iter().map(|(keys, mount)| (Some(keys), mount.as_ref())));
            for request in &requests {
                let view = RequestView::new(request);
                let holds = |nth: &usize| {
                    let (keys, mount) = &conditions[*nth];
                    keys.mismatch(&view).is_none() && mount.as_ref().is_none_or(|mount| mount.holds(view.path().octets()))
                };
                let found: Vec<_> = index.candidates(&view).filter(holds).collect();
                prop_assert_eq!(found, (0..conditions.len()).filter(holds).collect::<Vec<_>>(), "{:?} {:?}", written, request);
            }
        }

        #[test]
        fn an_index_leaves_out_no_condition_that_covers_another(written in proptest::collection::vec(written(), 0..12)) {
            let conditions: Vec<_> = written.iter().map(condition).collect();
            let index = Index::new(conditions.iter().map(|(keys, mount)| (Some(keys), mount.as_ref())));
            let whole: Vec<_> = conditions.iter().map(|(keys, mount)| Condition::new(Some(keys), mount.as_ref())).collect();
            for (narrow, (keys, mount)) in whole.iter().zip(&conditions) {
                let covers = |nth: &usize| whole[*nth].covers(narrow);
                let found: Vec<_> = index.covering(Some(keys), mount.as_ref()).filter(covers).collect();
                prop_assert_eq!(found, (0..conditions.len()).filter(covers).collect::<Vec<_>>(), "{:?} {:?} {:?}", written, keys, mount);
            }
        }
    }

    #[test]
    fn of_many_conditions_few_are_left() {
        let host = |nth: usize| json!([format!("h{nth}.example"), format!("www.h{nth}.example")]);
        let mut written: Vec<Written> = (0..500).map(|nth| (Some(host(nth)), None, false, None)).collect();
        written.extend((0..500).map(|nth| (None, Some(json!(format!("/{{tenant}}/p{nth}/*"))), false, None)));
        written.push((None, None, false, None));
        let conditions: Vec<_> = written.iter().map(condition).collect();
        let index = Index::new(conditions.iter().map(|(keys, mount)| (Some(keys), mount.as_ref())));
        for (host, path, expected) in [
            ("WWW.h7.example", "/a/p9/x", &[7, 509, 1000][..]),
            ("h7.example:80", "/a", &[7, 1000]),
            ("h.example", "/a/%7010", &[510, 1000]),
            ("", "/", &[1000]),
        ] {
            let mut request = request(Method::GET, path, Body::empty());
            request.headers_mut().insert("host", HeaderValue::from_static(host));
            assert_eq!(index.candidates(&RequestView::new(&request)).collect::<Vec<_>>(), expected, "{host}{path}");
        }
    }
}
