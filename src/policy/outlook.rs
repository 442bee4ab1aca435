//! What a pull would come to, foretold from what is known before anything is asked.
//!
//! Nothing acts on it: a pull decides step by step, by the same rules, and an operator reads here what it would
//! decide. A test holds the one against the other.

use super::freshness::Before;

/// How a pull names its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// By its digest, which cannot move.
    Digest,
    /// By a tag that the operator has locked.
    Locked,
    /// By a tag.
    Tag {
        /// What its freshness says.
        before: Before,
        /// Whether something is known of the tag.
        known: bool,
        /// Whether that may still be served if the upstream does not answer.
        may_be_stale: bool,
    },
}

/// Whether who asks may have what is of a repository, as far as is known without asking its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// That is no question: who may pull from here may have it.
    Open,
    /// The upstream shows it to everybody, as it said of late.
    Shown,
    /// It does not, as it said of late.
    Hidden,
    /// It is asked before anything is served, which costs nothing.
    Asked,
    /// It does not, as it said of late, to who has not logged in; who has, it is asked for by that login.
    Login,
}

impl Permit {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Shown => "shown",
            Self::Hidden => "hidden",
            Self::Asked => "asked",
            Self::Login => "login",
        }
    }
}

/// What is known of a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Whether who asks may have it.
    pub permit: Permit,
    /// How it names its manifest.
    pub named: Named,
    /// Whether that manifest is held, as far as is known which one it is.
    pub held: bool,
    /// Whether all that must follow it is held, too.
    pub follows: bool,
    /// Whether its upstream would be asked at all.
    pub reachable: bool,
    /// Whether a manifest may be bought now.
    pub affordable: bool,
}

/// What a pull would come to: its word in an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Served at once; nothing is asked.
    Served,
    /// Served at once, and the upstream is asked behind its back whether the tag has moved.
    Refreshing,
    /// The upstream is asked by HEAD what the tag points at. What that is, is held if it has not moved.
    Validated,
    /// The manifest is fetched.
    Fetched,
    /// Served although nobody can say whether the tag has moved.
    Stale,
    /// Not served.
    Refused,
}

impl Outlook {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Refreshing => "refreshing",
            Self::Validated => "validated",
            Self::Fetched => "fetched",
            Self::Stale => "stale",
            Self::Refused => "refused",
        }
    }
}

/// Foretells one pull.
pub fn of(known: Known) -> Outlook {
    let Known { held, follows, .. } = known;
    match known.permit {
        Permit::Hidden | Permit::Login => return Outlook::Refused,
        // Whatever is held: nobody says that it may be served.
        Permit::Asked if !known.reachable => return Outlook::Refused,
        // If the upstream shows it.
        Permit::Asked | Permit::Open | Permit::Shown => {}
    }
    match known.named {
        Named::Digest | Named::Locked if held => Outlook::Served,
        Named::Digest | Named::Locked => fetch(known),
        Named::Tag {
            before,
            known: is_known,
            ..
        } => match before {
            Before::Serve if held => Outlook::Served,
            Before::Refresh if held && follows => Outlook::Refreshing,
            Before::Offline if is_known && held && follows => Outlook::Stale,
            Before::Offline => Outlook::Refused,
            Before::Serve if known.reachable && known.affordable => Outlook::Fetched,
            Before::Serve | Before::Refresh | Before::Ask => ask(known),
        },
    }
}

/// The upstream is asked what a tag points at.
fn ask(known: Known) -> Outlook {
    let may_be_stale = matches!(
        known.named,
        Named::Tag {
            may_be_stale: true,
            ..
        }
    );
    match known.reachable {
        true if known.held => Outlook::Validated,
        true => fetch(known),
        false if may_be_stale && known.held && known.follows => Outlook::Stale,
        false => Outlook::Refused,
    }
}

fn fetch(known: Known) -> Outlook {
    match known.reachable && known.affordable {
        true => Outlook::Fetched,
        false => Outlook::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pull of which this is known.
    fn all(permit: Permit) -> Vec<Known> {
        let befores = [Before::Serve, Before::Refresh, Before::Ask, Before::Offline];
        let mut names = vec![Named::Digest, Named::Locked];
        for before in befores {
            for (known, may_be_stale) in [(false, false), (true, false), (true, true)] {
                names.push(Named::Tag {
                    before,
                    known,
                    may_be_stale,
                });
            }
        }
        let bits = |named: Named| {
            (0..16_u8).map(move |bits| Known {
                permit,
                named,
                held: bits & 1 != 0,
                follows: bits & 2 != 0,
                reachable: bits & 4 != 0,
                affordable: bits & 8 != 0,
            })
        };
        names.into_iter().flat_map(bits).collect()
    }

    #[test]
    fn what_is_hidden_is_refused_whatever_is_held() {
        for permit in [Permit::Hidden, Permit::Login] {
            for known in all(permit) {
                assert_eq!(of(known), Outlook::Refused, "{known:?}");
            }
        }
    }

    #[test]
    fn what_has_to_be_asked_about_comes_to_the_same_if_somebody_can_be_asked() {
        for known in all(Permit::Asked) {
            let open = Known {
                permit: Permit::Open,
                ..known
            };
            let expected = if known.reachable {
                of(open)
            } else {
                Outlook::Refused
            };
            assert_eq!(of(known), expected, "{known:?}");
        }
        for known in all(Permit::Shown) {
            let open = Known {
                permit: Permit::Open,
                ..known
            };
            assert_eq!(of(known), of(open), "{known:?}");
        }
    }
}
