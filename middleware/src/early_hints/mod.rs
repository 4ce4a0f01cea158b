//! Hints before the response: informational responses with status 103 (RFC 8297).

mod sender;

pub use self::sender::EarlyHints;
