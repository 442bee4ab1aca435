//! The registries of this world, as far as pulls meet them: bundles of switches.

use std::time::Duration;

use super::switches::{
    Account, Auth, Counts, Delivery, Figures, Lockout, Manifests, Rate, RateForm, Realm, Scope, Spelling,
    Switches, TokenAnswer, TokenField, Unknown, per_hours,
};

/// A registry.
#[derive(Clone, Debug)]
pub(crate) struct Preset {
    pub(crate) name: &'static str,
    pub(crate) switches: Switches,
}

impl Preset {
    /// The same with something turned on top.
    pub(crate) fn turned(mut self, turn: impl FnOnce(&mut Switches)) -> Self {
        turn(&mut self.switches);
        self
    }

    /// True if the pulls of those who ask, with the preset's first account if it has any, are counted.
    pub(crate) fn is_counted(&self) -> bool {
        let account = self.switches.accounts.first();
        let allowance = account.map_or(self.switches.allowance, |account| account.allowance);
        allowance.is_some()
    }
}

/// What Seawall logs in with where a preset has an account.
pub(crate) const PASSWORD: &str = "right";

/// All of them.
pub(crate) fn all() -> Vec<Preset> {
    let each: [(&'static str, Switches); 24] = [
        ("registry2", Switches::default()),
        ("hub-anon-2020", hub_2020()),
        ("hub-anon-2026", hub()),
        ("hub-free", with_account(hub(), "robot", Some(200))),
        ("hub-paid", with_account(hub(), "robot", None)),
        ("hub-ipv6", hub_ipv6()),
        ("hub-abuse", hub_abuse()),
        ("ghcr", ghcr()),
        ("quay", quay()),
        ("gar", gar()),
        ("k8s", k8s()),
        ("mcr", mcr()),
        ("ecr-public", ecr_public()),
        ("ecr-private", ecr_private()),
        ("acr", acr()),
        ("nvcr", nvcr()),
        ("gitlab", gitlab()),
        ("harbor", harbor()),
        ("artifactory", artifactory()),
        ("redhat", redhat()),
        ("elastic", elastic()),
        ("gitea", gitea()),
        ("mirror-gcr", mirror_gcr()),
        ("chaos", chaos()),
    ];
    let each = each.into_iter().map(|(name, switches)| Preset { name, switches });
    each.collect()
}

/// A registry with tokens and stores, as most are.
pub(crate) fn usual(service: &'static str) -> Switches {
    Switches {
        auth: Auth::Bearer,
        service: Some(service),
        blobs: Delivery::Redirect(307),
        ..Switches::default()
    }
}

/// The largest registry, to those without an account, as its headers have it since 2026.
pub(crate) fn hub() -> Switches {
    Switches {
        allowance: Some(per_hours(100, 1)),
        figures: Figures::Both,
        source: true,
        // It carries a chain of certificates.
        token_bytes: 4400,
        ..usual("registry.docker.io")
    }
}

fn hub_2020() -> Switches {
    Switches {
        allowance: Some(per_hours(100, 6)),
        figures: Figures::Plain,
        gets_per_unit: 2,
        ..hub()
    }
}

/// With one account that is allowed so much an hour, or (`None`) anything.
pub(crate) fn with_account(mut switches: Switches, name: &'static str, pulls: Option<u64>) -> Switches {
    switches.accounts.push(Account {
        name,
        password: PASSWORD,
        former: None,
        allowance: pulls.map(|pulls| per_hours(pulls, 1)),
    });
    switches
}

fn hub_ipv6() -> Switches {
    Switches {
        egress: "2001:db8:801:2000::",
        foreign_per_hour: 60.0,
        ..hub()
    }
}

/// Little patience, and a 429 that is not even HTTP.
pub(crate) fn hub_abuse() -> Switches {
    Switches {
        rate: Some(Rate {
            per_second: 1.0,
            burst: 12.0,
            counts: Counts::Everything,
            form: RateForm::BareLineFeeds,
            retry_after: Some("60"),
        }),
        ..hub()
    }
}

/// One token for everything, and 429s that ask for microseconds.
pub(crate) fn ghcr() -> Switches {
    Switches {
        realm: Realm::SameHost("/token"),
        scope: Scope::NamedButBoundToNothing,
        token: TokenAnswer {
            field: TokenField::Token,
            expires_in: None,
        },
        rate: Some(Rate {
            per_second: 50.0,
            burst: 4.0,
            counts: Counts::Endpoints,
            form: RateForm::Words,
            retry_after: None,
        }),
        ..usual("ghcr.io")
    }
}

fn quay() -> Switches {
    Switches {
        auth: Auth::BothOnOneLine,
        realm: Realm::SameHost("/v2/auth"),
        blobs: Delivery::RedirectWithPage(302),
        rate: Some(Rate {
            per_second: 5.0,
            burst: 10.0,
            counts: Counts::Endpoints,
            form: RateForm::Plain,
            retry_after: None,
        }),
        ..usual("quay.io")
    }
}

/// The challenge stands at `/v2/` only, and names no scope.
fn gar() -> Switches {
    Switches {
        realm: Realm::SameHost("/v2/token"),
        scope: Scope::Absent,
        spelling: Spelling::UnquotedService,
        challenge_on_repository: false,
        ..usual("gcr.io")
    }
}

/// Redirects to another registry, which has tokens of its own.
fn k8s() -> Switches {
    Switches {
        manifests: Manifests::Elsewhere,
        blobs: Delivery::Redirect(307),
        unknown: Unknown::Page,
        ..Switches::default()
    }
}

/// Open to all, but its stores are not always in the mood.
fn mcr() -> Switches {
    Switches {
        blobs: Delivery::Redirect(307),
        store_refusals: 1,
        ..Switches::default()
    }
}

/// One pull a second, and one scope for everything.
pub(crate) fn ecr_public() -> Switches {
    Switches {
        realm: Realm::SameHost("/token/"),
        scope: Scope::Fixed("aws"),
        rate: Some(Rate {
            per_second: 1.0,
            burst: 6.0,
            counts: Counts::Pulls,
            form: RateForm::Json,
            retry_after: None,
        }),
        ..usual("public.ecr.aws")
    }
}

fn ecr_private() -> Switches {
    let switches = Switches {
        auth: Auth::Basic,
        private: true,
        digest_on_get: false,
        unknown: Unknown::Denied,
        ..usual("")
    };
    with_account(switches, "AWS", None)
}

fn acr() -> Switches {
    Switches {
        realm: Realm::SameHost("/oauth2/token"),
        token: TokenAnswer {
            field: TokenField::AccessToken,
            expires_in: None,
        },
        token_life: Duration::from_secs(75 * 60),
        rate: Some(Rate {
            per_second: 1000.0 / 60.0,
            burst: 200.0,
            counts: Counts::Everything,
            form: RateForm::Plain,
            retry_after: None,
        }),
        ..usual("seawall.azurecr.io")
    }
}

/// A challenge without a service, a user whose name is not one, and tokens of ten minutes.
fn nvcr() -> Switches {
    let switches = Switches {
        service: None,
        realm: Realm::SameHost("/proxy_auth"),
        private: true,
        token: TokenAnswer {
            field: TokenField::Both,
            expires_in: Some(600),
        },
        token_life: Duration::from_secs(600),
        ..usual("")
    };
    with_account(switches, "$oauthtoken", None)
}

/// A HEAD is sent to a URL that is signed for GET, and who fails to log in is banned.
fn gitlab() -> Switches {
    Switches {
        manifests: Manifests::Signed,
        lockout: Some(Lockout {
            failures: 30,
            within: Duration::from_secs(180),
            length: Duration::from_secs(3600),
        }),
        ..usual("container_registry")
    }
}

/// Everything below a path.
fn harbor() -> Switches {
    Switches {
        prefix: "/prefix",
        realm: Realm::SameHost("/service/token"),
        unknown: Unknown::Json("UNKNOWN"),
        blobs: Delivery::Inline,
        ..usual("harbor-registry")
    }
}

fn artifactory() -> Switches {
    Switches {
        prefix: "/artifactory/api/docker/remote",
        realm: Realm::Relative("/artifactory/api/docker/token"),
        blobs: Delivery::Redirect(302),
        ..usual("artifactory")
    }
}

/// Manifests that call themselves plain text.
fn redhat() -> Switches {
    Switches {
        manifest_type: Some("text/plain"),
        unknown: Unknown::Json("UNKNOWN"),
        ..usual("docker-registry")
    }
}

fn elastic() -> Switches {
    Switches {
        realm: Realm::WithQuery,
        blobs: Delivery::Redirect(301),
        ..usual("token-service")
    }
}

fn gitea() -> Switches {
    Switches {
        auth: Auth::BothInTwoFields,
        scope: Scope::Fixed("*"),
        realm: Realm::SameHost("/v2/token"),
        blobs: Delivery::Redirect(303),
        ..usual("container_registry")
    }
}

fn mirror_gcr() -> Switches {
    Switches {
        blobs: Delivery::Redirect(302),
        ..Switches::default()
    }
}

/// One request in ten meets a fault.
fn chaos() -> Switches {
    Switches { chaos: 0.1, ..hub() }
}
