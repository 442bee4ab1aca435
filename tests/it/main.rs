//! What Seawall promises, a file per promise. Everything in memory, in virtual time.
#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]
#![allow(clippy::disallowed_methods, reason = "the tests' own tasks end with the test")]

mod access;
mod ailing;
mod alternates;
mod architecture;
mod bundle;
mod capacity;
mod captures;
mod catalog;
mod certificates;
mod crash;
mod disk;
mod explain;
mod facts;
mod federation;
mod fill;
mod freshness;
mod frozen;
mod hits;
mod holds;
mod house;
mod inspect;
mod lanes;
mod licences;
mod metrics;
mod operators;
mod page;
mod proxies;
mod purge;
mod quotas;
mod range;
mod reload;
mod repair;
mod servable;
mod served_by_tls;
mod shield;
mod sim;
mod support;
mod tags;
mod tenants;
mod tls;
mod tokens;
mod traces;
mod upstream;
mod warm;
