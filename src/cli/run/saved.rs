//! What a Seawall has saved, in two lines.

use std::fmt;

use super::super::words::{count, size};
use crate::cache::Status;

/// What a Seawall has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Saved {
    /// Requests that were answered.
    requests: u64,
    /// Bytes that the command got, and that came from registries.
    sent: u64,
    received: u64,
    /// Counted requests that were sent, and those that were not needed.
    spent: u64,
    avoided: u64,
}

impl Saved {
    /// Reads what `/api/v1/status` and `/metrics` answer.
    pub(super) fn read(status: &[u8], metrics: &str) -> Result<Self, String> {
        let status: Status = serde_json::from_slice(status).map_err(|error| error.to_string())?;
        let upstreams = status.upstreams.iter();
        Ok(Self {
            // Whether this is a registry was asked by us.
            requests: sum(metrics, "seawall_requests_total", "route=\"base\""),
            sent: sum(metrics, "seawall_sent_bytes_total", "from=\"none\""),
            received: sum(metrics, "seawall_received_bytes_total", "from=\"none\""),
            spent: upstreams.clone().map(|upstream| upstream.spent).sum(),
            avoided: upstreams.flat_map(|upstream| upstream.avoided.values()).sum(),
        })
    }
}

/// The sum of a counter's samples without those of one label.
fn sum(metrics: &str, name: &str, without: &str) -> u64 {
    let samples = metrics.lines().filter_map(|line| line.strip_prefix(name));
    let of_this = samples.filter(|rest| rest.starts_with(['{', ' ']) && !rest.contains(without));
    let values = of_this.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum::<f64>() as u64
}

impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            requests,
            sent,
            received,
            spent,
            avoided,
        } = *self;
        if requests == 0 {
            return f.write_str("seawall: the command asked for nothing through it");
        }
        write!(
            f,
            "seawall: {} answered with {}, of which {} came from registries ({} saved); spent {}, avoided {avoided}",
            count(requests, "request", "requests"),
            size(sent),
            size(received),
            size(sent.saturating_sub(received)),
            count(spent, "counted request", "counted requests"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_told_in_a_line() {
        let status = br#"{"version":"1","now":1,"upstreams":[
            {"registry":"docker.io","state":"used","reason":null,"accounts":[],"buckets":[],"waiting":{},"spent":1,"avoided":{"fresh":2,"held":1}},
            {"registry":"ghcr.io","state":"used","reason":null,"accounts":[],"buckets":[],"waiting":{},"spent":2,"avoided":{}}]}"#;
        let metrics = "# HELP seawall_requests_total Requests answered.\n\
                       seawall_requests_total{class=\"2xx\",route=\"blob\"} 4\nseawall_requests_total{class=\"4xx\"} 1\n\
                       seawall_requests_total_other 9\nseawall_sent_bytes_total 3145728\nseawall_received_bytes_total 1048576\n";
        let metrics = format!(
            "{metrics}seawall_requests_total{{class=\"2xx\",from=\"none\",route=\"base\"}} 7\n\
             seawall_sent_bytes_total{{from=\"none\"}} 14\n"
        );
        let saved = Saved::read(status, &metrics).unwrap();
        assert_eq!(
            saved.to_string(),
            "seawall: 5 requests answered with 3.0 MiB, of which 1.0 MiB came from registries (2.0 MiB saved); \
             spent 3 counted requests, avoided 3"
        );
    }

    #[test]
    fn a_command_that_found_no_way_through_is_told_apart() {
        let told = Saved::read(br#"{"version":"1","now":1,"upstreams":[]}"#, "").unwrap();
        assert_eq!(
            told.to_string(),
            "seawall: the command asked for nothing through it"
        );
    }
}
