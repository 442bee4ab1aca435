//! The bucket of a program that was built without one: there is none, so nothing is ever asked of it.

use std::convert::Infallible;

use bytes::Bytes;

use super::{BucketOptions, Fault, Object};
use crate::net::dial::Dialer;

/// A bucket, which cannot be had here.
pub struct Bucket(Infallible);

impl Bucket {
    /// Says that there is none.
    ///
    /// # Errors
    /// Always.
    pub fn new(_: &BucketOptions, _: &Dialer) -> Result<Self, String> {
        Err("this seawall was built without the shared shelf".to_owned())
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn get(&self, _: &str, _: u64) -> std::future::Ready<Result<Option<Object>, Fault>> {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn size(&self, _: &str) -> std::future::Ready<Result<Option<u64>, Fault>> {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn put<F>(
        &self,
        _: &str,
        _: Option<&str>,
        _: u64,
        _: impl Fn(u64, u64) -> F,
    ) -> std::future::Ready<Result<(), Fault>>
    where
        F: Future<Output = std::io::Result<Bytes>>,
    {
        match self.0 {}
    }
}
