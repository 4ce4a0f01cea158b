//! The server: listeners, connections, limits, drain. It receives a finished stack and knows nothing of pipelines.

mod listen;
mod options;

pub use listen::Listen;
pub use options::Options;
