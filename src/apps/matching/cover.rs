//! Which conditions leave nothing to others.
//!
//! An answer "yes" is always right: it makes a route an error. An answer "no" may mean that it is not known.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ziggurat_middleware::Network;
use ziggurat_middleware::options::OneOrMany;

use super::host::Host;
use super::pattern::Method;
use super::values::Values;
use super::{Match, Path, Prefix};

/// How deep `not`s within `not`s are looked into.
pub(super) const DEEPEST: usize = 6;

/// What a route asks of a request.
pub(crate) struct Condition<'a> {
    keys: Cow<'a, Match>,
    /// What the path has to be for its mount.
    mount: Option<Path>,
}

impl<'a> Condition<'a> {
    pub(crate) fn new(keys: Option<&'a Match>, mount: Option<&Prefix>) -> Self {
        Self { keys: keys.map_or_else(|| Cow::Owned(Match::default()), Cow::Borrowed), mount: mount.map(Path::from) }
    }

    fn of(keys: &'a Match) -> Self {
        Self { keys: Cow::Borrowed(keys), mount: None }
    }

    /// Whether its `path` is nowhere below its `mount`.
    pub(crate) fn misses_its_mount(&self) -> bool {
        let paths = self.keys.paths();
        !paths.is_empty() && self.mount.as_ref().is_some_and(|mount| !paths.iter().any(|path| path.meets(mount)))
    }

    /// Whether its `not` holds wherever its other keys do.
    pub(crate) fn contradicts_itself(&self) -> bool {
        self.keys.not.as_ref().is_some_and(|not| Condition::of(not).covers(self))
    }

    /// Whether every request that meets `narrow` meets this.
    pub(crate) fn covers(&self, narrow: &Self) -> bool {
        self.covers_to(narrow, DEEPEST)
    }

    fn covers_to(&self, narrow: &Self, depth: usize) -> bool {
        let (broad, keys) = (&self.keys, &narrow.keys);
        covers(broad.host.as_ref(), keys.host.as_ref(), Host::covers)
            && covers(broad.method.as_ref(), keys.method.as_ref(), Method::covers)
            && covers(broad.client.as_ref(), keys.client.as_ref(), Network::covers)
            && (broad.scheme.is_none() || broad.scheme == keys.scheme)
            && broad.client_cert.as_ref().is_none_or(|broad| keys.client_cert.as_ref().is_some_and(|narrow| broad.covers(narrow)))
            && covers_map(&broad.header, &keys.header, |a, b| a.eq_ignore_ascii_case(b))
            && covers_map(&broad.cookie, &keys.cookie, |a, b| a == b)
            && covers_map(&broad.query, &keys.query, |a, b| a == b)
            && self.paths().all(|broad| narrow.paths().any(|narrow| covers_all(broad, narrow, Path::covers)))
            && broad.not.as_ref().is_none_or(|not| narrow.excludes_to(&Condition::of(not), depth))
    }

    /// Whether no request meets both.
    pub(crate) fn excludes(&self, other: &Self) -> bool {
        self.excludes_to(other, DEEPEST)
    }

    pub(super) fn excludes_to(&self, other: &Self, depth: usize) -> bool {
        let (one, two) = (&self.keys, &other.keys);
        let network = |one: &Network, two: &Network| one.covers(two) || two.covers(one);
        let Some(depth) = depth.checked_sub(1) else { return false };
        let denies = |one: &Self, two: &Self| one.keys.not.as_ref().is_some_and(|not| Condition::of(not).covers_to(two, depth));
        apart(one.host.as_ref(), two.host.as_ref(), Host::meets)
            || apart(one.method.as_ref(), two.method.as_ref(), Method::meets)
            || apart(one.client.as_ref(), two.client.as_ref(), network)
            || one.scheme.is_some_and(|scheme| two.scheme.is_some_and(|other| scheme != other))
            || one.client_cert.as_ref().zip(two.client_cert.as_ref()).is_some_and(|(one, two)| !one.meets(two))
            || apart_map(&one.header, &two.header, |a, b| a.eq_ignore_ascii_case(b))
            || apart_map(&one.cookie, &two.cookie, |a, b| a == b)
            || apart_map(&one.query, &two.query, |a, b| a == b)
            || self.paths().any(|one| other.paths().any(|two| none_meets(one, two, Path::meets)))
            || denies(self, other)
            || denies(other, self)
    }

    /// Its `mount` and its `path`, each as alternatives; both must hold.
    fn paths(&self) -> impl Iterator<Item = &[Path]> {
        let path = self.keys.path.as_ref().map(|paths| paths.0.as_slice());
        self.mount.as_ref().map(std::slice::from_ref).into_iter().chain(path)
    }
}

/// Whether every alternative of `narrow` is within one of `broad`.
fn covers_all<T>(broad: &[T], narrow: &[T], covers: fn(&T, &T) -> bool) -> bool {
    narrow.iter().all(|narrow| broad.iter().any(|broad| covers(broad, narrow)))
}

fn none_meets<T>(one: &[T], two: &[T], meets: impl Fn(&T, &T) -> bool) -> bool {
    !one.iter().any(|one| two.iter().any(|two| meets(one, two)))
}

fn covers<T>(broad: Option<&OneOrMany<T>>, narrow: Option<&OneOrMany<T>>, test: fn(&T, &T) -> bool) -> bool {
    match (broad, narrow) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(broad), Some(narrow)) => covers_all(&broad.0, &narrow.0, test),
    }
}

fn apart<T>(one: Option<&OneOrMany<T>>, two: Option<&OneOrMany<T>>, meets: impl Fn(&T, &T) -> bool) -> bool {
    one.zip(two).is_some_and(|(one, two)| none_meets(&one.0, &two.0, meets))
}

fn covers_map(broad: &BTreeMap<String, Values>, narrow: &BTreeMap<String, Values>, same: fn(&str, &str) -> bool) -> bool {
    broad.iter().all(|(name, values)| narrow.iter().any(|(other, narrow)| same(name, other) && values.covers(narrow)))
}

fn apart_map(one: &BTreeMap<String, Values>, two: &BTreeMap<String, Values>, same: fn(&str, &str) -> bool) -> bool {
    one.iter().any(|(name, values)| two.iter().any(|(other, narrow)| same(name, other) && !values.meets(narrow)))
}
