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
mod issued;
mod lanes;
mod licences;
mod metrics;
mod offers;
mod operators;
mod page;
mod proxies;
mod purge;
mod quotas;
mod range;
mod readme;
mod reload;
mod repair;
mod servable;
mod served_by_tls;
#[cfg(feature = "shared")]
mod shared;
mod shield;
mod sim;
mod storms;
mod support;
mod tables;
mod tags;
mod tenants;
mod tls;
mod tokens;
mod traces;
mod trust;
mod upstream;
mod warm;
