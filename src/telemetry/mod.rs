//! What is seen from outside: logs, metrics and traces.

pub mod log;
pub mod metrics;
#[cfg(test)]
mod paper;
pub mod trace;

#[cfg(test)]
pub(crate) use self::paper::Paper;
