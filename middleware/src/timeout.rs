//! `timeout`: bounds the time to a response.
