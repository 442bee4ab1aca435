//! Seawall: a pull-through cache and rate-limit shield for container registries.
//!
//! # The house
//!
//! One crate, in layers. A module may use only what stands further down this picture; modules on one row
//! do not know each other. The picture is not decoration: a test (`tests/it/architecture.rs`) reads it
//! from here and fails on an import that goes up or sideways, on a module that is missing from it, and on
//! IO, clocks, locks or async inside `oci` and `policy`.
//!
//! ```text
//! cli
//! app
//! config
//! server
//! cache
//! store | upstream
//! policy | net
//! oci | clock | telemetry
//! ```
//!
//! `policy` may use `clock` for the type `Time` only; `oci` uses nothing.
//!
//! Four ideas carry it.
//!
//! - **Decisions are pure, drivers are dull.** Whatever one could argue about is a synchronous function or
//!   state machine in [`policy`] that takes `now` as an argument and answers with an enum.
//! - **A digest may come from anywhere.** Memory, disk, a shared bucket and upstream differ in cost, not in trust: bytes are
//!   hashed on the way in.
//! - **A download belongs to the cache, not to a request.** One fill per digest writes a file that every
//!   reader follows.
//! - **The server only needs to know where the bytes are.** All zero-copy work hides behind one enum,
//!   [`cache::Body`].

pub mod app;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod config;
pub mod net;
pub mod oci;
pub mod policy;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod upstream;
