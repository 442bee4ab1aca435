//! Which upstreams stay: those an operator named, whatever strangers ask for.

use super::*;

fn chosen_of(entry: usize, registry: &str) -> Chosen {
    Chosen {
        entry,
        repository: Repository {
            registry: registry.parse().unwrap(),
            path: path(),
        },
    }
}

#[tokio::test]
async fn names_that_strangers_choose_drive_out_none_that_the_operator_chose() {
    let world = world(|_, _, _| answer("200 OK", "", "{}"), |_| {});
    let pattern = Options {
        registry: Pattern::parse("*.strangers.example").unwrap(),
        url: None,
        ..world.options.clone()
    };
    let dialer = Dialer {
        resolve: Arc::new(|_| Box::pin(std::future::ready(Ok(Vec::new())))),
        connect: Arc::new(|_| Box::pin(std::future::ready(Err(io::ErrorKind::Other.into())))),
        proxies: Proxies::Never,
    };
    let options = vec![pattern, world.options];
    let upstreams = Upstreams::new(options, Budgets::default(), &dialer, Clock::start());
    assert_eq!(upstreams.unused(), [(1, "r.example".parse().unwrap())]);
    let own = upstreams.get(&chosen_of(1, "r.example"));
    let first = upstreams.get(&chosen_of(0, "h0.strangers.example"));
    for number in 0..1000 {
        upstreams.get(&chosen_of(0, &format!("h{number}.strangers.example")));
    }
    assert!(Arc::ptr_eq(&own, &upstreams.get(&chosen_of(1, "r.example"))));
    let again = upstreams.get(&chosen_of(0, "h0.strangers.example"));
    assert!(!Arc::ptr_eq(&first, &again), "what a pattern makes is bounded");
    let used = upstreams.used();
    assert_eq!(used.len(), 257);
    assert_eq!(used.last().unwrap().registry.as_str(), "r.example");
    assert!(used.is_sorted_by_key(|used| (used.entry, used.registry.to_string())));
    assert!(upstreams.unused().is_empty());
}
