//! The nouns of the OCI image and distribution specifications, parsed and therefore valid.
//!
//! Nothing here reads a clock, a file or a socket: every type is built from text or bytes and either
//! exists, and is right, or does not exist. The types: [`Digest`], [`Registry`], [`Repository`], [`Tag`],
//! [`Reference`], [`MediaType`], [`Descriptor`], [`Manifest`], [`Route`], [`RangeSet`] and the error table
//! [`Code`].

mod digest;
mod error;
mod manifest;
mod named;
mod platform;
mod range;
mod reference;
mod route;
pub mod tar;

pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use error::{Code, error_body};
pub use manifest::{Descriptor, MAX_DEPTH, Manifest, ManifestError, MediaType};
pub use named::{Named, NamedError};
pub use platform::{Child, Platform, PlatformError, Platforms, children};
pub use range::{ByteRange, MAX_RANGES, RangeSet, Selected};
pub use reference::{NameError, Reference, Registry, Repository, RepositoryPath, Tag};
pub use route::{Page, Route, RouteError, Target};
