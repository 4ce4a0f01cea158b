//! A server with one fault at a time (`wrong.py`): the cases that test the rule fail, and without the fault they pass.

use std::collections::BTreeSet;
use std::thread;

use crate::server::{Served, conform};

/// A fault, and cases that find it.
const FAULTS: &[(&str, &[&str])] = &[
    ("decodes-twice", &["environ-path-decoded-once"]),
    ("utf-8", &["environ-path-decoded"]),
    ("decodes-query", &["environ-query"]),
    ("port-number", &["environ-required", "environ-strings"]),
    ("no-address", &["environ-remote-addr"]),
    ("version-list", &["environ-wsgi-keys"]),
    ("dict-class", &["environ-dict"]),
    ("claims-once", &["run-once"]),
    ("claims-one-thread", &["multithread"]),
    ("underscores", &["environ-underscores"]),
    ("proxy", &["environ-no-proxy"]),
    ("http-content", &["environ-no-http-content-type", "environ-no-http-content-length"]),
    ("last-header", &["environ-headers-joined", "environ-cookies-joined"]),
    ("last-length", &["two-lengths", "two-lengths-other-order"]),
    ("python-length", &["length-plus", "length-underscore"]),
    ("lenient-names", &["space-before-colon", "space-before-colon-length", "name-space", "name-slash"]),
    ("lenient-values", &["value-nul", "value-cr"]),
    ("waits", &["input-read-end", "input-empty", "input-read-beyond"]),
    ("starts-twice", &["start-twice"]),
    ("starts-itself", &["start-never", "start-never-body", "start-too-late"]),
    ("replaces-late", &["start-reraised"]),
    (
        "lenient-head",
        &["start-value-crlf", "start-value-lf", "start-name-crlf", "start-status-crlf", "start-status-word", "start-keep-alive"],
    ),
    ("encodes", &["iterable-str"]),
    ("buffers", &["iterable-streams", "iterable-streams-length", "write-streams"]),
    ("ends-at-empty", &["iterable-empty-chunks"]),
    ("two-dates", &["start-date-app"]),
    ("body-anyway", &["head", "status-204", "status-304", "file-head"]),
    ("no-limit", &["length-long", "length-long-chunk", "file-length"]),
    ("fills-up", &["length-short"]),
    ("ends-as-if-whole", &["error-middle", "error-middle-broken"]),
    ("no-close", &["close", "close-head", "close-304", "close-long", "close-client-gone", "file-closed"]),
    ("no-close-on-error", &["close-error", "close-error-first"]),
    ("closes-twice", &["close", "close-head"]),
];

#[test]
fn each_fault_is_found_by_the_cases_of_its_rule() {
    let cases: Vec<&str> = FAULTS.iter().flat_map(|(_, cases)| cases.iter().copied()).collect::<BTreeSet<_>>().into_iter().collect();
    let sound = conform(served(&[]).address, &cases);
    assert!(sound.found().is_empty(), "{}", sound.text(&sound.found()));
    let unfound = |(fault, cases): &(&str, &[&str])| {
        let found = conform(served(&[fault]).address, cases).found();
        cases.iter().filter(|case| !found.contains(**case)).map(|case| format!("{fault}: {case}")).collect::<Vec<_>>()
    };
    let unfound: Vec<String> = thread::scope(|scope| {
        let groups = FAULTS.chunks(9).map(|group| scope.spawn(move || group.iter().flat_map(unfound).collect::<Vec<_>>()));
        groups.collect::<Vec<_>>().into_iter().flat_map(|group| group.join().unwrap()).collect()
    });
    assert!(unfound.is_empty(), "{unfound:#?}");
}

pub(crate) fn served(faults: &[&str]) -> Served {
    Served::python_with(include_str!("wrong.py"), faults)
}
