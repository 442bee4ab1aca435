//! The parts of those who vouch for machines, pods and jobs: metadata services, agents, the clouds' own services, and
//! programs.
//!
//! What they issue for a registry is what its account is then asked for, until it ends.

mod aws;
mod azure;
pub(crate) mod google;
pub(crate) mod programs;

use std::collections::HashMap;
use std::time::Duration;

use seawall::clock::{Clock, Time};

use super::journal::Role;
use super::limits::millis;
use super::state::{Reply, Request};
use aws::Aws;
use azure::Azure;
use google::Google;
use programs::Program;

/// Where the clouds' own services are: on this machine, so that no TLS is asked of them.
pub(crate) const CLOUD: &str = "http://127.0.0.9";

/// All of them.
pub(crate) struct Identities {
    pub(crate) aws: Aws,
    pub(crate) azure: Azure,
    pub(crate) google: Google,
    /// The programs whose passwords are taken.
    programs: Vec<Program>,
    /// What was issued for registries, for whom if that is one user, and until when it is good, in ms.
    issued: HashMap<String, (Option<&'static str>, u64)>,
    /// How many there were.
    given: u64,
    clock: Clock,
    /// How far the clouds' clock is ahead, in seconds.
    pub(crate) ahead: u64,
    /// What is asked for by a path with this end is refused with this status.
    pub(crate) refused: Option<(&'static str, u16)>,
    /// How long the clouds' services take to answer.
    pub(crate) slow: Duration,
    /// There is something at their addresses; else whoever dials them went where nothing may lead.
    pub(crate) reachable: bool,
}

impl Identities {
    pub(super) fn new() -> Self {
        Self {
            aws: Aws::default(),
            azure: Azure::default(),
            google: Google::default(),
            programs: Vec::new(),
            issued: HashMap::new(),
            given: 0,
            clock: Clock::start(),
            ahead: 0,
            refused: None,
            slow: Duration::ZERO,
            reachable: false,
        }
    }

    /// What time it is there.
    fn now(&self) -> Time {
        self.clock.now() + Duration::from_secs(self.ahead)
    }

    /// True for a password that was issued for the user and did not end.
    pub(super) fn accepts(&mut self, user: &str, password: &str, at: u64) -> bool {
        self.hear_of_programs(at);
        let issued = self.issued.get(password);
        issued.is_some_and(|(whose, end)| whose.is_none_or(|whose| whose == user) && at < *end)
    }

    /// Makes all that was issued void.
    pub(crate) fn revoke(&mut self) {
        self.hear_of_programs(0);
        self.issued.clear();
    }

    /// A password for the registry.
    fn issue(&mut self, at: u64, life: Duration) -> String {
        self.given += 1;
        let password = format!("issued-{}", self.given);
        self.accept(&password, at, life);
        password
    }

    fn accept(&mut self, password: &str, at: u64, life: Duration) {
        self.issued.insert(password.to_owned(), (None, at + millis(life)));
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, request: &Request) -> Reply {
        if let Some(refused) = self.refused_to(request) {
            return refused;
        }
        let mut reply = match request.role {
            Role::Metadata if request.path.starts_with("/metadata/identity") => self.managed(request),
            Role::Metadata if request.path.starts_with("/computeMetadata") => self.machine(request),
            Role::Metadata => self.instance(request),
            Role::Agent => self.agent(request),
            _ => self.service(request),
        };
        if request.role == Role::Cloud {
            reply.delay += self.slow;
        }
        reply.with("date", self.now().to_string())
    }

    /// What is refused whoever asks.
    fn refused_to(&self, request: &Request) -> Option<Reply> {
        let (end, status) = self.refused?;
        request.path.ends_with(end).then(|| Reply::new(status))
    }

    fn service(&mut self, request: &Request) -> Reply {
        match request.header("x-amz-target") {
            Some(target) => self.ecr(request, &target),
            None if request.path.ends_with("/oauth2/v2.0/token") => self.directory(request),
            None if request.path.ends_with(":generateAccessToken") => self.impersonate(request),
            None if request.path == "/v1/token" => self.federate(request),
            None if request.path == google::SUBJECT => self.subject(request),
            None => self.sts(request),
        }
    }
}

/// The fields of a form.
fn form(request: &Request) -> HashMap<String, String> {
    super::token::parameters(&request.body).into_iter().collect()
}
