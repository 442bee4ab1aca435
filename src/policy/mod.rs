//! Every decision Seawall takes, pure: no clock, no IO, no lock, no async, no log.
//!
//! A decision is a synchronous function or a small state machine that takes the time as an argument and
//! answers with an enum; whoever drives it acts on the answer and logs it.

pub mod access;
pub mod alternate;
pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod catalog;
pub mod clients;
pub mod disk;
pub mod eviction;
pub mod flight;
pub mod freshness;
pub mod history;
pub mod holds;
pub mod identity;
pub mod incidents;
pub mod issuers;
pub mod lanes;
pub mod listing;
pub mod login;
pub mod mirrors;
pub mod naming;
pub mod outlook;
pub mod pacing;
pub mod proxies;
pub mod quota;
pub mod renewal;
pub mod retention;
pub mod schedule;
pub mod scrub;
pub mod settling;
pub mod sweep;
pub mod throttle;
pub mod trust;
