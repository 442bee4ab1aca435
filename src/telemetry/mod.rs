//! What is seen from outside: logs and metrics.

pub mod log;
pub mod metrics;
