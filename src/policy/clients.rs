//! Who asks, what rank they have, and how long they wait for an answer.

mod marks;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;

pub use self::marks::Mark;
use super::access::{Access, Evidence, Grant, Role};
use super::issuers::Claim;
use super::quota::Quota;

/// What the numbers of users begin with that no rule names: above all indices of rules, below all addresses.
const USERS: u64 = 1 << 32;

/// One rank of clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Tier {
    /// Its name in the configuration, in metrics and for people.
    pub name: String,
    /// The part of every upstream's budget (0 to 1) that it may not touch.
    pub reserve: f64,
    /// What each of its clients may take.
    pub quota: Quota,
}

/// One client that the operator named.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Index of its tier.
    pub tier: usize,
    /// What is true of its requests.
    pub matches: Matches,
    /// What it may do.
    pub grant: Grant,
}

impl Rule {
    /// A client by where it comes from, which may pull everything.
    pub fn at(name: &str, tier: usize, networks: Vec<IpNet>) -> Self {
        Self {
            name: name.to_owned(),
            tier,
            matches: Matches::from(networks),
            grant: Grant::default(),
        }
    }
}

/// What has to be true of a request to be a client's: of each list that is not empty, one element; of the claims, all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matches {
    /// The networks it comes from.
    pub networks: Vec<IpNet>,
    /// The users it logs in as.
    pub users: Vec<String>,
    /// The names in the certificate that it shows: a common name, a host, an address of mail, a URI.
    pub certificates: Vec<String>,
    /// The issuers, by name, that vouch for it.
    pub issuers: Vec<String>,
    /// What its issuer says of it: all of that.
    pub claims: Vec<Claim>,
}

impl Matches {
    /// Requests from these networks, whoever sends them.
    pub fn from(networks: Vec<IpNet>) -> Self {
        Self {
            networks,
            ..Self::default()
        }
    }

    /// True if no request can be told by it from any other.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn hold(&self, evidence: &Evidence<'_>, address: IpAddr, user: Option<&str>) -> bool {
        let is_here = |network: &IpNet| network.contains(&address);
        let is_user = |name: &String| user == Some(name.as_str());
        let is_named = |name: &String| evidence.certificate.contains(name);
        let vouches = |name: &String| evidence.bearer.is_some_and(|bearer| bearer.issuer == *name);
        let is_said = |claim: &Claim| evidence.bearer.is_some_and(|bearer| claim.holds(&bearer.claims));
        !self.is_empty()
            && (self.networks.is_empty() || self.networks.iter().any(is_here))
            && (self.users.is_empty() || self.users.iter().any(is_user))
            && (self.certificates.is_empty() || self.certificates.iter().any(is_named))
            && (self.issuers.is_empty() || self.issuers.iter().any(vouches))
            && self.claims.iter().all(is_said)
    }
}

/// Everybody who may ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Clients {
    /// The tiers.
    pub tiers: Vec<Tier>,
    /// The named clients; the first that a request matches is the one.
    pub rules: Vec<Rule>,
    /// Index of the tier of everybody else.
    pub default: usize,
    /// What holds for all of them.
    pub access: Access,
}

/// What is known of who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The client with this place among the rules.
    Named(usize),
    /// Nobody's client, and may pull: it logged in, or comes from where nobody needs to.
    Admitted,
    /// Nobody who may pull.
    Stranger,
}

/// Who one request is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A named client is one, whatever its addresses; everybody else is one by address.
    pub client: u64,
    /// Index of the tier.
    pub tier: usize,
    /// What is known of it.
    pub standing: Standing,
    /// True if it proved who it is, and was not just told by where it comes from.
    pub proven: bool,
}

impl Clients {
    /// Who asks, as far as a request proves it.
    pub fn identify(&self, evidence: &Evidence<'_>) -> Identity {
        let address = evidence.address.to_canonical();
        let user = self.user(evidence);
        let proven = user.is_some() || !evidence.certificate.is_empty();
        let holds = |rule: &Rule| rule.matches.hold(evidence, address, user);
        if let Some(index) = self.rules.iter().position(holds) {
            return Identity {
                client: index as u64,
                tier: self.rules[index].tier,
                standing: Standing::Named(index),
                proven: proven || evidence.bearer.is_some(),
            };
        }
        // An issuer's word alone opens nothing: some give it to everybody. Who is meant, a rule has to say.
        let (client, standing) = match evidence.user.filter(|_| user.is_some()) {
            Some(index) => (USERS + index as u64, Standing::Admitted),
            None if proven || self.access.anonymous.admits(address) => {
                (by_address(address), Standing::Admitted)
            }
            None => (by_address(address), Standing::Stranger),
        };
        Identity {
            client,
            tier: self.default,
            standing,
            proven,
        }
    }

