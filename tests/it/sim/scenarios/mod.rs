//! What Seawall makes of upstreams as they are, a file per theme.

mod across;
mod alternates;
mod bodies;
mod challenges;
mod clients;
mod credentials;
mod every;
mod freshness;
mod limits;
mod over;
mod policies;
mod refusals;
mod tokens;
mod twelve_hours;
mod warm;
mod windows;
