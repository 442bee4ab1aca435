//! What the operator asks for by HTTP, and is told.

use super::*;

/// What the operator's listener answers.
async fn asked_of(
    seawall: &Seawall,
    method: Method,
    path: &str,
    body: &str,
) -> (StatusCode, serde_json::Value) {
    let json = [("content-type", "application/json")];
    let path = format!("/api/v1/{path}");
    let answer = read(seawall.operate(method, &path, &json, body.to_owned()).await).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_operator_purges_by_a_plan_and_only_by_that() {
    let (world, dev, release) = pulled().await;
    let seawall = &world.seawall;
    let post = |path, body: String| async move { asked_of(seawall, Method::POST, path, &body).await };
    let (status, plan) = post(
        "purge",
        r#"{"filter":["docker.io/library/app:dev"],"dry_run":true}"#.to_owned(),
    )
    .await;
    assert_eq!(
        (status, &plan["dry_run"], &plan["tags"]),
        (StatusCode::OK, &true.into(), &1.into())
    );
    let fingerprint = &plan["fingerprint"];
    let wrong = r#"{"filter":["docker.io/library/app:.*"],"fingerprint":"0123456789abcdef"}"#;
    let (status, refused) = post("purge", wrong.to_owned()).await;
    assert_eq!(status, StatusCode::CONFLICT, "{refused}");
    assert!(refused["error"].as_str().unwrap().contains("nothing was removed"));
    assert!(blob_file(world.directory.path(), &release.layer).exists());
    let right = format!(r#"{{"filter":["docker.io/library/app:dev"],"fingerprint":{fingerprint}}}"#);
    let (status, done) = post("purge", right).await;
    assert_eq!((status, &done["dry_run"]), (StatusCode::OK, &false.into()));
    assert_eq!(done["goes"], plan["goes"]);
    assert!(!blob_file(world.directory.path(), &dev.layer).exists());
    let gone = format!(r#"{{"references":["{}"]}}"#, dev.layer);
    assert_eq!(post("purge", gone).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn the_operator_is_told_that_no_purge_is_under_way_that_could_be_stopped() {
    let (world, ..) = pulled().await;
    let ask = async |method, path: &str, body: &str| asked_of(&world.seawall, method, path, body).await;
    let (status, told) = ask(Method::GET, "purge", "").await;
    assert_eq!(
        (status, &told["purges"]),
        (StatusCode::OK, &serde_json::json!([]))
    );
    for (body, why) in [
        ("{}", "no purge waits or is under way"),
        (
            r#"{"fingerprint":"0123456789abcdef"}"#,
            "no purge of plan 0123456789abcdef waits",
        ),
    ] {
        let (status, refused) = ask(Method::POST, "purge/stop", body).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{refused}");
        assert!(refused["error"].as_str().unwrap().starts_with(why), "{refused}");
    }
    assert_eq!(
        ask(Method::POST, "purge/stop", r#"{"plan":1}"#).await.0,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        ask(Method::GET, "purge/stop", "").await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[tokio::test(start_paused = true)]
async fn the_operator_purges_what_is_only_in_quarantine_by_its_digest_or_by_the_image() {
    let (world, dev, _) = pulled().await;
    let seawall = &world.seawall;
    let file = blob_file(world.directory.path(), &dev.layer);
    std::fs::write(&file, "short").unwrap();
    world.registry.go_down();
    assert!(!seawall.get(&blob_path(&dev.layer)).await.is_good());
    let quarantine = world.directory.path().join("v1/quarantine");
    let aside = || std::fs::read_dir(&quarantine).unwrap().count();
    assert_eq!((file.exists(), aside()), (false, 1));
    // One that is well is no manifest of the repository.
    let body = format!(r#"{{"references":["app@{}"],"dry_run":true}}"#, dev.config);
    let (status, refused) = asked_of(seawall, Method::POST, "purge", &body).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let hint = format!("`seawall purge --digest {}` looks for it", dev.config);
    assert!(refused["error"].as_str().unwrap().contains(&hint), "{refused}");
    let mut plan = serde_json::Value::Null;
    for (reference, goes) in [
        (dev.layer.to_string(), 1),
        (format!("app@{}", dev.layer), 1),
        (format!("app@{}", dev.manifest), 4),
        ("app:dev".to_owned(), 4),
    ] {
        let body = format!(r#"{{"references":["{reference}"],"dry_run":true}}"#);
        let (status, told) = asked_of(seawall, Method::POST, "purge", &body).await;
        assert_eq!(status, StatusCode::OK, "{reference}: {told}");
        assert_eq!(told["leftovers"], 1, "{reference}: {told}");
        let rows = told["goes"].as_array().unwrap();
        assert_eq!((rows.len(), &rows[goes - 1]["kind"]), (goes, &"damaged".into()));
        plan = told;
    }
    assert_eq!(aside(), 1, "a dry run removes nothing");
    let body = format!(
        r#"{{"references":["app:dev"],"fingerprint":{}}}"#,
        plan["fingerprint"]
    );
    let (status, done) = asked_of(seawall, Method::POST, "purge", &body).await;
    assert_eq!((status, &done["spared_count"]), (StatusCode::OK, &0.into()));
    assert_eq!(aside(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_operator_locks_by_short_names_and_is_told_what_is_held() {
    let (world, _, release) = pulled().await;
    let seawall = &world.seawall;
    let post = |path, body: String| async move { asked_of(seawall, Method::POST, path, &body).await };
    let (status, held) = post("lock", r#"{"references":["app:v1"]}"#.to_owned()).await;
    assert_eq!(status, StatusCode::OK, "{held}");
    let row = &held["holds"][0];
    assert_eq!(
        (&row["kind"], &row["name"]),
        (&"locked".into(), &"docker.io/library/app:v1".into())
    );
    assert_eq!(row["digest"], release.manifest.to_string());
    let (_, listed) = asked_of(seawall, Method::GET, "holds", "").await;
    assert_eq!(listed["holds"], held["holds"]);
    let (_, plan) = post("purge", r#"{"filter":[".*:.*"],"dry_run":true}"#.to_owned()).await;
    let stays = plan["stays"].as_array().unwrap();
    assert!(
        stays
            .iter()
            .any(|row| row["reason"] == "locked" && row["kind"] == "tag"),
        "{plan}"
    );
    assert_eq!(
        post("unlock", r#"{"references":["app:v1"]}"#.to_owned()).await.0,
        StatusCode::OK
    );
    let (status, error) = post("unlock", r#"{"references":["app:v1"]}"#.to_owned()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(
        error["error"]
            .as_str()
            .unwrap()
            .contains("docker.io/library/app:v1 is not locked"),
        "{error}"
    );
    let (status, error) = post("lock", r#"{"references":["app:v9"]}"#.to_owned()).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_operator_is_told_what_came_of_each_reference_and_one_failure_stops_no_other() {
    let (world, ..) = pulled().await;
    let seawall = &world.seawall;
    let post = |path, body: &'static str| async move { asked_of(seawall, Method::POST, path, body).await };
    for (hold, release) in [("lock", "unlock"), ("pin", "unpin")] {
        let (status, told) = post(hold, r#"{"references":["app:dev","app:v9","app:v1"]}"#).await;
        assert_eq!(status, StatusCode::MULTI_STATUS, "{told}");
        let changes = told["changes"].as_array().unwrap();
        let names: Vec<_> = changes
            .iter()
            .map(|change| change["name"].as_str().unwrap())
            .collect();
        let full = ["dev", "v9", "v1"].map(|tag| format!("docker.io/library/app:{tag}"));
        assert_eq!(names, full);
        assert!(
            changes[0]["error"].is_null() && changes[2]["error"].is_null(),
            "{told}"
        );
        let why = changes[1]["error"].as_str().unwrap();
        assert!(why.contains("app:v9 is not held here"), "{why}");
        assert_eq!(told["holds"].as_array().unwrap().len(), 2);
        let (status, told) = post(release, r#"{"references":["app:v9","app:dev","app:v1"]}"#).await;
        assert_eq!(
            (status, &told["holds"]),
            (StatusCode::MULTI_STATUS, &serde_json::json!([]))
        );
        let (status, told) = post(release, r#"{"references":["app:v9","app:dev"]}"#).await;
        let why = told["error"].as_str().unwrap();
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(
            why.contains("app:v9 is not") && why.contains("app:dev is not"),
            "{why}"
        );
        let (status, told) = post(hold, r#"{"references":["app:dev","A B"]}"#).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(
            told["error"].as_str().unwrap().ends_with("; nothing has changed"),
            "{told}"
        );
        assert!(seawall.cache.holds().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_meant_is_refused_with_a_sentence() {
    let (world, ..) = pulled().await;
    for (path, body, what) in [
        ("purge", "{}", "nothing is named"),
        ("purge", r#"{"filter":["a"]}"#, "expected REPOSITORY:TAG"),
        ("purge", r#"{"filter":["a:("]}"#, "no regular expression"),
        (
            "purge",
            r#"{"filter":["a:b"],"references":["c"]}"#,
            "exclude each other",
        ),
        ("purge", r#"{"references":["c"],"keep":1}"#, "go with `filter`"),
        (
            "purge",
            r#"{"references":["example.com/c:1"]}"#,
            "not configured here",
        ),
        ("purge", r#"{"filters":["a:b"]}"#, "unknown field `filters`"),
        ("lock", r#"{"references":[]}"#, "names nothing"),
        ("lock", r#"{"references":["A B"]}"#, "`A B` is not a reference"),
        ("lock", "nonsense", "the body is not what is expected"),
    ] {
        let (status, answer) = asked_of(&world.seawall, Method::POST, path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
        assert!(
            answer["error"].as_str().unwrap().contains(what),
            "{body}: {answer}"
        );
    }
}
