//! What the tests stand on: a scripted registry behind, a whole Seawall in the middle, a client in front;
//! all on in-memory pipes.

#[cfg(feature = "shared")]
pub(crate) mod bucket;
pub(crate) mod configured;
pub(crate) mod finest;
pub(crate) mod issuer;
pub(crate) mod operator;
#[path = "../../../src/telemetry/paper.rs"]
pub(crate) mod paper;
pub(crate) mod registry;
pub(crate) mod seawall;
pub(crate) mod signing;
pub(crate) mod world;
