//! Events that say which trace they belong to.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::super::trace;

/// Adds the trace, if there is one, to what another format writes.
pub(super) struct Traced<F> {
    format: F,
    json: bool,
}

impl<F> Traced<F> {
    /// Adds to lines of text.
    pub(super) fn text(format: F) -> Self {
        Self { format, json: false }
    }

    /// Adds to objects.
    pub(super) fn json(format: F) -> Self {
        Self { format, json: true }
    }
}

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(id) = trace::trace_id() else {
            return self.format.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end_matches('\n');
        match line.strip_suffix('}').filter(|_| self.json) {
            Some(open) => writeln!(writer, r#"{open},"trace_id":"{id}"}}"#),
            None => writeln!(writer, "{line} trace_id={id}"),
        }
    }
}
