//! What a certificate calls its owner, and how long it is good.

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::clock::Time;

/// Names that are read of one certificate.
const MAX_NAMES: usize = 64;

/// The names in a certificate (DER): its subject's common name, then its alternative names: hosts, addresses of mail,
/// and URIs, of which SPIFFE's are some. Nothing is verified here.
pub fn names(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let common = certificate.subject().iter_common_name();
    let common = common.filter_map(|name| name.as_str().ok());
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let alternative = alternative.iter().flat_map(|names| &names.value.general_names);
    let alternative = alternative.filter_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => Some(*name),
        _ => None,
    });
    let is_text = |name: &&str| !name.is_empty() && !name.contains(char::is_control);
    common
        .chain(alternative)
        .filter(is_text)
        .take(MAX_NAMES)
        .map(str::to_owned)
        .collect()
}

/// Since when and until when a certificate (DER) is good.
pub fn life(certificate: &[u8]) -> Option<(Time, Time)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let validity = certificate.validity();
    let [from, until] = [validity.not_before, validity.not_after].map(|time| {
        let millis = time.timestamp().checked_mul(1000)?;
        u64::try_from(millis).ok().map(Time::from_millis)
    });
    Some((from?, until?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn a_certificate_names_its_owner_by_common_name_host_and_uri() {
        let mut params = CertificateParams::new(vec!["node-1.test".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "node-1");
        let spiffe = "spiffe://cluster.test/ns/ci/sa/runner";
        params
            .subject_alt_names
            .push(SanType::URI(spiffe.try_into().unwrap()));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let found = names(certificate.der());
        assert!(found.contains(&"node-1".to_owned()), "{found:?}");
        assert!(
            found.contains(&"node-1.test".to_owned()) && found.contains(&spiffe.to_owned()),
            "{found:?}"
        );
    }

    proptest! {
        #[test]
        fn whatever_is_no_certificate_has_no_name(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(names(&bytes).is_empty());
        }
    }
}
