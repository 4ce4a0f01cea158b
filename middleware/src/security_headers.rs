//! `security_headers`: response headers that protect browsers.
