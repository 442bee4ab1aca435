//! What is seen from outside: logs, metrics and traces.

pub mod log;
pub mod metrics;
pub mod trace;
