//! What is told of a piece of work when it is over.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// What kind of work a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Neither: what is done here, between the two.
    Internal,
    /// Answering a request.
    Server,
    /// Sending one.
    Client,
}

/// What a span says of itself. Moments are nanoseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// Its name: one of few.
    pub name: Cow<'static, str>,
    /// Which side of a request.
    pub side: Side,
    /// When it began.
    pub began: u64,
    /// When it ended.
    pub ended: u64,
    /// Whether it failed.
    pub failed: bool,
    /// What else is known, by the names of OpenTelemetry's conventions where they have one.
    pub attributes: Vec<(&'static str, Value)>,
}

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// A time, which is told in milliseconds.
    Millis(Duration),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

/// A span of another request, whose work is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub(super) trace: u128,
    pub(super) span: u64,
}

/// A span that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub(super) trace: u128,
    pub(super) span: u64,
    pub(super) parent: Option<u64>,
    pub(super) state: Option<Arc<str>>,
    pub(super) links: Vec<Link>,
    pub(super) done: Done,
}
