//! Traces: taken over from clients, told to registries and to nobody else, and collected without anybody waiting.

mod collector;
mod unwell;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use seawall::net::dial::{Dialer, Io, Proxies};
use seawall::telemetry::trace::MOST_WAITING;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use self::collector::{Collector, Mood, Told};
use crate::support::configured::{Configured, hub};
use crate::support::registry::{Registry, Script};
use crate::support::seawall::Seawall;
use crate::support::world::{MIB, blob_path, content, image, manifest_path};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &str = "00-1bf7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01";

struct Traced {
    registry: Registry,
    collector: Collector,
    configured: Configured,
}

impl Traced {
    fn seawall(&self) -> &Seawall {
        &self.configured.seawall
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) {
        let answer = self.seawall().ask(Method::GET, path, headers).await;
        assert!(answer.is_good(), "{path}: {answer:?}");
    }

    fn counted(&self, outcome: &str) -> u64 {
        let text = self.seawall().metrics.exposition();
        let line = format!("seawall_trace_spans_total{{outcome=\"{outcome}\"}} ");
        let figure = text.lines().find_map(|found| found.strip_prefix(&line));
        figure.unwrap().parse().unwrap()
    }
}

fn trace_to(collector: &str, more: &str) -> String {
    format!("[trace]\nendpoint = \"http://{collector}:4318\"\n{more}\n")
}

/// A registry, a Seawall that collects what is traced by its clients, and the collector.
fn traced(upstream: &str, trace: &str) -> Traced {
    let (registry, collector) = (Registry::default(), Collector::default());
    let text = format!("{trace}{}", hub(upstream));
    let configured = Configured::start(&collector.beside(&registry), &text);
    Traced {
        registry,
        collector,
        configured,
    }
}

fn by_clients() -> String {
    trace_to("collector.test", "ratio = \"0%\"\nservice = \"edge\"")
}

#[tokio::test(start_paused = true)]
async fn a_cold_pull_is_one_trace_from_the_client_to_the_registry() {
    let world = traced("", &by_clients());
    let image = image(&world.registry, Some("1"), 7);
    let headers = [("traceparent", PARENT), ("tracestate", "vendor=secret")];
    world.get(&manifest_path("1"), &headers).await;
    world.get(&blob_path(&image.layer), &headers).await;
    let collector = &world.collector;
    let [manifest, blob] = [
        collector.one("GET manifest").await,
        collector.one("GET blob").await,
    ];
    for server in [&manifest, &blob] {
        assert_eq!(
            (server.text("traceId"), server.text("parentSpanId")),
            (TRACE, &PARENT[36..52])
        );
        assert_eq!(server.0["kind"], 2);
        assert_eq!(server.text("traceState"), "vendor=secret");
        assert_eq!(server.attribute("seawall.from"), "upstream");
        assert_eq!(server.attribute("http.response.status_code"), "200");
        assert_eq!(server.attribute("seawall.repository"), "docker.io/library/app");
    }
    assert_eq!(
        blob.attribute("http.response.body.size"),
        &Value::from((MIB / 4).to_string())
    );
    assert_eq!(
        blob.attribute("seawall.reference"),
        &Value::from(image.layer.to_string())
    );
    let below = |above: &Told, span: &Told| {
        assert_eq!(
            (span.text("traceId"), span.text("parentSpanId")),
            (TRACE, above.text("spanId"))
        );
    };
    let [resolve, fetch, fill] = [
        collector.one("resolve").await,
        collector.one("fetch").await,
        collector.one("fill").await,
    ];
    below(&manifest, &resolve);
    below(&manifest, &fetch);
    below(&blob, &fill);
    let head = collector.one("HEAD").await;
    below(&resolve, &head);
    let gets = collector.named("GET").await;
    let [buy, download] = &gets[..] else {
        panic!("{gets:#?}")
    };
    below(&fetch, buy);
    below(&fill, download);
    assert_eq!(
        (head.attribute("seawall.spent"), head.0["kind"].as_u64()),
        (&Value::Null, Some(3))
    );
    assert_eq!(
        (buy.attribute("seawall.spent"), buy.attribute("server.address")),
        (&true.into(), &"hub.test".into())
    );
    // Each request said whose it is, by the span that is its own.
    let journal = world.registry.journal();
    let told = |seen: &crate::support::registry::Seen| {
        assert!(!seen.headers.contains_key("tracestate"));
        seen.headers["traceparent"].to_str().unwrap().to_owned()
    };
    let told: Vec<String> = journal.iter().map(told).collect();
    let ours = [&head, buy, download].map(|span| format!("00-{TRACE}-{}-01", span.text("spanId")));
    assert_eq!(told, ours);
    let (_, body) = &world.collector.0.lock().unwrap().seen[0];
    assert_eq!(
        body["resourceSpans"][0]["resource"]["attributes"][0]["value"]["stringValue"],
        "edge"
    );
}

