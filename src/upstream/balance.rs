//! Load balancing: chooses one of several endpoints.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use http::request::Parts;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use twox_hash::XxHash3_64;
use ziggurat_middleware::{ConnectionInfo, cookies};

/// The algorithm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Balance {
    /// Takes two random endpoints and chooses the one with fewer requests under way per weight.
    #[default]
    LeastRequests,
    /// Takes turns, weighted.
    RoundRobin,
    /// Weighted random choice.
    Random,
    /// Rendezvous hashing of a part of the request, weighted.
    Hash(HashKey),
}

/// The part of a request that is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HashKey {
    Client,
    Path,
    Header(http::HeaderName),
    Cookie(String),
    Query(String),
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeastRequests => f.write_str("of two at random, the one with fewer requests"),
            Self::RoundRobin => f.write_str("in turns"),
            Self::Random => f.write_str("at random"),
            Self::Hash(HashKey::Client) => f.write_str("always the same one for a client"),
            Self::Hash(HashKey::Path) => f.write_str("always the same one for a path"),
            Self::Hash(HashKey::Header(name)) => write!(f, "always the same one for a value of the header `{name}`"),
            Self::Hash(HashKey::Cookie(name)) => write!(f, "always the same one for a value of the cookie `{name}`"),
            Self::Hash(HashKey::Query(name)) => write!(f, "always the same one for a value of the parameter `{name}`"),
        }
    }
}

/// An endpoint that may be chosen.
pub(super) struct Candidate {
    /// The index in the set.
    pub(super) at: usize,
    pub(super) weight: u32,
    pub(super) under_way: usize,
    /// The hash of its identity.
    pub(super) seed: u64,
}

/// The state of nginx's smooth weighted round robin, by index in the set.
#[derive(Debug, Default)]
pub(super) struct RoundRobin(Mutex<Vec<i64>>);

impl Balance {
    /// The hash of the request's key. `None` without `hash`, or if the request lacks the key.
    pub(super) fn key(&self, parts: &Parts) -> Option<u64> {
        let Self::Hash(key) = self else { return None };
        let hash = |octets: &[u8]| Some(XxHash3_64::oneshot(octets));
        match key {
            HashKey::Client => match parts.extensions.get::<ConnectionInfo>()?.client? {
                std::net::IpAddr::V4(ip) => hash(&ip.octets()),
                std::net::IpAddr::V6(ip) => hash(&ip.octets()),
            },
            HashKey::Path => hash(parts.uri.path().as_bytes()),
            HashKey::Header(name) => hash(parts.headers.get(name)?.as_bytes()),
            HashKey::Cookie(name) => hash(cookies::first(&parts.headers, name)?),
            HashKey::Query(name) => {
                let pairs = parts.uri.query()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
                hash(pairs.into_iter().find(|(key, _)| key == name)?.1.as_bytes())
            }
        }
    }

    /// Chooses one of the candidates. A request without a key goes to the least loaded of two.
    pub(super) fn choose(&self, candidates: &[Candidate], key: Option<u64>, turns: &RoundRobin) -> Option<usize> {
        let chosen = match (self, key, candidates) {
            (_, _, [] | [_]) => candidates.first(),
            (Self::RoundRobin, ..) => turns.next(candidates),
            (Self::Random, ..) => random(candidates),
            (Self::Hash(_), Some(key), _) => highest(candidates, key),
            (Self::LeastRequests | Self::Hash(_), ..) => less_loaded(candidates),
        };
        chosen.map(|candidate| candidate.at)
    }
}

fn less_loaded(candidates: &[Candidate]) -> Option<&Candidate> {
    let first = fastrand::usize(..candidates.len());
    let second = (first + 1 + fastrand::usize(..candidates.len() - 1)) % candidates.len();
    let (a, b) = (candidates.get(first)?, candidates.get(second)?);
    // (requests + 1) / weight, without a division.
    let load = |one: &Candidate, other: &Candidate| (one.under_way as u64 + 1) * u64::from(other.weight);
    Some(if load(b, a) < load(a, b) { b } else { a })
}

fn random(candidates: &[Candidate]) -> Option<&Candidate> {
    let total: u64 = candidates.iter().map(|candidate| u64::from(candidate.weight)).sum();
    let mut left = fastrand::u64(..total.max(1));
    candidates.iter().find(|candidate| {
        let is_it = left < u64::from(candidate.weight);
        left = left.saturating_sub(candidate.weight.into());
        is_it
    })
}

/// Weighted rendezvous hashing: each endpoint has a score for the key, and the highest score wins. An endpoint that leaves moves only its own keys.
fn highest(candidates: &[Candidate], key: u64) -> Option<&Candidate> {
    let score = |candidate: &Candidate| {
        let hash = XxHash3_64::oneshot_with_seed(candidate.seed, &key.to_le_bytes());
        // Between 0 and 1, both excluded.
        let uniform = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -f64::from(candidate.weight) / uniform.ln()
    };
    candidates.iter().max_by(|a, b| score(a).total_cmp(&score(b)))
}

impl RoundRobin {
    fn next<'a>(&self, candidates: &'a [Candidate]) -> Option<&'a Candidate> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let length = candidates.iter().map(|candidate| candidate.at + 1).max()?;
        if turns.len() < length {
            turns.resize(length, 0);
        }
        let mut total = 0;
        for candidate in candidates {
            turns[candidate.at] += i64::from(candidate.weight);
            total += i64::from(candidate.weight);
        }
        // The first of equals: turns follow the order of the file.
        let chosen = candidates.iter().rev().max_by_key(|candidate| turns[candidate.at])?;
        turns[chosen.at] -= total;
        Some(chosen)
    }
}

