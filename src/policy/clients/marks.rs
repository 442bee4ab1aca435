//! By what a client is told from others: what its rule wants and its request proved, for people to read.

use ipnet::IpNet;

use super::{Clients, Identity, Matches, Standing};
use crate::policy::access::{Anonymous, Evidence};
use crate::policy::issuers::Claim;

/// One thing that says whose a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It comes from there.
    Network(IpNet),
    /// It logged in as this user.
    User(String),
    /// The certificate that it showed names it so.
    Certificate(String),
    /// The issuer of this name vouches for it.
    Issuer(String),
    /// Its issuer says this of it: a claim, and the value that counted.
    Claim(String, String),
}

impl Clients {
    /// What made a request that client's, or nobody's who may pull. Empty if nothing did: it comes from where nobody
    /// is asked who they are, or may not pull.
    pub fn marks(&self, who: &Identity, evidence: &Evidence<'_>) -> Vec<Mark> {
        if let Standing::Named(index) = who.standing {
            return self.rules[index].matches.marks(self, evidence);
        }
        let address = evidence.address.to_canonical();
        let admitted = match &self.access.anonymous {
            Anonymous::From(networks) => networks.iter().find(|network| network.contains(&address)),
            Anonymous::Everyone => None,
        };
        let user = self.user(evidence).map(|name| Mark::User(name.to_owned()));
        let certificate = || evidence.certificate.first().cloned().map(Mark::Certificate);
        let network = || admitted.copied().map(Mark::Network);
        let vouched = evidence.bearer.map(|bearer| Mark::Issuer(bearer.issuer.clone()));
        let admitted = user.or_else(certificate).or_else(network);
        admitted.into_iter().chain(vouched).collect()
    }

    /// The name of who logged in.
    pub(super) fn user<'a>(&'a self, evidence: &Evidence<'_>) -> Option<&'a str> {
        let user = evidence.user.and_then(|index| self.access.users.get(index));
        user.map(|user| user.name.as_str())
    }
}

impl Matches {
    /// Of each list that is not empty, what holds.
    fn marks(&self, clients: &Clients, evidence: &Evidence<'_>) -> Vec<Mark> {
        let address = evidence.address.to_canonical();
        let user = clients.user(evidence);
        let mut networks = self.networks.iter();
        let mut certificates = self.certificates.iter();
        let network = networks.find(|network| network.contains(&address));
        let user = self.users.iter().find(|name| user == Some(name.as_str()));
        let certificate = certificates.find(|name| evidence.certificate.contains(name));
        let mut marks: Vec<Mark> = [
            user.cloned().map(Mark::User),
            certificate.cloned().map(Mark::Certificate),
            network.copied().map(Mark::Network),
        ]
        .into_iter()
        .flatten()
        .collect();
        if let Some(bearer) = evidence.bearer {
            let issuer = self.issuers.iter().find(|name| **name == bearer.issuer);
            marks.extend(issuer.cloned().map(Mark::Issuer));
            let said = |claim: &Claim| Some((claim.name.clone(), claim.met_by(&bearer.claims)?.to_owned()));
            let said = self.claims.iter().filter_map(said);
            marks.extend(said.map(|(name, value)| Mark::Claim(name, value)));
        }
        marks
    }
}
