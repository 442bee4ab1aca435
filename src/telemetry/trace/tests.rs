//! Contexts: taken over, carried, passed on, collected.

use tokio_util::task::TaskTracker;

use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn tracing(ratio: f64) -> (Tracing, Receiver<Span>, IntCounter) {
    let dropped = IntCounter::new("dropped", "Dropped.").unwrap();
    let (tracer, spans) = Tracer::new(ratio, dropped.clone());
    (Tracing::new(Some(tracer), true), spans, dropped)
}

fn from(parent: &str) -> HeaderMap {
    HeaderMap::from_iter([(TRACEPARENT.parse().unwrap(), parent.parse().unwrap())])
}

fn done() -> Done {
    Done {
        name: "GET".into(),
        side: Side::Client,
        began: 1,
        ended: 2,
        failed: false,
        attributes: Vec::new(),
    }
}

fn parent_of(context: &Context) -> HeaderValue {
    context.traceparent().unwrap()
}

#[test]
fn a_context_is_passed_on_as_it_came_where_nothing_is_collected() {
    let context = Tracing::default().context(&from(PARENT)).unwrap();
    assert_eq!(parent_of(&context.next()), PARENT);
    assert!(!context.is_collected());
    assert!(Tracing::default().context(&HeaderMap::new()).is_none());
}

#[test]
fn nothing_is_passed_on_where_the_operator_does_not_want_it() {
    let silent = Tracing::new(None, false);
    let context = silent.context(&from(PARENT)).unwrap();
    assert_eq!(context.next().traceparent(), None);
    assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
}

#[test]
fn a_collected_context_is_the_parent_of_what_is_done_for_it() {
    let (tracing, mut spans, _) = tracing(0.0);
    let mut headers = from(PARENT);
    headers.insert("tracestate", "a=1".parse().unwrap());
    let server = tracing.context(&headers).unwrap();
    let client = server.next();
    assert_ne!(parent_of(&client), parent_of(&server));
    client.ended(done());
    server.ended(done());
    let (below, above) = (spans.try_recv().unwrap(), spans.try_recv().unwrap());
    assert_eq!(below.parent, Some(above.span));
    assert_eq!(above.parent, Some(0xb7ad_6b71_6920_3331));
    assert_eq!((below.trace, below.state.as_deref()), (above.trace, Some("a=1")));
    assert_eq!(format!("{:032x}", above.trace), server.trace_id());
}

#[test]
fn who_sends_a_trace_decides_whether_it_is_collected() {
    let (tracing, _spans, _) = tracing(1.0);
    let unsampled = PARENT.replace("-01", "-00");
    let context = tracing.context(&from(&unsampled)).unwrap();
    assert!(!context.is_collected());
    assert_eq!(parent_of(&context.next()), unsampled.as_str());
}

#[test]
fn traces_begin_here_for_the_part_that_the_operator_says() {
    let (all, _one, _) = tracing(1.0);
    assert!(all.context(&HeaderMap::new()).unwrap().is_collected());
    assert!(all.context(&from("nonsense")).unwrap().is_collected());
    let (none, _other, _) = tracing(0.0);
    assert!(none.begin().is_none());
    let (half, _third, _) = tracing(0.5);
    let began = (0..1000).filter(|_| half.begin().is_some()).count();
    assert!((350..650).contains(&began), "{began}");
}

#[test]
fn a_full_queue_drops_and_counts_and_holds_nobody_up() {
    let (tracing, mut spans, dropped) = tracing(1.0);
    let context = tracing.begin().unwrap();
    for _ in 0..MOST_WAITING + 5 {
        context.ended(done());
    }
    assert_eq!(dropped.get(), 5);
    assert!(spans.try_recv().is_ok());
    drop(spans);
    context.ended(done());
    assert_eq!(dropped.get(), 6);
}

#[tokio::test]
async fn a_task_of_its_own_is_done_for_what_began_it() {
    let context = Tracing::default().context(&from(PARENT)).unwrap();
    let tasks = TaskTracker::new();
    let task = at(&context, || tasks.spawn(carried(async { next() })));
    let inside = task.await.unwrap().unwrap();
    assert_eq!(parent_of(&inside), PARENT);
    assert!(next().is_none() && trace_id().is_none());
}

#[tokio::test]
async fn who_waits_for_the_work_of_another_is_linked_to_it_and_to_few() {
    let (tracing, mut spans, _) = tracing(1.0);
    let (one, other) = (tracing.begin().unwrap(), tracing.begin().unwrap());
    let unseen = Tracing::default().context(&from(PARENT));
    at(&one, || {
        joined(unseen.as_ref());
        joined(None);
        for _ in 0..=MOST_LINKS {
            joined(Some(&other));
        }
    });
    one.ended(done());
    let link = Link {
        trace: other.0.trace,
        span: other.0.span,
    };
    assert_eq!(spans.try_recv().unwrap().links, vec![link; MOST_LINKS]);
}

#[tokio::test]
async fn work_that_is_told_is_a_span_below_what_asked_for_it() {
    let (tracing, mut spans, _) = tracing(1.0);
    let server = tracing.begin().unwrap();
    let inside = within(Some(server.clone()), async {
        told(next(), "fetch", || 7, async { next().unwrap() }).await
    });
    let inside = inside.await;
    let fetch = spans.try_recv().unwrap();
    assert_eq!((fetch.parent, &*fetch.done.name), (Some(server.0.span), "fetch"));
    assert_eq!(inside.0.parent, Some(fetch.span));
}
