//! Places in a fill: those of the clients that follow it, and that of the task that carries it out.

use std::sync::Arc;

use super::fill::{Fill, Phase};
use super::{Failure, SharedFlights, lock};
use crate::clock::Clock;
use crate::policy::flight::{FlightId, Landing, Leave};
use crate::telemetry::metrics::fills::End;
use crate::telemetry::metrics::{Metrics, Open};

/// One client's place in a fill. Giving the last one up may stop the fill.
pub(super) struct Seat {
    pub(super) fill: Arc<Fill>,
    /// `None` for a fill that only this client follows.
    pub(super) id: Option<FlightId>,
    pub(super) flights: SharedFlights,
    pub(super) clock: Clock,
    pub(super) _counted: Open,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(id) = self.id else {
            self.fill.cancel.cancel();
            return;
        };
        let (digest, progress) = (self.fill.digest, self.fill.snapshot());
        let mut flights = lock(&self.flights);
        if flights.leave(&digest, id, progress.visible, progress.total) == Leave::Cancel {
            self.fill.cancel.cancel();
            flights.land(&digest, id, Landing::Cancelled, self.clock.now());
        }
    }
}

/// Lands the flight however the download's task ends: a task that panics, or is dropped, has failed.
pub(super) struct Ending {
    pub(super) _active: Open,
    pub(super) metrics: Arc<Metrics>,
    pub(super) fill: Arc<Fill>,
    pub(super) id: Option<FlightId>,
    pub(super) flights: SharedFlights,
    pub(super) clock: Clock,
    pub(super) landing: Landing,
}

impl Ending {
    /// With this outcome.
    pub(super) fn land(mut self, landing: Landing) {
        self.landing = landing;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.metrics.fills.ended(match self.landing {
            Landing::Arrived => End::Arrived,
            Landing::Failed => End::Failed,
            Landing::Cancelled => End::Cancelled,
        });
        self.fill.publish(|progress| {
            if matches!(progress.phase, Phase::Running) {
                progress.phase = Phase::Failed(Arc::new(Failure::internal()));
            }
            progress.landed = true;
        });
        if self.landing != Landing::Arrived {
            self.fill.came_to_nothing();
        }
        let Some(id) = self.id else { return };
        let now = self.clock.now();
        let mut flights = lock(&self.flights);
        flights.land(&self.fill.digest, id, self.landing, now);
        flights.sweep(now);
    }
}
