//! The certificate that clients are shown, in numbers: until when it is good, and what came of renewing it.

use prometheus::{IntCounterVec, IntGauge};

use super::book::{Book, figure, label, words};

label! {
    /// What came of asking an authority for a certificate.
    Renewal {
        /// It is shown now.
        Renewed = "renewed",
        /// There is none: the one before is shown, if there is one.
        Failed = "failed",
    }
}

/// The metrics of the certificate.
#[derive(Debug)]
pub struct Certificate {
    until: IntGauge,
    failing: IntGauge,
    renewals: IntCounterVec,
}

impl Certificate {
    pub(super) fn new(book: &Book) -> Self {
        let renewals = book.counters(
            "seawall_certificate_renewals_total",
            "Times an authority was asked for a certificate by ACME, by what came of it: renewed or failed.",
            &[words("outcome", Renewal::WORDS)],
        );
        for word in Renewal::WORDS {
            renewals.with_label_values(&[word]);
        }
        Self {
            until: book.gauge(
                "seawall_certificate_expiry_timestamp_seconds",
                "Until when the certificate that clients are shown is good, as a Unix time; 0 if they are shown none.",
            ),
            failing: book.gauge(
                "seawall_certificate_renewal_failing",
                "1 if the certificate could not be renewed when it was last tried, else 0.",
            ),
            renewals,
        }
    }

    /// The certificate that clients are shown is good until so many milliseconds after the Unix epoch; `None`: they are shown none.
    pub fn is_good_until(&self, until: Option<u64>) {
        self.until.set(until.map_or(0, |until| figure(until / 1000)));
    }

    /// An authority was asked.
    pub fn renewed(&self, what: Renewal) {
        self.renewals.with_label_values(&[what.word()]).inc();
        self.failing.set(i64::from(what == Renewal::Failed));
    }

    /// None comes from an authority.
    pub fn needs_no_renewal(&self) {
        self.failing.set(0);
    }

    /// Until when the certificate is good that clients are shown, in milliseconds since the Unix epoch.
    pub fn good_until(&self) -> Option<u64> {
        let seconds = u64::try_from(self.until.get()).unwrap_or(0);
        (seconds > 0).then_some(seconds * 1000)
    }

    /// True if it could not be renewed when that was last tried.
    pub fn is_failing(&self) -> bool {
        self.failing.get() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_that_failed_is_told_until_one_works() {
        let book = Book::default();
        let certificate = Certificate::new(&book);
        book.expect("seawall_certificate_expiry_timestamp_seconds 0");
        certificate.renewed(Renewal::Failed);
        assert!(certificate.is_failing());
        book.expect("seawall_certificate_renewal_failing 1");
        certificate.renewed(Renewal::Renewed);
        certificate.is_good_until(Some(7_999));
        assert_eq!(certificate.good_until(), Some(7_000));
        book.expect("seawall_certificate_renewal_failing 0");
        book.expect("seawall_certificate_expiry_timestamp_seconds 7");
        book.expect(r#"seawall_certificate_renewals_total{outcome="failed"} 1"#);
    }
}
