//! The layer, over apps in memory and on paused time.

mod bounds;
mod cases;
mod explain;
mod flights;
