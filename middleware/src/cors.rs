//! `cors`: cross-origin resource sharing.