impl FromStr for HashKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HINT: &str = "hint: write `client`, `path`, `header:NAME`, `cookie:NAME` or `query:NAME`";
        match text.split_once(':') {
            None if text == "client" => Ok(Self::Client),
            None if text == "path" => Ok(Self::Path),
            Some((_, "")) => Err(format!("`{text}` lacks a name\n{HINT}")),
            Some(("header", name)) => name.parse().map(Self::Header).map_err(|_| format!("`{name}` is not a header name\n{HINT}")),
            Some(("cookie", name)) => Ok(Self::Cookie(name.to_owned())),
            Some(("query", name)) => Ok(Self::Query(name.to_owned())),
            _ => Err(format!("`{text}` is not something to hash\n{HINT}")),
        }
    }
}

impl<'de> Deserialize<'de> for HashKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ziggurat_middleware::options::from_text(deserializer, "what to hash, such as \"client\" or \"header:x-tenant\"")
    }
}

const BALANCE: &str = "`\"least_requests\"`, `\"round_robin\"`, `\"random\"` or `{ \"hash\": ... }`";

impl<'de> Deserialize<'de> for Balance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl<'de> Visitor<'de> for Written {
            type Value = Balance;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(BALANCE)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Balance, E> {
                match text {
                    "least_requests" => Ok(Balance::LeastRequests),
                    "round_robin" => Ok(Balance::RoundRobin),
                    "random" => Ok(Balance::Random),
                    other => Err(E::custom(format!("`{other}` is not a way to balance\nhint: write {BALANCE}"))),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Balance, A::Error> {
                Hashed::deserialize(de::value::MapAccessDeserializer::new(map)).map(|hashed| Balance::Hash(hashed.hash))
            }
        }

        deserializer.deserialize_any(Written)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hashed {
    hash: HashKey,
}

impl JsonSchema for Balance {
    fn schema_name() -> Cow<'static, str> {
        "Balance".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "enum": ["least_requests", "round_robin", "random"] },
            {
                "type": "object",
                "properties": { "hash": { "type": "string", "pattern": r"^(client|path|(header|cookie|query):.+|.*\$.*)$" } },
                "required": ["hash"],
                "additionalProperties": false
            }
        ] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(weights: &[u32]) -> Vec<Candidate> {
        let candidate =
            |(at, weight): (usize, &u32)| Candidate { at, weight: *weight, under_way: 0, seed: XxHash3_64::oneshot(&at.to_le_bytes()) };
        weights.iter().enumerate().map(candidate).collect()
    }

    fn counts(balance: &Balance, weights: &[u32], requests: u64) -> Vec<u64> {
        let (candidates, turns) = (candidates(weights), RoundRobin::default());
        let mut counts = vec![0; weights.len()];
        for key in 0..requests {
            counts[balance.choose(&candidates, Some(XxHash3_64::oneshot(&key.to_le_bytes())), &turns).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn round_robin_is_exact_and_sends_no_bursts() {
        assert_eq!(counts(&Balance::RoundRobin, &[5, 1, 1], 700), [500, 100, 100]);
        let (candidates, turns) = (candidates(&[5, 1, 1]), RoundRobin::default());
        let order: Vec<usize> = (0..7).map(|_| Balance::RoundRobin.choose(&candidates, None, &turns).unwrap()).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn random_and_hash_follow_the_weights() {
        for balance in [Balance::Random, Balance::Hash(HashKey::Client)] {
            let counts = counts(&balance, &[3, 1], 20_000);
            assert!((14_500..15_500).contains(&counts[0]), "{balance:?}: {counts:?}");
        }
    }

    #[test]
    fn an_endpoint_that_leaves_moves_only_its_own_keys() {
        let (all, turns) = (candidates(&[1, 1, 1, 1]), RoundRobin::default());
        let balance = Balance::Hash(HashKey::Path);
        for key in 0..2_000_u64 {
            let key = XxHash3_64::oneshot(&key.to_le_bytes());
            let before = balance.choose(&all, Some(key), &turns).unwrap();
            let after = balance.choose(&all[..3], Some(key), &turns).unwrap();
            assert!(before == 3 || before == after);
        }
    }

    #[test]
    fn of_two_the_less_loaded_gets_the_request_as_its_weight_goes() {
        let mut pair = candidates(&[1, 4]);
        (pair[0].under_way, pair[1].under_way) = (1, 6);
        for _ in 0..20 {
            assert_eq!(Balance::LeastRequests.choose(&pair, None, &RoundRobin::default()), Some(1));
        }
        pair[1].under_way = 8;
        for _ in 0..20 {
            assert_eq!(Balance::LeastRequests.choose(&pair, None, &RoundRobin::default()), Some(0));
        }
    }

    #[test]
    fn keys_are_read_from_the_request() {
        let request = http::Request::builder().uri("/a?id=7&x").header("x-tenant", "t").header("cookie", "a=b; sid=s").body(()).unwrap();
        let (parts, ()) = request.into_parts();
        for (key, found) in
            [("path", true), ("header:x-tenant", true), ("cookie:sid", true), ("query:id", true), ("query:y", false), ("client", false)]
        {
            assert_eq!(Balance::Hash(key.parse().unwrap()).key(&parts).is_some(), found, "{key}");
        }
        for wrong in ["clients", "header:", "header:a b", "ip", ""] {
            assert!(wrong.parse::<HashKey>().is_err(), "{wrong}");
        }
    }
}
