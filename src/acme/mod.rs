//! Certificates by ACME (RFC 8555): ordered, renewed and replaced while the server runs.
//!
//! A [`Manager`] is a task for one directory and one [`Store`]. It reads the store, makes a `plan` for each name, and carries it out under the lock of the
//! store: `account`, `order`, `challenges`. The decisions are pure (`plan`, `renewal`, `failure`, `names`, the steps of `order`); what was decided is in the
//! store before anything is asked of the directory, so neither a crash nor another machine repeats it. Whoever serves asks the [`Manager`] for the certificate of a
//! name, and for the answer to a challenge.

mod account;
mod certificate;
mod challenges;
mod client;
mod failure;
mod held_lock;
mod manager;
mod managers;
mod names;
mod options;
mod order;
mod plan;
mod renewal;
mod report;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod time;

pub(crate) use challenges::{Challenge, answer_http01};
pub(crate) use manager::{CertificateSink, Manager, reports};
pub(crate) use managers::Managers;
pub(crate) use options::AcmeOptions;
pub(crate) use report::NameReport;
pub(crate) use settings::{AcmeSettings, NameSettings};
pub(crate) use store::Store;
pub(crate) use time::Timestamp;
