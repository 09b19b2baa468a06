//! `kubectl bluegreen`: whole releases driven by it alone, as a person would.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use bluegreen::api::{BlueGreenDeployment, PhaseName};
use kube::api::DeleteParams;
use serde_json::Value;
use tokio::task::block_in_place;

use crate::claim;
use crate::failure::{Failure, Result, io};
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, revision};
use crate::wait::{stays, when};
use crate::world::beside;

/// What the plugin said, and how it ended.
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// The plugin, about the namespace of a case.
pub fn plugin(stage: &Stage, words: &[&str]) -> Result<Command> {
    let mut command = Command::new(beside("kubectl-bluegreen")?);
    command.env("KUBECONFIG", stage.world.cluster.kubeconfig()).env_remove("NO_COLOR");
    command.args(["-n", &stage.namespace]).args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

fn said(words: &[&str], output: Output) -> Result<Said> {
    let words_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = Said { code: output.status.code().unwrap_or(-1), out: words_of(&output.stdout), err: words_of(&output.stderr) };
    claim!(!said.out.contains('\x1b'), "colours where nobody looks: `{}` said {:?}", words.join(" "), said.out);
    // What is for programs, and what is quoted from manifests, is as wide as it is.
    let for_people = ["status", "list", "history"].contains(words.first().unwrap_or(&"")) && !words.contains(&"-o");
    for line in said.out.lines().filter(|_| for_people) {
        claim!(line.chars().count() <= 80, "`{}` is wider than 80: {line}", words.join(" "));
    }
    Ok(said)
}

/// Runs the plugin, whatever comes of it.
pub fn run(stage: &Stage, words: &[&str]) -> Result<Said> {
    let mut command = plugin(stage, words)?;
    said(words, block_in_place(|| command.output()).map_err(io("starting the plugin"))?)
}

/// Runs the plugin and wants it to end with a code.
pub fn ends(stage: &Stage, code: i32, words: &[&str]) -> Result<Said> {
    let said = run(stage, words)?;
    claim!(said.code == code, "`{}` ended with {} and not {code}: {}{}", words.join(" "), said.code, said.out, said.err);
    Ok(said)
}

/// Runs the plugin, which is to succeed and to say something.
pub fn says(stage: &Stage, words: &[&str], part: &str) -> Result<String> {
    let out = ends(stage, 0, words)?.out;
    claim!(out.contains(part), "`{}` does not say {part:?}: {out}", words.join(" "));
    Ok(out)
}

/// Runs the plugin, which is to refuse in a sentence.
pub fn refuses(stage: &Stage, words: &[&str], part: &str) -> Result {
    let said = ends(stage, 2, words)?;
    claim!(said.err.contains(part) && said.out.is_empty(), "`{}` does not refuse with {part:?}: {}{}", words.join(" "), said.out, said.err);
    Ok(())
}

fn json(stage: &Stage, words: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&ends(stage, 0, words)?.out)?)
}

/// A text in what was printed for programs; empty where it is missing.
fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn manual(version: &str) -> Manifest {
    shop(version).spec("/promotion/mode", "Manual").spec("/traffic/previewServices", serde_json::json!(["shop-preview"]))
}

/// The revision of the spec.
async fn asked_for(stage: &Stage, what: &str, phase: PhaseName) -> Result<String> {
    revision(&stage.until(what, 60, |status| status.phase == Some(phase)).await?)
}

/// Installs version 1, which waits for a word, and gives it.
async fn installed(stage: &Stage) -> Result<String> {
    stage.service("shop").await?;
    stage.service("shop-preview").await?;
    stage.apply(&manual("v1")).await?;
    let first = asked_for(stage, "the first revision waits", PhaseName::AwaitPromotion).await?;
    says(stage, &["promote", "shop", "--wait", "--timeout", "60s"], &format!("revision {first} has the traffic"))?;
    says(stage, &["wait", "shop", "--for", "drained", "--timeout", "60s"], "no old pods are left")?;
    Ok(first)
}

