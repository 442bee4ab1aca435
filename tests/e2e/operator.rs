//! An operator warms, locks and purges by the commands of the real binary, as scripts do: by their exit codes.

use serde_json::Value;

use crate::support::http::request;
use crate::support::images::TAG;
use crate::support::operator::expect;
use crate::support::{Result, Verdict, World};

/// A Deployment as people write it: containers of all kinds, and fields that only look like images.
fn deployment(app: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: app\n  labels: {{image: none}}\nspec:\n  template:\n    spec:\n      \
         initContainers: [{{name: first, image: '{app}'}}]\n      containers:\n      - name: app\n        image: {app}\n"
    )
}

/// The last line of what a command told a script.
fn summary(told: &str) -> Result<Value> {
    Ok(serde_json::from_str(told.lines().last().unwrap_or_default())?)
}

pub(crate) fn warms(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let seawall = world.seawall()?;
    let (app, multi) = (
        format!("docker.io/library/app:{TAG}"),
        format!("library/multi:{TAG}"),
    );
    let file = world.directory()?.join("deployment.yaml");
    std::fs::write(&file, deployment(&app))?;
    let file = file.display().to_string();
    let list = format!("# what the cluster needs\n{multi}\n\n{app}\n");
    let from = ["warm", "--from", &file, "--from", "-", "--json"];
    let told = summary(&expect(&seawall, &from, &list, 0, &[])?)?;
    if told["images"] != 2 || told["missed"] != Value::Array(Vec::new()) {
        return Err(format!("two images are named, and one twice: {told}").into());
    }
    let words = ["2 of 2 images held", "spent 0 counted requests"];
    expect(&seawall, &["warm", "--from", &file, &multi], "", 0, &words)?;
    let words = [
        "1 of 2 images held",
        "missed library/app:none: docker.io gives no manifest",
    ];
    expect(&seawall, &["warm", &multi, "library/app:none"], "", 4, &words)?;
    expect(&seawall, &["warm"], "", 2, &["no image is named"])?;
    Ok(Verdict::Passed)
}

pub(crate) fn purges(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let seawall = world.seawall()?;
    let (app, multi) = (
        format!("docker.io/library/app:{TAG}"),
        format!("docker.io/library/multi:{TAG}"),
    );
    expect(&seawall, &["warm", &app, &multi, "--platform", "all"], "", 0, &[])?;
    let filter = ["purge", "--filter", "docker.io/library/.*:.*", "--untagged"];
    let with =
        |more: &[&str], code, words: &[&str]| expect(&seawall, &[&filter, more].concat(), "", code, words);
    expect(&seawall, &["lock", &app], "", 0, &[])?;
    // Nobody can be asked here.
    with(&[], 2, &["--yes", "--dry-run"])?;
    let planned = summary(&with(&["--dry-run", "--json"], 0, &[])?)?;
    let target = format!("/v2/library/multi/manifests/{TAG}");
    let is_held = || -> Result<bool> {
        let tags = expect(&seawall, &["tags", "docker.io/library/app"], "", 0, &[TAG])?;
        let all = expect(&seawall, &["repository", "list"], "", 0, &[])?;
        Ok(tags.contains(TAG) && all.contains("library/multi"))
    };
    if !is_held()? {
        return Err("a dry run removed something".into());
    }
    let done = summary(&with(&["--yes", "--json"], 0, &[])?)?;
    if planned["goes"] != done["goes"] || planned["bytes"] != done["bytes"] || done["bytes"] == 0 {
        return Err(format!("planned {planned}\nand done {done}").into());
    }
    if is_held()? {
        return Err("what the plan named is still there".into());
    }
    // What was locked is named by its reference, and stays.
    expect(
        &seawall,
        &["purge", &app, "--yes"],
        "",
        4,
        &["is locked and stays", "seawall unlock"],
    )?;
    expect(
        &seawall,
        &["purge", "library/app:none", "--yes"],
        "",
        3,
        &["not held here"],
    )?;
    let answer = request(&seawall.address, "GET", &target, &[("Accept", "*/*")], &[])?;
    match answer.status {
        200 => Ok(Verdict::Passed),
        status => Err(format!("{target} is pulled again: status {status}").into()),
    }
}
