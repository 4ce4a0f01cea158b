//! The `acme` part of a `tls` section in the pipeline file.

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::{BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use http::Uri;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ziggurat_middleware::{Finding, Findings};

use super::challenges::Challenge;
use super::names::unobtainable;

/// Certificates from an authority that speaks ACME (RFC 8555), such as Let's Encrypt: ordered, renewed and replaced while the server runs. To use it is to agree to the
/// terms of service of the authority.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Acme")]
pub(crate) struct AcmeOptions {
    /// The names to get certificates for, one certificate each. No wildcards and no IP addresses. At most 100.
    pub(crate) names: Vec<String>,

    /// Where the authority may write to about the account. By default it has no address.
    #[serde(default)]
    pub(crate) email: Option<String>,

    /// The folder that keeps accounts, keys and certificates, for the user of the server alone; a relative path starts at the folder of the file. Servers that
    /// share it, on several machines too, share the certificates: one of them orders, and each answers challenges.
    #[serde(default = "default_store")]
    pub(crate) store: PathBuf,

    /// The URL of the authority's directory. By default that of Let's Encrypt; for trials, `https://acme-staging-v02.api.letsencrypt.org/directory` has no strict limits, and nobody
    /// trusts its certificates.
    #[serde(default = "default_directory")]
    pub(crate) directory: String,

    /// A PEM file with the authorities to trust when the directory is asked, for a private one. By default those of the system.
    #[serde(default)]
    pub(crate) ca: Option<PathBuf>,

    /// The account at the authority that this one is bound to (external account binding, RFC 8555 section 7.3.4), if the authority asks for one.
    #[serde(default)]
    pub(crate) eab: Option<EabOptions>,

    /// The only challenge to meet. By default those that the addresses in `listen` allow, in turn: `tls-alpn-01` on port 443, `http-01` on port 80.
    #[serde(default)]
    pub(crate) challenge: Option<Challenge>,
}

/// An account that exists at the authority outside of ACME.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AcmeEab")]
pub(crate) struct EabOptions {
    /// The key identifier that the authority gave.
    pub(crate) key_id: String,
    /// The MAC key that the authority gave, in base64url: `"${file:eab.key}"`.
    pub(crate) mac_key: String,
}

impl EabOptions {
    /// The octets of the key.
    pub(super) fn key(&self) -> Option<Vec<u8>> {
        let text = self.mac_key.trim();
        BASE64_URL_SAFE_NO_PAD.decode(text).or_else(|_| BASE64_URL_SAFE.decode(text)).ok().filter(|key| !key.is_empty())
    }
}

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

fn default_store() -> PathBuf {
    PathBuf::from("var/acme")
}

fn default_directory() -> String {
    LETS_ENCRYPT.to_owned()
}

/// The most names of one section.
const MOST_NAMES: usize = 100;

/// Hosts of authorities that browsers trust. They follow the rules of the CA/Browser Forum.
const PUBLIC: [&str; 6] = ["letsencrypt.org", "zerossl.com", "pki.goog", "ssl.com", "buypass.com", "sectigo.com"];

impl AcmeOptions {
    /// Whether the authority certifies only names of the public DNS.
    pub(crate) fn is_public(&self) -> bool {
        let host = self.directory.parse::<Uri>().ok().and_then(|url| url.host().map(str::to_ascii_lowercase)).unwrap_or_default();
        self.ca.is_none()
            && PUBLIC.iter().any(|public| host.strip_suffix(public).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
    }

    /// The names as certificates have them.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        self.names.iter().map(|name| name.to_ascii_lowercase())
    }

    /// Reports what no authority could do anything with. The paths of the findings start at the options of `tls`.
    pub(crate) fn validate(&self, findings: &mut Findings) {
        if self.names.is_empty() {
            let finding = Finding::new("there are no names to get certificates for").at("acme").at("names");
            findings.push(finding.hint("list the names under which clients reach this server, as in `[\"www.example.com\"]`"));
        }
        if self.names.len() > MOST_NAMES {
            findings.push(
                Finding::new(format!("there are more than {MOST_NAMES} names"))
                    .at("acme")
                    .at("names")
                    .hint("write several listeners, or fewer names"),
            );
        }
        let is_public = self.is_public();
        for (index, name) in self.names.iter().enumerate() {
            let at = |finding: Finding| finding.at("acme").at("names").at(index);
            if let Some(found) = unobtainable(&name.to_ascii_lowercase(), is_public) {
                findings.push(at(Finding::new(format!("no certificate can be had for `{name}`: {}", found.reason))).hint(found.hint));
            } else if self.names[..index].iter().any(|earlier| earlier.eq_ignore_ascii_case(name)) {
                findings.push(at(Finding::new(format!("the name `{name}` is listed twice"))).hint("remove one of them"));
            }
        }
        if !self
            .directory
            .parse::<Uri>()
            .is_ok_and(|url| url.scheme_str() == Some("https") && url.host().is_some_and(|host| !host.is_empty()))
        {
            findings.push(
                Finding::new("`directory` is not an `https` URL (RFC 8555 section 6.1)")
                    .at("acme")
                    .at("directory")
                    .hint(format!("write the URL that the authority documents, as in `{LETS_ENCRYPT}`")),
            );
        }
        if self.email.as_ref().is_some_and(|email| email.starts_with("mailto:") || !email.contains('@') || email.contains([' ', ',', '?']))
        {
            findings.push(Finding::new("`email` is not one address").at("acme").at("email").hint("write it as in `admin@example.com`"));
        }
        if self.store.as_os_str().is_empty() {
            findings
                .push(Finding::new("the path of the store is empty").at("acme").at("store").hint("write a folder such as `\"var/acme\"`"));
        }
        if let Some(eab) = &self.eab {
            if eab.key_id.trim().is_empty() {
                findings
                    .push(Finding::new("the key identifier is empty").at("acme").at("eab").at("key_id").hint("copy it from the authority"));
            }
            if eab.key().is_none() {
                let finding = Finding::new("the MAC key is not base64url").at("acme").at("eab").at("mac_key");
                findings.push(finding.hint("copy it from the authority as it is; `\"${file:eab.key}\"` keeps it out of this file"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(json: &str) -> AcmeOptions {
        serde_json::from_str(json).unwrap()
    }

    fn findings(json: &str) -> Vec<String> {
        let mut findings = Findings::default();
        options(json).validate(&mut findings);
        findings.into_iter().map(|finding| format!("{:?} {finding}", finding.path)).collect()
    }

    #[test]
    fn names_alone_are_enough() {
        assert_eq!(findings(r#"{ "names": ["example.com", "www.example.com"] }"#), [""; 0]);
    }

    #[test]
    fn everything_that_no_authority_accepts_is_named() {
        let found = findings(
            r#"{ "names": ["*.example.com", "localhost", "Example.com", "example.com"], "email": "mailto:a@b", "store": "", "directory": "http://acme.test/",
                 "eab": { "key_id": " ", "mac_key": "?" } }"#,
        );
        for word in ["wildcard", "twice", "`email`", "store", "`https`", "identifier", "MAC key"] {
            assert!(found.iter().any(|text| text.contains(word)), "{word}: {found:?}");
        }
        // Unknown authorities may certify what they like.
        assert!(!found.iter().any(|text| text.contains("localhost")), "{found:?}");
        assert!(findings(r#"{ "names": ["localhost"] }"#)[0].contains("dot"));
        assert!(findings(r#"{ "names": [] }"#)[0].contains("no names"));
    }

    #[test]
    fn a_mac_key_may_be_padded_and_end_in_a_line_end() {
        let key = |text: &str| EabOptions { key_id: "k".to_owned(), mac_key: text.to_owned() }.key();
        assert_eq!(key("AAAA\n"), Some(vec![0; 3]));
        assert_eq!(key("AA=="), Some(vec![0]));
        assert_eq!(key("AA"), Some(vec![0]));
        assert_eq!(key("A"), None);
        assert_eq!(key(""), None);
    }

    #[test]
    fn the_known_public_authorities_are_told_from_others() {
        let is_public = |directory: &str| AcmeOptions { directory: directory.to_owned(), ..options(r#"{ "names": [] }"#) }.is_public();
        assert!(is_public(LETS_ENCRYPT) && is_public("https://acme.zerossl.com/v2/DV90"));
        assert!(!is_public("https://ca.internal/dir") && !is_public("https://notletsencrypt.org/"));
    }
}
