//! Keeps the certificate that clients are shown good: tells until when it is, and has it renewed in time.

#[cfg(feature = "acme")]
mod renewing;

use std::sync::Arc;

use crate::clock::{Clock, Time};
use crate::net::dial::Dialer;
use crate::net::serving::Serving;
use crate::telemetry::metrics::Metrics;

/// The certificate of one configuration.
#[cfg_attr(
    not(feature = "acme"),
    allow(dead_code, reason = "the clock and the dialer are for what is renewed")
)]
pub(super) struct Certificate {
    pub(super) serving: Option<Serving>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    pub(super) dialer: Dialer,
}

impl Certificate {
    /// Tells until when the certificate is good, and renews it if it comes by ACME; then for ever.
    ///
    /// Cancel-safe: an order that is dropped is made again.
    #[cfg_attr(not(feature = "acme"), allow(clippy::unused_async, reason = "renewing waits"))]
    pub(super) async fn keep(self) {
        let serving = self.serving.as_ref();
        let until = serving.and_then(Serving::life).map(|(_, until, _)| until);
        self.metrics.certificate.is_good_until(until.map(Time::as_millis));
        #[cfg(feature = "acme")]
        if let Some(serving) = serving
            && let Some(acme) = &serving.acme
        {
            return self.renew_in_time(serving, acme).await;
        }
        self.metrics.certificate.needs_no_renewal();
    }
}
