//! What the cache has done, in the metrics and the status.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::store::Store;
use crate::metrics::Counter;
use crate::{Context, Metrics};

/// Requests, by how they were answered.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) hits: Counter,
    pub(super) stale: Counter,
    pub(super) revalidated: Counter,
    pub(super) collapsed: Counter,
    pub(super) misses: Counter,
    pub(super) passed: Counter,
}

impl Figures {
    fn by_result(&self) -> [(&'static str, &Counter); 6] {
        [
            ("hit", &self.hits),
            ("stale", &self.stale),
            ("revalidated", &self.revalidated),
            ("collapsed", &self.collapsed),
            ("miss", &self.misses),
            ("pass", &self.passed),
        ]
    }

    pub(super) fn show(self: &Arc<Self>, store: &Arc<Store>, context: &Context) {
        let (figures, store_figures, place) = (Arc::clone(self), Arc::clone(store), context.place().clone());
        context.on_scrape(move |metrics: &mut Metrics| {
            let (store, place) = (&store_figures, ("place", place.as_str()));
            let requests = metrics.counter("ziggurat_cache_requests_total", "Requests that a `cache` layer has met, by what it did.");
            for (result, counter) in figures.by_result() {
                requests.sample(&[place, ("result", result)], counter);
            }
            let (urls, responses, octets) = store.sizes();
            metrics.gauge("ziggurat_cache_urls", "URLs with stored responses.").sample(&[place], urls);
            metrics.gauge("ziggurat_cache_responses", "Stored responses.").sample(&[place], responses);
            metrics.gauge("ziggurat_cache_memory_bytes", "Memory that stored responses take.").sample(&[place], octets);
            metrics
                .counter("ziggurat_cache_evictions_total", "Stored responses that made room for others.")
                .sample(&[place], &store.evictions);
            metrics.counter("ziggurat_cache_purged_total", "Stored responses that were purged.").sample(&[place], &store.purged);
        });
        let (figures, store) = (Arc::clone(self), Arc::clone(store));
        context.on_status(move || {
            let (urls, responses, octets) = store.sizes();
            let requests: Map<String, Value> =
                figures.by_result().map(|(result, count)| (result.to_owned(), count.get().into())).into_iter().collect();
            json!({
                "urls": urls,
                "responses": responses,
                "memory": octets,
                "requests": requests,
                "evictions": store.evictions.get(),
                "purged": store.purged.get(),
            })
        });
    }
}