/// A release from its manifest to its end: looked at, promoted, waited for, compared.
pub async fn plugin_promotes(stage: Arc<Stage>) -> Result {
    let first = installed(&stage).await?;
    let users = stage.users().await?;
    refuses(&stage, &["promote", "shop"], "active already")?;
    stage.apply(&manual("v2")).await?;
    // The command waits until the operator knows the revision, and then for its tests.
    let second = {
        let told = json(&stage, &["promote", "bgd/shop", "--wait", "--timeout", "60s", "-o", "json"])?;
        let status = stage.shop().await?.status.unwrap_or_default();
        let second = revision(&status)?;
        claim!(second != first && text(&told, "/revision") == second, "another revision was promoted: {told}");
        claim!(text(&told, "/command") == "promote" && text(&told, "/outcome/active") == second, "the outcome: {told}");
        second
    };
    let waited = json(&stage, &["wait", "shop", "--for", "drained", "--timeout", "90s", "-o", "json"])?;
    claim!(text(&waited, "/for") == "drained" && text(&waited, "/outcome/phase") == "Complete", "what was waited for: {waited}");
    users.only("v2", 15).await?;
    let shown = says(&stage, &["status", "shop"], &format!("revision {second} serves everyone"))?;
    claim!(shown.contains(&format!("Service  shop         → green {second}")), "status does not say where the Service leads: {shown}");
    let report = json(&stage, &["status", "shop", "-o", "json"])?;
    claim!(text(&report, "/phase") == "Complete" && text(&report, "/goal") == second, "status for programs: {report}");
    says(&stage, &["status", "shop", "-o", "yaml"], "phase: Complete")?;
    let history = json(&stage, &["history", "shop", "-o", "json"])?;
    let states: Vec<(&str, &str)> = history.as_array().into_iter().flatten().map(|entry| (text(entry, "/revision"), text(entry, "/state"))).collect();
    claim!(states == [(second.as_str(), "active"), (first.as_str(), "kept")], "history: {states:?}");
    says(&stage, &["history", "shop"], &first)?;
    let diff = says(&stage, &["diff", "shop", &first, &second], "-      value: v1")?;
    claim!(diff.contains("+      value: v2") && diff.lines().count() < 15, "the difference is more than the version: {diff}");
    let diff = json(&stage, &["diff", "shop", &first, &second, "-o", "json"])?;
    let changes = diff.pointer("/changes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let version = changes.iter().any(|change| text(change, "/old") == "v1" && text(change, "/new") == "v2");
    claim!(version && text(&diff, "/old/revision") == first && text(&diff, "/new/revision") == second, "the difference for programs: {diff}");
    says(&stage, &["diff", "shop"], "are the same")?;
    says(&stage, &["list"], "shop  Complete")?;
    let all = json(&stage, &["list", "-A", "-o", "json"])?;
    let here = all.as_array().into_iter().flatten().any(|item| text(item, "/namespace") == stage.namespace && text(item, "/active") == second);
    claim!(here, "list -A lacks it: {all}");
    users.stop_clean()?;
    Ok(())
}

/// Given up before the switch, tried again, rolled back, and forth again.
pub async fn plugin_goes_back(stage: Arc<Stage>) -> Result {
    let first = installed(&stage).await?;
    let users = stage.users().await?;
    refuses(&stage, &["retry", "shop"], "there is nothing to try again")?;
    refuses(&stage, &["rollback", "shop"], "no earlier revision")?;
    stage.apply(&manual("v2")).await?;
    let second = asked_for(&stage, "the second revision waits", PhaseName::AwaitPromotion).await?;
    says(&stage, &["status", "shop"], &format!("preview  shop-preview → green {second}"))?;
    refuses(&stage, &["rollback", "shop"], "kubectl bluegreen abort shop")?;
    says(&stage, &["abort", "shop", "--wait", "--timeout", "30s"], "traffic is not touched")?;
    let said = ends(&stage, 2, &["wait", "shop", "--timeout", "30s"])?;
    claim!(said.err.contains("was aborted before the switch"), "what was given up is waited for: {}", said.err);
    says(&stage, &["status", "shop"], "was given up (Aborted)")?;
    refuses(&stage, &["promote", "shop"], "kubectl bluegreen retry shop")?;
    says(&stage, &["retry", "shop", "--wait", "--timeout", "30s"], "is being tried again")?;
    let said = ends(&stage, 1, &["wait", "shop", "--for", "switched", "--timeout", "1s"])?;
    claim!(said.err.contains("not within 1s"), "a wait that was too short: {}", said.err);
    says(&stage, &["promote", "shop", "--wait", "--timeout", "60s"], "has the traffic")?;
    says(&stage, &["wait", "shop", "--for", "drained", "--timeout", "90s"], "no old pods are left")?;
    refuses(&stage, &["abort", "shop"], "kubectl bluegreen rollback shop")?;
    refuses(&stage, &["drain", "shop", "--finish"], "no revision of shop drains")?;
    refuses(&stage, &["rollback", "shop", "--to", "nowhere"], &format!("there are {first}"))?;
    says(&stage, &["rollback", "shop", "--wait", "--timeout", "60s"], &format!("revision {first} has the traffic"))?;
    stage.serves(&first, 10).await?;
    says(&stage, &["retry", "shop", "--wait", "--timeout", "30s"], &second)?;
    says(&stage, &["promote", "shop", "--wait", "--timeout", "60s"], "has the traffic")?;
    stage.serves(&second, 10).await?;
    users.only("v2", 20).await?;
    users.stop_clean()?;
    Ok(())
}

/// A pause holds the release; a wrong image begins one that is seen and given up. Users notice nothing.
pub async fn plugin_changes_the_spec(stage: Arc<Stage>) -> Result {
    let first = installed(&stage).await?;
    let users = stage.users().await?;
    says(&stage, &["pause", "shop"], "is paused")?;
    let again = json(&stage, &["pause", "shop", "-o", "json"])?;
    claim!(again.pointer("/changed") == Some(&Value::Bool(false)), "a second pause: {again}");
    refuses(&stage, &["set-image", "shop", "shpo=localhost/app:none"], "the template has app")?;
    let images = json(&stage, &["set-image", "shop", "*=localhost/app:none", "-o", "json"])?;
    claim!(text(&images, "/images/0/container") == "app" && text(&images, "/images/0/new") == "localhost/app:none", "the images: {images}");
    says(&stage, &["set-image", "shop", "app=localhost/app:none"], "nothing was changed")?;
    stage.until("the release is held", 20, |status| status.phase == Some(PhaseName::Paused)).await?;
    says(&stage, &["status", "shop"], "held by spec.paused")?;
    says(&stage, &["diff", "shop"], "+    image: localhost/app:none")?;
    stays("nothing moves while it is paused", 2, || async {
        let sets = stage.sets().await?.len();
        Ok(when(sets == 1, || format!("{sets} ReplicaSets")))
    })
    .await?;
    says(&stage, &["resume", "shop"], "goes on")?;
    stage
        .until("the image is not found", 60, |status| {
            let message = |kind| crate::stage::condition(status, kind).map(|condition| condition.message.clone()).unwrap_or_default();
            message(bluegreen::api::ConditionType::Reconciling).contains("ErrImageNeverPull")
        })
        .await?;
    says(&stage, &["status", "shop"], "ErrImageNeverPull")?;
    says(&stage, &["abort", "shop", "--wait", "--timeout", "30s"], "was aborted")?;
    claim!(stage.selected("shop").await? == first, "the traffic was touched");
    users.stop_clean()?;
    let watched = deleted_while_watched(&stage).await?;
    claim!(watched.ends_with("BlueGreenDeployment shop was deleted.\n"), "the watch ended with {watched}");
    let said = ends(&stage, 1, &["status", "shop"])?;
    claim!(said.err.contains("there is no BlueGreenDeployment \"shop\""), "an object that is gone: {}", said.err);
    says(&stage, &["list"], "There are no BlueGreenDeployments")?;
    Ok(())
}

/// What a watch says of an object that is deleted once the watch has shown it.
async fn deleted_while_watched(stage: &Stage) -> Result<String> {
    let mut watch = plugin(stage, &["status", "shop", "--watch"])?.spawn().map_err(io("starting the plugin"))?;
    let mut out = BufReader::new(watch.stdout.take().ok_or_else(|| Failure::Claim("the plugin has no output".into()))?);
    let mut text = String::new();
    block_in_place(|| out.read_line(&mut text)).map_err(io("reading what the plugin says"))?;
    stage.api::<BlueGreenDeployment>().delete("shop", &DeleteParams::background()).await?;
    block_in_place(|| out.read_to_string(&mut text)).map_err(io("reading what the plugin says"))?;
    let ended = block_in_place(|| watch.wait()).map_err(io("waiting for the plugin"))?;
    claim!(ended.success(), "the watch failed: {text}");
    Ok(text)
}

fn check(stage: &Stage, manifest: &str, code: i32) -> Result<String> {
    checked(stage, manifest, code, &["check", "-f", "-"])
}

fn checked(stage: &Stage, manifest: &str, code: i32, words: &[&str]) -> Result<String> {
    let mut command = plugin(stage, words)?;
    command.stdin(Stdio::piped());
    let output = block_in_place(|| {
        let mut child = command.spawn()?;
        child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(manifest.as_bytes()))?;
        child.wait_with_output()
    });
    let said = said(words, output.map_err(io("starting the plugin"))?)?;
    claim!(said.code == code, "check ended with {} and not {code}: {}{}", said.code, said.out, said.err);
    Ok(said.out)
}

