//! What jobs and pods really show: tokens of GitHub, GitLab and Kubernetes, by the claims that those put into them, and
//! with every algorithm that an issuer may be allowed.

use super::*;

/// Clients as README tells to name them, each with a tier that tells it apart.
const JOBS: &str = "[[issuer]]\nname = \"ci\"\nurl = \"http://issuer.test\"\ninsecure = true\n\
    audience = \"https://cache.example.com\"\n\
    [tier.github]\nread_ops_per_minute = 11\n[tier.gitlab]\nread_ops_per_minute = 12\n\
    [tier.kubernetes]\nread_ops_per_minute = 13\n\
    [[client]]\nname = \"acme-main\"\ntier = \"github\"\nallow = [\"docker.io/team/**\"]\n\
    match = { issuer = \"ci\", claims = { repository_owner_id = \"1234567\", ref = \"refs/heads/main\" } }\n\
    [[client]]\nname = \"acme-jobs\"\ntier = \"gitlab\"\nallow = [\"docker.io/team/**\"]\n\
    match = { issuer = \"ci\", claims = { namespace_id = \"42\", ref_protected = \"true\" } }\n\
    [[client]]\nname = \"builds\"\ntier = \"kubernetes\"\nallow = [\"docker.io/team/**\"]\n\
    match = { issuer = \"ci\", claims = { \"kubernetes.io/namespace\" = \"builds\", \
    \"kubernetes.io/serviceaccount/name\" = \"runner\" } }\n";

/// A push to the main branch, as GitHub tells of it.
fn github() -> Value {
    json!({
        "jti": "4cc", "sub": "repo:acme/app:ref:refs/heads/main", "repository": "acme/app", "repository_id": "74",
        "repository_owner": "acme", "repository_owner_id": "1234567", "repository_visibility": "private",
        "ref": "refs/heads/main", "ref_type": "branch", "ref_protected": "false", "sha": "c0ffee", "run_id": "99",
        "run_number": "7", "run_attempt": "1", "actor": "alice", "actor_id": "12", "workflow": "build",
        "head_ref": "", "base_ref": "", "event_name": "push", "runner_environment": "github-hosted",
        "job_workflow_ref": "acme/app/.github/workflows/build.yml@refs/heads/main",
    })
}

/// A job on a protected branch, as GitLab tells of it.
fn gitlab() -> Value {
    json!({
        "jti": "8e1", "sub": "project_path:acme/app:ref_type:branch:ref:main", "namespace_id": "42",
        "namespace_path": "acme", "project_id": "22", "project_path": "acme/app", "user_id": "12",
        "user_login": "alice", "user_email": "alice@example.com", "pipeline_id": "574", "pipeline_source": "push",
        "job_id": "302", "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main",
        "ref_protected": "true", "runner_id": 1, "runner_environment": "gitlab-hosted", "sha": "c0ffee",
    })
}

/// A pod, as a cluster tells of it in a projected token.
fn kubernetes() -> Value {
    json!({
        "aud": [AUDIENCE], "sub": "system:serviceaccount:builds:runner", "jti": "ea2",
        "kubernetes.io": {
            "namespace": "builds",
            "node": { "name": "node-1", "uid": "646" },
            "pod": { "name": "runner-5c", "uid": "5e0" },
            "serviceaccount": { "name": "runner", "uid": "14e" },
        },
    })
}

#[tokio::test(start_paused = true)]
async fn jobs_and_pods_are_told_apart_by_what_github_gitlab_and_kubernetes_say_of_them() {
    let key = SigningKey::rsa("one");
    let scene = Scene::with(&[&key], &locked(JOBS));
    let show = async |says: &Value, path: &str| {
        let token = key.token(&scene.issuer.claims(300, says));
        with(scene.seawall(), &token, path).await
    };
    // The claim by which it is told apart, and what somebody else's says instead.
    for (says, limit, pointer, other) in [
        (github(), "11;w=60", "/repository_owner_id", "7654321"),
        (github(), "11;w=60", "/ref", "refs/heads/main-2"),
        (gitlab(), "12;w=60", "/namespace_id", "421"),
        (gitlab(), "12;w=60", "/ref_protected", "false"),
        (kubernetes(), "13;w=60", "/kubernetes.io/namespace", "build"),
        (
            kubernetes(),
            "13;w=60",
            "/kubernetes.io/serviceaccount/name",
            "runners",
        ),
    ] {
        let answer = show(&says, APP).await;
        assert!(answer.is_good(), "{} {}", answer.status, text_of(&answer));
        assert_eq!(answer.header("ratelimit-limit"), limit, "{pointer}");
        assert_eq!(
            show(&says, OTHER).await.status,
            StatusCode::NOT_FOUND,
            "{pointer}"
        );
        let mut others = says.clone();
        *others.pointer_mut(pointer).unwrap() = json!(other);
        let answer = show(&others, APP).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{pointer}");
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_of_every_algorithm_that_may_be_allowed_are_verified() {
    for (algorithm, _) in seawall::policy::issuers::ALGORITHMS {
        let key = SigningKey::new("one", algorithm);
        let allowed = format!("name = \"ci\"\nalgorithms = [\"{algorithm}\"]\n");
        let text = locked(&CI.replace("name = \"ci\"\n", &allowed));
        let scene = Scene::with(&[&key], &text);
        let answer = with(scene.seawall(), &scene.token(&key), APP).await;
        assert!(
            answer.is_good(),
            "{algorithm}: {} {}",
            answer.status,
            text_of(&answer)
        );
        // A key of the same kind that nobody has published.
        let token = scene.token(&SigningKey::new("one", algorithm));
        let answer = with(scene.seawall(), &token, APP).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{algorithm}");
    }
}
