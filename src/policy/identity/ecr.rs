//! Amazon's registries by their names, and where their services and those that credentials come from are.

/// One of Amazon's registries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ecr {
    /// The region it is in.
    pub region: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// The one that everybody may pull from.
    Public,
    Private {
        /// Its names have addresses of both families.
        dual: bool,
        /// With validated cryptography only.
        fips: bool,
    },
}

/// The registry that everybody may pull from, and the same with addresses of both families.
const PUBLIC: [&str; 2] = ["public.ecr.aws", "ecr-public.aws.com"];
/// What regions of other partitions begin with, and where their services are. All others are at the last.
const PARTITIONS: [(&str, &str); 7] = [
    ("cn-", "amazonaws.com.cn"),
    ("eusc-", "amazonaws.eu"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("us-iso-", "c2s.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("", "amazonaws.com"),
];

impl Ecr {
    /// Of a host such as `123456789012.dkr.ecr.eu-west-1.amazonaws.com`. `None` for one that is not theirs.
    pub fn of(host: &str) -> Option<Self> {
        if PUBLIC.contains(&host) {
            return Some(Self {
                region: "us-east-1".to_owned(),
                kind: Kind::Public,
            });
        }
        let (account, rest) = host.split_once(".dkr")?;
        let (rest, dual) = match (rest.strip_prefix(".ecr"), rest.strip_prefix("-ecr")) {
            (Some(rest), _) => (rest, false),
            (None, Some(rest)) => (rest, true),
            (None, None) => return None,
        };
        let (rest, fips) = match rest.strip_prefix("-fips.") {
            Some(rest) => (rest, true),
            None => (rest.strip_prefix('.')?, false),
        };
        let (region, suffix) = rest.split_once('.')?;
        let expected = match dual {
            true if region.starts_with("cn-") => "on.amazonwebservices.com.cn",
            true => "on.aws",
            false => suffix_of(region),
        };
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        let kind = Kind::Private { dual, fips };
        (is_account && is_region(region) && suffix == expected).then(|| Self {
            region: region.to_owned(),
            kind,
        })
    }

    /// Of a registry whose name does not tell the region, which is this. `None` if that can be none.
    pub fn in_region(region: &str) -> Option<Self> {
        let (dual, fips) = (false, false);
        is_region(region).then(|| Self {
            region: region.to_owned(),
            kind: Kind::Private { dual, fips },
        })
    }

    /// True for the one that everybody may pull from.
    pub fn is_public(&self) -> bool {
        self.kind == Kind::Public
    }

    /// What signatures call its service.
    pub fn service(&self) -> &'static str {
        match self.kind {
            Kind::Public => "ecr-public",
            Kind::Private { .. } => "ecr",
        }
    }

    /// The operation that gives a token.
    pub fn operation(&self) -> &'static str {
        match self.kind {
            Kind::Public => "SpencerFrontendService.GetAuthorizationToken",
            Kind::Private { .. } => "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
        }
    }

    /// Where its service is.
    pub fn endpoint(&self) -> String {
        let region = &self.region;
        let suffix = suffix_of(region);
        let dual_suffix = match region.starts_with("cn-") {
            true => "api.amazonwebservices.com.cn",
            false => "api.aws",
        };
        let (service, suffix) = match self.kind {
            Kind::Public => ("api.ecr-public", suffix),
            Kind::Private { dual, fips } => {
                let service = match (dual, fips) {
                    (_, true) => "ecr-fips",
                    (true, false) => "ecr",
                    (false, false) => "api.ecr",
                };
                (service, if dual { dual_suffix } else { suffix })
            }
        };
        format!("https://{service}.{region}.{suffix}")
    }
}

/// Where the service is that gives roles to those who prove themselves.
pub fn sts(region: &str) -> String {
    format!("https://sts.{region}.{}", suffix_of(region))
}

/// True for what can be a region's name.
pub fn is_region(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.contains('-') && name.len() <= 32 && name.bytes().all(plain)
}

fn suffix_of(region: &str) -> &'static str {
    let found = PARTITIONS.iter().find(|(start, _)| region.starts_with(start));
    found.map_or("amazonaws.com", |(_, suffix)| suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_name_tells_its_region_and_its_service() {
        for (host, endpoint) in [
            (
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
                "https://api.ecr.eu-west-1.amazonaws.com",
            ),
            (
                "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
                "https://ecr-fips.us-gov-west-1.amazonaws.com",
            ),
            (
                "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
                "https://api.ecr.cn-north-1.amazonaws.com.cn",
            ),
            (
                "123456789012.dkr-ecr.eu-west-1.on.aws",
                "https://ecr.eu-west-1.api.aws",
            ),
            (
                "123456789012.dkr-ecr-fips.us-east-2.on.aws",
                "https://ecr-fips.us-east-2.api.aws",
            ),
            (
                "123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
                "https://ecr.cn-north-1.api.amazonwebservices.com.cn",
            ),
            (
                "123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov",
                "https://api.ecr.us-isob-east-1.sc2s.sgov.gov",
            ),
            ("public.ecr.aws", "https://api.ecr-public.us-east-1.amazonaws.com"),
        ] {
            let ecr = Ecr::of(host).unwrap_or_else(|| panic!("{host}"));
            assert_eq!(ecr.endpoint(), endpoint, "{host}");
            assert_eq!(ecr.is_public(), host == "public.ecr.aws");
        }
        assert_eq!(sts("cn-north-1"), "https://sts.cn-north-1.amazonaws.com.cn");
        assert_eq!(sts("eu-west-1"), "https://sts.eu-west-1.amazonaws.com");
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        for host in [
            "ghcr.io",
            "12345678901.dkr.ecr.eu-west-1.amazonaws.com",
            "a23456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
            "123456789012.dkr.ecr.evil.example.amazonaws.com",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
            "123456789012.dkr.ecr.eu-west-1.on.aws",
            "123456789012.dkr-ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecrx.eu-west-1.amazonaws.com",
            "x.public.ecr.aws",
        ] {
            assert_eq!(Ecr::of(host), None, "{host}");
        }
        assert_eq!(Ecr::in_region("eu/west"), None);
    }
}
