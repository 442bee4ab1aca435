//! A collector of traces that keeps what it is told, or does not.

use super::*;

/// What a collector does with a request.
#[derive(Clone, Copy)]
pub(super) enum Mood {
    Takes,
    Hangs,
    /// Answers after a time.
    After(Duration),
    Status(u16),
    /// Takes all spans but these.
    Rejects(u64),
}

#[derive(Default)]
pub(super) struct State {
    /// For one request each; then it takes what comes.
    pub(super) moods: VecDeque<Mood>,
    pub(super) always: Option<Mood>,
    pub(super) down: bool,
    pub(super) seen: Vec<(HeaderMap, Value)>,
}

/// A collector at `collector.test`. Clones share everything.
#[derive(Clone, Default)]
pub(super) struct Collector(pub(super) Arc<Mutex<State>>);

/// A span, as it was collected.
#[derive(Clone, Debug)]
pub(super) struct Told(pub(super) Value);

impl Told {
    pub(super) fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    pub(super) fn attribute(&self, key: &str) -> &Value {
        let all = self.0["attributes"].as_array().unwrap();
        let found = all.iter().find(|attribute| attribute["key"] == key);
        found.map_or(&Value::Null, |attribute| {
            attribute["value"].as_object().unwrap().values().next().unwrap()
        })
    }
}

impl Collector {
    /// A dialer that reaches the registry under every name but one.
    pub(super) fn beside(&self, registry: &Registry) -> Dialer {
        let address: std::net::IpAddr = [5, 6, 7, 8].into();
        let (others, collector) = (registry.dialer(), self.clone());
        let (resolve, connect) = (others.resolve, others.connect);
        Dialer {
            proxies: Proxies::Never,
            resolve: Arc::new(move |name| match name.as_str() {
                "collector.test" => Box::pin(async move { Ok(vec![address]) }),
                _ => resolve(name),
            }),
            connect: Arc::new(move |to| {
                if to.ip() != address {
                    return connect(to);
                }
                let collector = collector.clone();
                Box::pin(async move {
                    if collector.0.lock().unwrap().down {
                        return Err(std::io::ErrorKind::ConnectionRefused.into());
                    }
                    let (near, far) = tokio::io::duplex(64 * 1024);
                    tokio::spawn(collector.serve(far));
                    Ok(Box::new(near) as Box<dyn Io>)
                })
            }),
        }
    }

    pub(super) async fn serve(self, io: tokio::io::DuplexStream) {
        let service = hyper::service::service_fn(move |request| {
            let collector = self.clone();
            async move { Ok::<_, std::convert::Infallible>(collector.answer(request).await) }
        });
        let http = hyper::server::conn::http1::Builder::new();
        // A connection that its client gives up ends with an error; nothing follows from it.
        let _ = http.serve_connection(TokioIo::new(io), service).await;
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        assert_eq!((head.method, head.uri.path()), (Method::POST, "/v1/traces"));
        let body = body.collect().await.unwrap().to_bytes();
        let mood = {
            let mut state = self.0.lock().unwrap();
            let body = serde_json::from_slice(&body).unwrap();
            state.seen.push((head.headers, body));
            let once = state.moods.pop_front();
            once.or(state.always).unwrap_or(Mood::Takes)
        };
        let (status, text) = match mood {
            Mood::Takes => (200, "{}".to_owned()),
            Mood::Hangs => std::future::pending().await,
            Mood::After(time) => {
                sleep(time).await;
                (200, "{}".to_owned())
            }
            Mood::Status(status) => (status, String::new()),
            Mood::Rejects(spans) => (
                200,
                format!(r#"{{"partialSuccess":{{"rejectedSpans":"{spans}","errorMessage":"no"}}}}"#),
            ),
        };
        let answer = Response::builder().status(status);
        answer.body(Full::from(text)).unwrap()
    }

    pub(super) fn feels(&self, always: Mood) {
        self.0.lock().unwrap().always = Some(always);
    }

    pub(super) fn requests(&self) -> usize {
        self.0.lock().unwrap().seen.len()
    }

    /// Every span that came.
    pub(super) fn spans(&self) -> Vec<Told> {
        let state = self.0.lock().unwrap();
        let of = |body: &Value| {
            let scopes = body["resourceSpans"][0]["scopeSpans"].as_array().unwrap();
            scopes[0]["spans"].as_array().unwrap().clone()
        };
        state
            .seen
            .iter()
            .flat_map(|(_, body)| of(body))
            .map(Told)
            .collect()
    }

    /// The spans of this name, once they have gathered.
    pub(super) async fn named(&self, name: &str) -> Vec<Told> {
        sleep(Duration::from_secs(2)).await;
        let named = |span: &Told| span.text("name") == name;
        self.spans().into_iter().filter(named).collect()
    }

    pub(super) async fn one(&self, name: &str) -> Told {
        let mut named = self.named(name).await;
        assert_eq!(named.len(), 1, "{name} is not once in {:#?}", self.spans());
        named.remove(0)
    }
}
