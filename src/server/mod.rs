//! Listeners and HTTP connections; it receives a finished stack and knows nothing of pipelines.
