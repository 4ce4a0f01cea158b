//! The ids of findings: what editors, scripts and the documentation know a mistake by, however its message is worded.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::pipeline::lints;

macro_rules! ids {
    ($($variant:ident $id:literal $meaning:literal)*) => {
        /// What kind of mistake a finding is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub(crate) enum Id {
            $(#[doc = $meaning] #[serde(rename = $id)] $variant,)*
            /// An order lint found it.
            #[serde(untagged)]
            Lint(LintId),
        }

        impl Id {
            /// Those that are no order lints, each with its meaning in one sentence.
            pub(crate) const ALL: &'static [(Self, &'static str)] = &[$((Self::$variant, $meaning)),*];

            /// Lower case, with hyphens. It stays the same in later versions.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $id,)* Self::Lint(lint) => lint.as_str() }
            }
        }
    };
}

/// The id of an order lint: its index among all. Findings are many, so it is small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LintId(u8);

impl LintId {
    /// Of the lint with this id.
    pub(crate) fn of(id: &str) -> Option<Self> {
        lints::ids().position(|known| known == id).and_then(|index| index.try_into().ok()).map(Self)
    }

    pub(crate) fn as_str(self) -> &'static str {
        lints::ids().nth(self.0.into()).unwrap_or_default()
    }
}

impl Serialize for LintId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for LintId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::of(&String::deserialize(deserializer)?).ok_or_else(|| de::Error::custom("no lint has this id"))
    }
}

ids! {
    UnreadableFile "unreadable-file" "The pipeline file cannot be read, or is not UTF-8 text."
    Syntax "syntax" "The file is not JSON."
    NestedTooDeep "nested-too-deep" "The file is nested deeper than 100 levels."
    DuplicateKey "duplicate-key" "An object has the same key twice."
    UnresolvedReference "unresolved-reference" "A `${...}` is malformed, or its variable or file has no usable value."
    UnknownKey "unknown-key" "The pipeline, a route or an entry of `apps` has a key that is not part of the grammar."
    UnknownOption "unknown-option" "A layer, an app, `server`, `listen` or `match` has no such option."
    UnknownLayer "unknown-layer" "No layer has this name."
    UnknownApp "unknown-app" "No kind of app and no entry of `apps` has this name."
    WrongRole "wrong-role" "A layer is written where an app is needed, or an app where a layer is needed."
    NotOneName "not-one-name" "The object of a layer or an app has no name, or several."
    WrongType "wrong-type" "A value has another JSON type than the one that is needed."
    InvalidValue "invalid-value" "A value has the right type, and is not allowed."
    MissingOption "missing-option" "A required option is not given."
    MissingApp "missing-app" "A stack has no `app`."
    InvalidName "invalid-name" "A name in `as` or `apps` has other characters than those of names."
    DuplicateName "duplicate-name" "Two parts of the file have the same name."
    CircularApp "circular-app" "An entry of `apps` contains itself."
    TooManyStages "too-many-stages" "A request would pass more than 256 layers and apps."
    UnknownLint "unknown-lint" "No order lint has this id."
    UselessAllow "useless-allow" "An `allow` names an order lint that finds nothing there."
    UnusedApp "unused-app" "Nothing names this entry of `apps`."
    UnreachableRoute "unreachable-route" "No request can reach this route."
    UnknownName "unknown-name" "An option has a `{name}` that no route above has in its `path`."
    ProxyLoop "proxy-loop" "A `proxy`, `fastcgi`, `scgi` or `uwsgi` sends requests to an address that the file itself listens on by the same protocol."
    PublishedCode "published-code" "The folder of a `static` is, or contains, that of the pipeline file or of an app's code."
    ExposedDashboard "exposed-dashboard" "A `dashboard` can be reached by everybody: no layer and no route above it asks who comes, or those that do let in everybody but a few."
    UselessReserve "useless-reserve" "No app below has threads that this `reserve` could keep."
    MisplacedWorkerOption "misplaced-worker-option" "An option about worker processes is given to another part than the one that decides about them."
    RouteKeyBelowPython "route-key-below-python" "A `deadline` or a `reserve` is given to a route below a Python layer, where it has no effect."
    HintsBelowPython "hints-below-python" "A layer that sends hints before the response is below a Python layer, where the server does not see it."
    TimeoutBelowPython "timeout-below-python" "A layer that bounds time runs on the Python thread that it would have to interrupt."
    NativeBetweenPython "native-between-python" "A native layer is between Python parts, so that each request crosses to Python once more."
    UpgradeBelowPython "upgrade-below-python" "An app that upgrades connections is below a Python layer, which cannot pass them on."
    UnmetChallenge "unmet-challenge" "No address in `listen` is one where an authority looks for the challenge that it sets (ACME), so no certificate can be had."
    FailedTest "failed-test" "A test of the file expects something else than what becomes of its request."
    CannotBuild "cannot-build" "A layer or an app cannot be built: a file is missing, for instance, or a module cannot be imported."
    UnusableCertificate "unusable-certificate" "A certificate, its key, or a file of authorities or revocation lists cannot be used."
    DoubtfulCertificate "doubtful-certificate" "A certificate has expired, names no host, or its key can be read by every user; or the server's user cannot write to the `store` of `acme`."
    UncoveredHost "uncovered-host" "A route is for a host that no certificate covers."
    CannotListen "cannot-listen" "An address or the control socket cannot be opened."
    CannotRun "cannot-run" "The pipeline is sound, and the process cannot run it."
    MoreFindings "more-findings" "There are more than 100 findings, and the rest is not listed."
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_id_is_unique_and_is_its_own_serialization() {
        let all: Vec<Id> = Id::ALL.iter().map(|(id, _)| *id).chain(lints::ids().filter_map(LintId::of).map(Id::Lint)).collect();
        let ids: HashSet<&str> = all.iter().map(|id| id.as_str()).collect();
        assert_eq!(ids.len(), all.len());
        for id in all {
            assert!(id.as_str().bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'-'), "{id:?}");
            let json = serde_json::to_value(id).unwrap();
            assert_eq!(json, id.as_str());
            assert_eq!(serde_json::from_value::<Id>(json).unwrap(), id);
        }
        assert!(Id::ALL.iter().all(|(_, meaning)| meaning.ends_with('.')));
    }
}
