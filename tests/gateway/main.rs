//! FastCGI, SCGI and uwsgi with real peers: nginx and Apache before the program, PHP-FPM and uWSGI behind it, and octets that no sound peer would send.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod apache;
mod apps;
#[path = "../black_box/browser.rs"]
#[allow(dead_code)]
mod browser;
mod cgi;
mod cgi_command;
mod django;
#[path = "../black_box/example.rs"]
#[allow(dead_code)]
mod example;
mod front;
mod hostile_apps;
mod hostile_fronts;
mod layers;
mod listen;
mod nginx;
mod php;
mod raw;
#[path = "../black_box/support.rs"]
#[allow(dead_code)]
mod support;
