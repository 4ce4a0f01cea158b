//! `compress`: compresses responses.
