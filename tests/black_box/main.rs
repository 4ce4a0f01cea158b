//! Black-box tests: the program, real sockets, real Python.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bounds;
mod browser;
mod certs;
mod commands;
mod control;
mod crowds;
mod django;
mod django_guide;
mod examples;
mod init;
mod layers;
mod link;
mod manage;
mod privilege;
mod process;
mod proxy_protocol;
mod reload;
mod sendfile;
mod slow;
mod static_files;
mod supervisor;
mod support;
mod systemd;
mod watch;
mod worker;
