//! The metrics of HTTP: requests, durations and octets, by the place of the layer or app that has answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::StatusCode;
use ziggurat_middleware::metrics::{Counter, Distribution, Histogram};
use ziggurat_middleware::{Metrics, Place};

/// What has become of requests, by place. It outlives the stacks, so the counters go on after a reload.
#[derive(Default)]
pub(super) struct RequestMetrics {
    /// Shard when a place answers for the first time, so that a request takes no lock.
    places: ArcSwap<HashMap<Place, Arc<PlaceMetrics>, foldhash::fast::RandomState>>,
}

/// A request that has ended.
pub(super) struct EndedRequest {
    /// `None` without a response: the client has gone, or its stream was reset.
    pub(super) status: Option<StatusCode>,
    /// From the head to the last octet of the response; `None` if there was no whole head.
    pub(super) time: Option<Duration>,
    /// Octets of the bodies.
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl EndedRequest {
    /// A request without a head, or a whole one, that the server has answered with this status.
    pub(super) const fn refused(status: StatusCode) -> Self {
        Self { status: Some(status), time: None, received: 0, sent: 0 }
    }
}

/// Where the server itself has answered, or nobody.
const SERVER: &str = "server";

/// How many places are counted apart. A file has fewer; those of earlier files stay until the process ends.
const PLACES: usize = 1024;

/// Where the answers of further places are counted.
const OTHERS: &str = "others";

/// The values of the label `status`: the classes of RFC 9110 section 15, and requests without a response.
const STATUSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Upper bounds in seconds of the histogram of durations.
const DURATIONS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// Each counter has so many shards. Connections are spread over them, so that threads seldom write to the same one.
const SHARDS: usize = 8;

#[derive(Default)]
struct PlaceMetrics([Shard; SHARDS]);

/// In cache lines of its own.
#[repr(align(128))]
struct Shard {
    statuses: [Counter; STATUSES.len()],
    durations: Histogram,
    received: Counter,
    sent: Counter,
}

impl RequestMetrics {
    /// Counts a request of the connection with this number. Without a place, the server itself has answered.
    pub(super) fn count(&self, connection: u64, place: Option<&Place>, ended: &EndedRequest) {
        let places = self.places.load();
        match places.get(place.map_or(SERVER, Place::as_str)) {
            Some(metrics) => metrics.count(connection, ended),
            None => self.add(place).count(connection, ended),
        }
    }

    /// The counters of a place that has not answered before.
    fn add(&self, place: Option<&Place>) -> Arc<PlaceMetrics> {
        let is_full = self.places.load().len() >= PLACES;
        let place = match place {
            None => Place::new(SERVER),
            Some(_) if is_full => Place::new(OTHERS),
            Some(place) => place.clone(),
        };
        self.places.rcu(|places| {
            let mut places = HashMap::clone(places);
            places.entry(place.clone()).or_default();
            places
        });
        self.places.load().get(&place).cloned().unwrap_or_default()
    }

    /// Responses by class, and requests without one. Classes without requests are left out.
    pub(super) fn statuses(&self) -> Vec<(&'static str, u64)> {
        let places = self.places.load();
        let count = |nth: usize| places.values().map(|place| place.sum(|shard| &shard.statuses[nth])).sum();
        STATUSES.iter().enumerate().map(|(nth, status)| (*status, count(nth))).filter(|(_, count)| *count > 0).collect()
    }

