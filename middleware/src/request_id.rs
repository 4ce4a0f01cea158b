//! `request_id`: gives every request an id.
