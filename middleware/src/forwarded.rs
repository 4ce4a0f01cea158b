//! `forwarded`: believes forwarded headers from trusted networks only.