    /// Adds the families.
    pub(super) fn scrape(&self, metrics: &mut Metrics) {
        let places = self.places.load();
        let mut places: Vec<(&str, &PlaceMetrics)> = places.iter().map(|(place, metrics)| (place.as_str(), &**metrics)).collect();
        places.sort_unstable_by_key(|(place, _)| *place);
        let help = "Requests that have ended, by the layer or app that has answered and the class of the status.";
        let requests = metrics.counter("ziggurat_http_requests_total", help);
        for (place, metrics) in &places {
            for (nth, status) in STATUSES.iter().enumerate() {
                let count = metrics.sum(|shard| &shard.statuses[nth]);
                if count > 0 {
                    requests.sample(&[("place", place), ("status", status)], count);
                }
            }
        }
        let help = "Time from the head of a request to the last octet of its response.";
        let durations = metrics.histogram("ziggurat_http_request_duration_seconds", help);
        places.iter().for_each(|(place, metrics)| _ = durations.sample(&[("place", place)], metrics.durations()));
        let received = metrics.counter("ziggurat_http_received_bytes_total", "Octets of request bodies that the stack has read.");
        places.iter().for_each(|(place, metrics)| _ = received.sample(&[("place", place)], metrics.sum(|shard| &shard.received)));
        let sent = metrics.counter("ziggurat_http_sent_bytes_total", "Octets of response bodies.");
        places.iter().for_each(|(place, metrics)| _ = sent.sample(&[("place", place)], metrics.sum(|shard| &shard.sent)));
    }
}

impl PlaceMetrics {
    fn count(&self, connection: u64, ended: &EndedRequest) {
        // The remainder is below the length.
        let shard = &self.0[(connection % SHARDS as u64) as usize];
        shard.statuses[class(ended.status)].add(1);
        if let Some(time) = ended.time {
            shard.durations.observe(time);
        }
        if ended.received > 0 {
            shard.received.add(ended.received);
        }
        if ended.sent > 0 {
            shard.sent.add(ended.sent);
        }
    }

    fn sum(&self, counter: impl Fn(&Shard) -> &Counter) -> u64 {
        self.0.iter().map(|shard| counter(shard).get()).sum()
    }

    fn durations(&self) -> Distribution {
        let mut all = Histogram::new(DURATIONS).get();
        for shard in &self.0 {
            let Distribution { buckets, sum, count } = shard.durations.get();
            all.buckets.iter_mut().zip(buckets).for_each(|((_, all), (_, count))| *all += count);
            all.sum += sum;
            all.count += count;
        }
        all
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self { statuses: <_>::default(), durations: Histogram::new(DURATIONS), received: <_>::default(), sent: <_>::default() }
    }
}

/// The index of a status in [`STATUSES`]. What is above 599 is treated as an error of the server (RFC 9110 section 15).
fn class(status: Option<StatusCode>) -> usize {
    status.map_or(0, |status| usize::from(status.as_u16() / 100).min(STATUSES.len() - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: u16) -> EndedRequest {
        EndedRequest { status: StatusCode::from_u16(status).ok(), time: Some(Duration::from_millis(2)), received: 3, sent: 5 }
    }

    #[test]
    fn requests_are_summed_over_connections_and_told_by_place() {
        let counted = RequestMetrics::default();
        for connection in 0..20 {
            counted.count(connection, Some(&"main".into()), &ended(if connection == 0 { 404 } else { 200 }));
        }
        counted.count(7, None, &EndedRequest { time: None, ..ended(0) });
        let mut metrics = Metrics::default();
        counted.scrape(&mut metrics);
        let text = metrics.to_string();
        for line in [
            "ziggurat_http_requests_total{place=\"main\",status=\"2xx\"} 19\n",
            "ziggurat_http_requests_total{place=\"main\",status=\"4xx\"} 1\n",
            "ziggurat_http_requests_total{place=\"server\",status=\"none\"} 1\n",
            "ziggurat_http_request_duration_seconds_bucket{place=\"main\",le=\"0.001\"} 0\n",
            "ziggurat_http_request_duration_seconds_bucket{place=\"main\",le=\"0.0025\"} 20\n",
            "ziggurat_http_request_duration_seconds_count{place=\"main\"} 20\n",
            "ziggurat_http_request_duration_seconds_count{place=\"server\"} 0\n",
            "ziggurat_http_received_bytes_total{place=\"main\"} 60\n",
            "ziggurat_http_sent_bytes_total{place=\"main\"} 100\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert_eq!(counted.statuses(), [("none", 1), ("2xx", 19), ("4xx", 1)]);
    }

    #[test]
    fn a_status_outside_of_all_classes_counts_as_an_error_of_the_server() {
        let names =
            [None, Some(100), Some(299), Some(599), Some(999)].map(|code| class(code.and_then(|code| StatusCode::from_u16(code).ok())));
        assert_eq!(names.map(|index| STATUSES[index]), ["none", "1xx", "2xx", "5xx", "5xx"]);
    }

    #[test]
    fn places_beyond_the_most_are_counted_together() {
        let counted = RequestMetrics::default();
        for nth in 0..PLACES + 50 {
            counted.count(0, Some(&Place::new(format!("p{nth}"))), &ended(200));
        }
        assert_eq!((counted.places.load().len(), counted.statuses()), (PLACES + 1, vec![("2xx", PLACES as u64 + 50)]));
    }
}