/// A manifest is judged by the API server and by the operator's own rules, and nothing is made.
pub async fn plugin_checks(stage: Arc<Stage>) -> Result {
    let service = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"}, "spec": {"ports": [{"name": "http", "port": 80, "targetPort": "http"}]}}"#;
    let whole = |manifest: &Manifest| format!("{service}\n---\n{}\n", manifest.0);
    let good = check(&stage, &whole(&shop("v1")), 0)?;
    claim!(good.contains("✓ the API server takes it") && good.contains("a new revision: the first one"), "a good manifest: {good}");
    claim!(stage.sets().await?.is_empty() && run(&stage, &["status", "shop"])?.code == 1, "something was made");
    let missing = check(&stage, &shop("v1").0.to_string(), 1)?;
    claim!(missing.contains("✗ spec.traffic.services[0]: Service \"shop\" does not exist"), "a Service that is missing: {missing}");
    let told: Value = serde_json::from_str(&checked(&stage, &shop("v1").0.to_string(), 1, &["check", "-f", "-", "-o", "json"])?)?;
    claim!(text(&told, "/0/mistakes/0/field") == "spec.traffic.services[0]", "a mistake for programs: {told}");
    let rules = check(&stage, &whole(&shop("v1").spec("/replicas", -1).spec("/drain/deadlineSeconds", 0)), 1)?;
    for field in ["✗ spec.replicas: ", "✗ spec.drain.deadlineSeconds: "] {
        claim!(rules.lines().any(|line| line.trim_start().starts_with(field)), "no line for {field}: {rules}");
    }
    let typo = check(&stage, &whole(&shop("v1").container("/imagee", "x")), 1)?;
    claim!(typo.contains("imagee"), "a misspelt field: {typo}");
    let template = check(&stage, &whole(&shop("v1").container("/ports/0/containerPort", 123_456)), 1)?;
    claim!(template.contains("spec.template.spec.containers[0].ports[0].containerPort: "), "a port that is none: {template}");
    let ports = check(&stage, &whole(&shop("v1").spec("/smokeProbes/0/httpGet/port", "htp").spec("/drain/ports", serde_json::json!(["ehco"]))), 1)?;
    claim!(ports.contains("named \"htp\"") && ports.contains("named \"ehco\""), "ports that do not exist: {ports}");
    let job = serde_json::json!([{"name": "it", "jobTemplate": {"spec": {"template": {"spec": {"contaners": []}}}}}]);
    let job = check(&stage, &whole(&shop("v1").spec("/hooks/afterSwitch", job)), 1)?;
    claim!(job.contains("✗ spec.hooks.afterSwitch[0].jobTemplate: ") && job.contains("contaners"), "a Job that is none: {job}");
    check(&stage, &whole(&shop("v1").spec("/hooks/afterSwitch", serde_json::json!([super::hooks::hook("it", true)]))), 0)?;
    stage.installed(&shop("v1")).await?;
    let same = check(&stage, &whole(&shop("v1")), 0)?;
    claim!(same.contains("no release begins"), "the same template: {same}");
    let next = check(&stage, &whole(&shop("v2")), 0)?;
    claim!(next.contains("a release begins"), "another template: {next}");
    let immutable = check(
        &stage,
        &whole(
            &shop("v2")
                .spec("/selector/matchLabels", serde_json::json!({"app": "other"}))
                .spec("/template/metadata/labels", serde_json::json!({"app": "other"})),
        ),
        1,
    )?;
    claim!(immutable.contains("selector is immutable"), "another selector: {immutable}");
    let nothing = run(&stage, &["check", "-f", "/nowhere.yaml"])?;
    claim!(nothing.code == 1 && nothing.err.contains("/nowhere.yaml"), "a file that is missing: {}", nothing.err);
    Ok(())
}