#[tokio::test(start_paused = true)]
async fn who_joins_a_download_is_linked_to_it() {
    let world = traced("", &by_clients());
    let digest = world.registry.blob("library/app", content(2 * MIB, 3));
    let path = blob_path(&digest);
    world
        .registry
        .script(&path, Script::paced(Duration::from_secs(1)));
    let (one, other) = ([("traceparent", PARENT)], [("traceparent", OTHER)]);
    tokio::join!(world.get(&path, &one), async {
        sleep(Duration::from_millis(500)).await;
        world.get(&path, &other).await;
    });
    let fill = world.collector.one("fill").await;
    let spans = world.collector.named("GET blob").await;
    let joined = spans.iter().find(|span| span.text("traceId") != TRACE).unwrap();
    assert_eq!(joined.attribute("seawall.outcome"), "collapsed");
    let links = joined.0["links"].as_array().unwrap();
    assert_eq!(links.len(), 1);
    assert_eq!(links[0]["traceId"], TRACE);
    assert_eq!(links[0]["spanId"], fill.text("spanId"));
    let led = spans.iter().find(|span| span.text("traceId") == TRACE).unwrap();
    assert_eq!(led.0["links"], Value::Null);
    assert_eq!(world.registry.journal().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_manifest_that_another_fetches_is_linked_to_that() {
    let world = traced("", &by_clients());
    let image = image(&world.registry, Some("1"), 7);
    let path = manifest_path(image.manifest);
    let slow = Script {
        delay: Duration::from_secs(1),
        ..Script::default()
    };
    world.registry.script(&path, slow);
    let (one, other) = ([("traceparent", PARENT)], [("traceparent", OTHER)]);
    tokio::join!(world.get(&path, &one), async {
        sleep(Duration::from_millis(500)).await;
        world.get(&path, &other).await;
    });
    let fetch = world.collector.one("fetch").await;
    let spans = world.collector.named("GET manifest").await;
    let joined = spans.iter().find(|span| span.text("traceId") != TRACE).unwrap();
    assert_eq!(joined.0["links"][0]["spanId"], fetch.text("spanId"));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_context_is_ignored_and_what_is_not_sampled_is_passed_on_as_it_came() {
    let world = traced("", &by_clients());
    let unsampled = PARENT.replace("-01", "-00");
    let mut seen = 0;
    for (place, (headers, passed)) in [
        (vec![("traceparent", "00-nonsense-b7ad6b7169203331-01")], None),
        (vec![("traceparent", PARENT), ("traceparent", OTHER)], None),
        (vec![("tracestate", "a=1")], None),
        (
            vec![("traceparent", unsampled.as_str())],
            Some(unsampled.as_str()),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let digest = world
            .registry
            .blob("library/app", content(MIB, 41 + 2 * place as u64));
        world.get(&blob_path(&digest), &headers).await;
        let journal = world.registry.journal();
        for request in &journal[seen..] {
            let told = request
                .headers
                .get("traceparent")
                .map(|told| told.to_str().unwrap());
            assert_eq!(told, passed, "{headers:?}");
        }
        assert!(journal.len() > seen);
        seen = journal.len();
    }
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.collector.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn contexts_are_passed_on_without_a_collector_and_to_nobody_where_they_are_to_stay() {
    for (trace, told) in [("", Some(PARENT)), ("[trace]\npass_on = false\n", None)] {
        let world = traced("", trace);
        let digest = world.registry.blob("library/app", content(MIB, 3));
        world.get(&blob_path(&digest), &[("traceparent", PARENT)]).await;
        let journal = world.registry.journal();
        let header = journal[0].headers.get("traceparent");
        assert_eq!(header.map(|header| header.to_str().unwrap()), told);
    }
}

#[tokio::test(start_paused = true)]
async fn stores_and_alternates_do_not_learn_whose_request_it_is() {
    let world = traced(
        "alternates = [\"http://mirror.test\"]",
        &by_clients().replace("edge", "e"),
    );
    let (store, mirror) = (Registry::default(), Registry::default());
    world.registry.beside("store.test", &store);
    world.registry.beside("mirror.test", &mirror);
    let (image, _) = (image(&world.registry, None, 7), image(&mirror, None, 7));
    let path = blob_path(&image.layer);
    store.put(
        "/signed".to_owned(),
        "application/octet-stream",
        world.registry.bytes_of(&path),
    );
    let redirect = Script {
        status: Some(StatusCode::TEMPORARY_REDIRECT),
        headers: vec![("location", "http://store.test/signed?signature=canary".to_owned())],
        ..Script::default()
    };
    world.registry.script(&path, redirect);
    let headers = [("traceparent", PARENT)];
    world.get(&path, &headers).await;
    world.get(&manifest_path(image.manifest), &headers).await;
    assert!(world.registry.journal()[0].headers.contains_key("traceparent"));
    for other in [&store, &mirror] {
        let journal = other.journal();
        assert!(!journal.is_empty());
        assert!(
            journal
                .iter()
                .all(|seen| !seen.headers.contains_key("traceparent"))
        );
    }
    let gets = world.collector.named("GET").await;
    assert_eq!(gets.len(), 3);
    let to_store = gets
        .iter()
        .find(|span| span.attribute("server.address") == "store.test")
        .unwrap();
    assert_eq!(to_store.attribute("url.path"), &Value::Null);
    let text = format!("{:?}", world.collector.spans());
    assert!(!text.contains("canary") && !text.contains("signed"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_fails_is_a_span_that_says_so() {
    let world = traced("", &by_clients());
    let path = blob_path(&world.registry.blob("library/app", "x"));
    let status = |status| Script {
        status: StatusCode::from_u16(status).ok(),
        ..Script::default()
    };
    world.registry.script(&path, status(403));
    let headers = [("traceparent", PARENT)];
    assert!(!world.seawall().ask(Method::GET, &path, &headers).await.is_good());
    let asked = world.collector.one("GET").await;
    assert_eq!(
        (asked.attribute("error.type"), &asked.0["status"]["code"]),
        (&"403".into(), &2.into())
    );
    assert_eq!(world.collector.one("fill").await.0["status"]["code"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_reload_sends_what_comes_next_elsewhere_and_what_came_before_to_where_it_was_to_go() {
    let mut world = traced("", &by_clients());
    let digest = world.registry.blob("library/app", content(MIB, 3));
    let path = blob_path(&digest);
    let headers = [("traceparent", PARENT)];
    world.get(&path, &headers).await;
    let text = by_clients().replace(
        "edge",
        "other\"\nheaders = { authorization = \"Bearer canary\" }\n#\"",
    );
    let reload = world.configured.change(&format!("{text}{}", hub(""))).await;
    assert!(reload.applied && reload.restart.is_empty(), "{reload:?}");
    assert!(!format!("{reload:?}").contains("canary"), "{reload:?}");
    world.get(&path, &headers).await;
    sleep(Duration::from_secs(5)).await;
    let state = world.collector.0.lock().unwrap();
    let told = |(headers, body): &(HeaderMap, Value)| {
        let resource = &body["resourceSpans"][0];
        let name = resource["resource"]["attributes"][0]["value"]["stringValue"].clone();
        let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap().len();
        (name, spans, headers.contains_key("authorization"))
    };
    let told: Vec<_> = state.seen.iter().map(told).collect();
    assert_eq!(told, [("edge".into(), 3, false), ("other".into(), 1, true)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_fetched_over_several_connections_is_all_of_one_trace() {
    let world = traced("", &by_clients());
    let digest = world.registry.blob("library/app", content(64 * MIB, 3));
    let path = blob_path(&digest);
    let slow = Script {
        delay: Duration::from_millis(40),
        ..Script::paced(Duration::from_millis(100))
    };
    world.registry.script(&path, slow);
    world.get(&path, &[("traceparent", PARENT)]).await;
    let fill = world.collector.one("fill").await;
    let gets = world.collector.named("GET").await;
    assert!(gets.len() > 2, "{gets:#?}");
    assert_eq!(gets.len(), world.registry.journal().len());
    for get in gets {
        assert_eq!(
            (get.text("traceId"), get.text("parentSpanId")),
            (TRACE, fill.text("spanId"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_reader_fetches_ahead_of_a_download_is_its_own() {
    let world = traced("lanes = 1", &by_clients());
    let digest = world.registry.blob("library/app", content(64 * MIB, 3));
    let path = blob_path(&digest);
    world
        .registry
        .script(&path, Script::paced(Duration::from_secs(1)));
    let far = [("traceparent", PARENT), ("range", "bytes=62914560-62914569")];
    tokio::join!(world.get(&path, &[]), async {
        sleep(Duration::from_secs(2)).await;
        world.get(&path, &far).await;
    });
    let blob = world.collector.one("GET blob").await;
    let ahead = world.collector.one("GET").await;
    assert_eq!(ahead.text("parentSpanId"), blob.text("spanId"));
    assert_eq!(world.registry.journal().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_end_hands_over_what_is_left_and_does_not_wait_for_who_hangs() {
    for (mood, came, most) in [(Mood::Takes, 1, 0), (Mood::Hangs, 0, 2)] {
        let world = traced("", &trace_to("collector.test", ""));
        world.get("/v2/", &[]).await;
        world.collector.feels(mood);
        let began = Instant::now();
        world.configured.running.exports().finish().await;
        assert_eq!(began.elapsed(), Duration::from_secs(most));
        assert_eq!((world.collector.requests(), world.counted("exported")), (1, came));
    }
}
