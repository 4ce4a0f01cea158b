//! `static` as a layer and as an app, over real files.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod conditions;
mod memory;
mod names;
mod precompressed;
mod ranges;
mod site;