/// `open` listens for the preview, on a port of this machine that was free a moment ago. What it passes on is not tried: the runtime of this
/// cluster forwards no ports.
fn opens(stage: &Stage) -> Result {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map_err(io("a free port"))?.port();
    let mut command = plugin(stage, &["open", "shop", &port.to_string()])?;
    command.env("PATH", stage.world.cluster.tools_dir());
    let mut open = command.spawn().map_err(io("starting the plugin"))?;
    let mut line = String::new();
    let read = block_in_place(|| open.stdout.take().map_or(Ok(0), |out| BufReader::new(out).read_line(&mut line)));
    // It has become kubectl, under the same id.
    block_in_place(|| open.kill().and_then(|()| open.wait())).map_err(io("ending the plugin"))?;
    read.map_err(io("reading what open says"))?;
    claim!(line == format!("Forwarding from 127.0.0.1:{port} -> 8080\n"), "open says {line:?}");
    Ok(())
}

/// Logs and the way to the preview are kubectl's; usage ends with 2.
pub async fn plugin_passes_on(stage: Arc<Stage>) -> Result {
    installed(&stage).await?;
    let mut logs = plugin(&stage, &["logs", "shop", "--", "--tail=1"])?;
    logs.env("PATH", stage.world.cluster.tools_dir());
    let logs = said(&["logs"], block_in_place(|| logs.output()).map_err(io("starting the plugin"))?)?;
    claim!(logs.code == 0, "logs: {}{}", logs.out, logs.err);
    claim!(logs.out.lines().all(|line| line.starts_with("[pod/shop-")), "logs of whom? {}", logs.out);
    opens(&stage)?;
    for words in [vec!["status"], vec!["nothing", "shop"], vec!["drain", "shop"], vec!["logs", "shop", "--draining"]] {
        ends(&stage, 2, &words)?;
    }
    let mut lost = plugin(&stage, &["status", "shop"])?;
    lost.env("KUBECONFIG", "/nowhere");
    let lost = said(&["status"], block_in_place(|| lost.output()).map_err(io("starting the plugin"))?)?;
    claim!(lost.code == 1 && lost.err.contains("the kubeconfig can't be used"), "no kubeconfig: {}", lost.err);
    Ok(())
}

/// New pods of the same template, and the end of a drain by a person's word.
pub async fn plugin_restarts(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let held = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    let users = stage.users().await?;
    says(&stage, &["restart", "shop", "--wait", "--timeout", "90s"], "serves everyone")?;
    let second = revision(&stage.shop().await?.status.unwrap_or_default())?;
    claim!(second != first, "the revision is the same");
    stage.serves(&second, 1).await?;
    let shown = says(&stage, &["status", "shop"], "drain")?;
    claim!(shown.contains(&first), "status does not tell of the old pods: {shown}");
    says(&stage, &["drain", "shop", "--finish", "--wait", "--timeout", "60s"], &format!("revision {first} does not drain any more"))?;
    claim!(stage.desired(&first).await? == 0, "the old pods are still wanted");
    held.ends_cut(30).await?;
    users.more(20).await?;
    users.stop_clean().map(drop)
}
