//! `body_limit`: bounds request bodies.
