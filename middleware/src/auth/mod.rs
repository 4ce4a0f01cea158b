//! What layers share that authenticate clients: files of credentials, challenges, and the count of decisions.

mod challenge;
mod credential_file;
mod decisions;
mod http_url;
mod identity;
mod refreshed;
mod source;

pub(crate) use challenge::{Challenge, is_scope, quoted};
pub(crate) use credential_file::{CredentialFile, CredentialSet, entries};
pub(crate) use decisions::{Decision, Decisions};
pub(crate) use http_url::{HttpUrl, ServerUrl, client};
pub(crate) use identity::{check_framing, check_headers, may_tell};
pub(crate) use refreshed::{Refreshed, get};
pub(crate) use source::{Sent, TokenSource};