    /// What a client may do; `None` for whoever is not named, who may pull everything or nothing.
    pub fn grant(&self, who: &Identity) -> Option<&Grant> {
        match who.standing {
            Standing::Named(index) => self.rules.get(index).map(|rule| &rule.grant),
            Standing::Admitted | Standing::Stranger => None,
        }
    }

    /// How far somebody may go. By where it comes from alone, nobody changes anything.
    pub fn role(&self, who: &Identity) -> Role {
        match self.grant(who) {
            Some(grant) if who.proven => grant.role,
            Some(grant) => grant.role.min(Role::Read),
            None => Role::Pull,
        }
    }

    /// The number of a named client.
    pub fn number_of(&self, name: &str) -> Option<u64> {
        let place = self.rules.iter().position(|rule| rule.name == name)?;
        u64::try_from(place).ok()
    }

    /// What people call a client: its name, else its address or network.
    pub fn name_of(&self, client: u64) -> String {
        let place = |first: u64| {
            client
                .checked_sub(first)
                .and_then(|place| usize::try_from(place).ok())
        };
        let named = place(0)
            .and_then(|index| self.rules.get(index))
            .map(|rule| &rule.name);
        let user = || {
            place(USERS)
                .and_then(|index| self.access.users.get(index))
                .map(|user| &user.name)
        };
        named
            .or_else(user)
            .map_or_else(|| address_of(client), String::clone)
    }

    /// By tier: what it may not touch.
    pub fn reserves(&self) -> Vec<f64> {
        self.tiers.iter().map(|tier| tier.reserve).collect()
    }
}

impl Default for Clients {
    /// Nobody is named, and nobody is held back.
    fn default() -> Self {
        Self {
            tiers: vec![Tier {
                name: "unlimited".to_owned(),
                reserve: 0.0,
                quota: Quota::UNLIMITED,
            }],
            rules: Vec::new(),
            default: 0,
            access: Access::default(),
        }
    }
}

/// A number for an address; all of an IPv6 /64 are one client. Above all indices of rules.
pub fn by_address(address: IpAddr) -> u64 {
    let bits = match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (Ipv6Addr::to_bits(address) >> 64) as u64,
    };
    bits | 1 << 63
}

/// The address that [`by_address`] made a number of. An IPv6 network whose highest bit cannot be told any more is
/// given the reading that is in use: global addresses have it unset, local ones set.
fn address_of(client: u64) -> String {
    let bits = client & !(1 << 63);
    if let Ok(address) = u32::try_from(bits)
        && address > 0
    {
        return Ipv4Addr::from_bits(address).to_string();
    }
    let bits = if bits >> 62 == 0 { bits } else { client };
    format!("{}/64", Ipv6Addr::from_bits(u128::from(bits) << 64))
}

/// How long the client of this User-Agent waits for an answer before it gives up or goes on: upstreams.md
/// measured them. Nobody is kept longer than 23 s, because containerd gives up at 30, and a refusal has to arrive
/// within 25.
pub fn patience(agent: &str) -> Duration {
    let known = [
        ("containerd", 23),
        ("kubelet", 23),
        ("cri-o", 23),
        ("docker", 20),
        ("buildkit", 20),
        ("containers/", 23),
        ("skopeo", 23),
        ("libpod", 23),
        ("buildah", 23),
        ("go-containerregistry", 8),
        ("crane", 8),
    ];
    let agent = agent.to_ascii_lowercase();
    let found = known.into_iter().find(|(name, _)| agent.contains(name));
    Duration::from_secs(found.map_or(10, |(_, seconds)| seconds))
}

/// True if the client of this User-Agent asks again at once after a 429, whatever it is told: its refusals are
/// slowed. Those are containerd, BuildKit, and a dockerd that pulls as containerd does, which it names (any
/// since 29, by default). The dockerd of old goes to the next host, and slowing it would gain nothing.
pub fn hurries(agent: &str) -> bool {
    let agent = agent.to_ascii_lowercase();
    let docker = agent.starts_with("docker/") && agent.contains("containerd-client/");
    docker || agent.starts_with("containerd/") || agent.starts_with("buildkit/")
}
