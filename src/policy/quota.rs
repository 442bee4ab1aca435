//! What we grant our own clients: operations, objects fetched for them, bandwidth, fills at once.

/// The quota of one client, shared by all its connections.
#[derive(Debug)]
pub struct Quota;
