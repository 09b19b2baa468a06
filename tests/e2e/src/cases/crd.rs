//! The schema, as people meet it.

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::claim;
use crate::failure::{Failure, Result, io};
use crate::manifest::{Manifest, shop};
use crate::stage::Stage;
use crate::wait::{wait_for, when};
use crate::world::{beside, sources};

/// `kubectl apply` of a manifest, client side; answers what it said.
fn apply(stage: &Stage, manifest: &Manifest) -> Result<(bool, String)> {
    let mut command = stage.world.cluster.kubectl();
    command.args(["apply", "-n", &stage.namespace, "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(io("starting kubectl"))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(manifest.0.to_string().as_bytes()).map_err(io("writing to kubectl"))?;
    }
    let output = tokio::task::block_in_place(|| child.wait_with_output()).map_err(io("waiting for kubectl"))?;
    Ok((output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()))
}

/// The files in `crds/` are what the program generates, and small enough for plain `kubectl apply`.
pub async fn crd_is_generated_and_small(stage: Arc<Stage>) -> Result {
    let program = beside("bluegreen")?;
    let output = tokio::task::block_in_place(|| std::process::Command::new(program).arg("crd").output()).map_err(io("starting bluegreen"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for file in ["bluegreendeployments.yaml", "connectionwatches.yaml"] {
        let path = sources().join("crds").join(file);
        let known = std::fs::read_to_string(&path).map_err(io(format!("reading {}", path.display())))?;
        claim!(text.contains(known.trim_start_matches("---\n")), "crds/{file} is not what `bluegreen crd` prints");
        // Plain apply keeps the whole manifest in an annotation, of which the API server takes 256 KiB.
        stage.world.kubectl(&["apply", "--dry-run=server", "-f", &path.to_string_lossy()])?;
    }
    Ok(())
}

/// A typo is refused by plain `kubectl apply`, which names the field.
pub async fn crd_refuses_typos(stage: Arc<Stage>) -> Result {
    for (pointer, field) in
        [("/drain/deadlineSecond", "spec.drain.deadlineSecond"), ("/template/spec/containers/0/imagee", "spec.template.spec.containers[0].imagee")]
    {
        let (accepted, said) = apply(&stage, &shop("v1").spec(pointer, json!(5)))?;
        claim!(!accepted && said.contains(&format!("unknown field \"{field}\"")), "{said}");
    }
    let (accepted, said) = apply(&stage, &shop("v1"))?;
    claim!(accepted, "the right one is refused: {said}");
    Ok(())
}

/// `kubectl explain` tells what fields mean.
pub async fn crd_explains(stage: Arc<Stage>) -> Result {
    for (path, text) in [
        ("bgd.spec.drain.deadlineSeconds", "Seconds after the last Service was moved"),
        ("bgd.spec.traffic.services", "they move together"),
        ("bgd.spec.template.spec.containers", "containers belonging to the pod"),
        ("bgd.status.conditions", "Ready, Reconciling, Stalled"),
    ] {
        // The API server tells of a kind a moment after it has been established.
        wait_for(format!("kubectl explains {path}"), 30, || async {
            let said = match stage.world.kubectl(&["explain", path]) {
                Ok(said) => said.split_whitespace().collect::<Vec<_>>().join(" "),
                Err(failure) => failure.to_string(),
            };
            Ok(when(said.contains(text), || said.clone()))
        })
        .await?;
    }
    Ok(())
}

/// `shop` with a query for its only probe.
fn query(bounds: Value, target: &str) -> Manifest {
    let mut asked = json!({"url": "http://prometheus:9090", "query": "up"});
    if let (Some(asked), Value::Object(bounds)) = (asked.as_object_mut(), bounds) {
        asked.extend(bounds);
    }
    shop("v1")
        .spec("/traffic/previewServices", json!(["shop-preview"]))
        .spec("/smokeProbes", json!([{"name": "up", "prometheus": asked, "target": target}]))
}

/// What can never work is refused with a sentence that says what to write instead.
pub async fn crd_rules(stage: Arc<Stage>) -> Result {
    let warmed = |more: Value| shop("v1").spec("/smokeProbes/0/warmUp", more);
    let metric = |more: Value| shop("v1").spec("/drain/source", "Metric").spec("/drain/metric", more);
    let rules: [(&str, Manifest, &str); 42] = [
        (
            "selector",
            shop("v1").spec("/template/metadata/labels", json!({"app": "other"})),
            "every label of spec.selector.matchLabels must be in spec.template.metadata.labels with the same value",
        ),
        (
            "our labels",
            shop("v1").spec("/template/metadata/labels/bluegreen.dev~1revision", "x"),
            "labels that begin with bluegreen.dev/ and the label pod-template-hash belong to controllers; remove them from the template",
        ),
        (
            "preview",
            shop("v1").spec("/traffic/previewServices", json!(["shop"])),
            "a Service can't be in both services and previewServices; remove it from one of them",
        ),
        (
            "preview probe",
            shop("v1").spec("/smokeProbes/0/target", "PreviewService"),
            "a probe with target PreviewService needs a Service in spec.traffic.previewServices",
        ),
        (
            "quiet",
            shop("v1").spec("/traffic/quietSeconds", 31),
            "quietSeconds must not exceed convergenceTimeoutSeconds, or the move could never count as done",
        ),
        ("minimum", shop("v1").spec("/drain/minimumSeconds", 500), "minimumSeconds must not exceed deadlineSeconds"),
        ("told in no way", shop("v1").spec("/drain/begin", json!({})), "exactly one of http, label and exec is needed"),
        (
            "told twice",
            shop("v1").told().spec("/drain/begin/label", json!({"key": "a", "value": "b"})),
            "exactly one of http, label and exec is needed",
        ),
        (
            "told by a label of ours",
            shop("v1").spec("/drain/begin", json!({"label": {"key": "bluegreen.dev/revision", "value": "x"}})),
            "labels that begin with bluegreen.dev/ and the label pod-template-hash belong to controllers; use another key",
        ),
        (
            "told by the label that holds the pod",
            shop("v1").spec("/drain/begin", json!({"label": {"key": "app", "value": "old"}})),
            "a label of spec.selector keeps a pod in its ReplicaSet; use another key",
        ),
        (
            "told by no key",
            shop("v1").spec("/drain/begin", json!({"label": {"key": "a b", "value": "x"}})),
            "must be the key of a label, such as example.com/draining",
        ),
        ("told by no value", shop("v1").spec("/drain/begin", json!({"label": {"key": "a", "value": "x y"}})), "must be the value of a label"),
        (
            "more configuration than a revision keeps",
            shop("v1").spec("/configSnapshots", json!({"secrets": (0..17).map(|number| format!("s{number}")).collect::<Vec<_>>()})),
            "spec.configSnapshots.secrets: Too many: 17: must have at most 16 items",
        ),
        ("overlap of no time", shop("v1").spec("/traffic/overlapSeconds", 0), "must be between 1 and 3600 seconds"),
        (
            "two actions",
            shop("v1").spec("/smokeProbes/0/tcpSocket", json!({"port": 1})),
            "exactly one of httpGet, httpPost, tcpSocket, grpc, exec, job, prometheus, webhook must be set",
        ),
        ("a query without a bound", query(json!({}), "EachPod"), "atMost or atLeast must be set, or both"),
        ("a bound that is no number", query(json!({"atMost": "1e3"}), "EachPod"), "write a number such as 0.01"),
        ("a query with a target", query(json!({"atMost": "1"}), "PreviewService"), "a query has no target: it is about the revision as a whole"),
        (
            "a webhook with a target",
            query(json!({"atMost": "1"}), "PreviewService")
                .spec("/smokeProbes/0", json!({"name": "a", "webhook": {"url": "http://a"}, "target": "PreviewService"})),
            "a webhook has no target: it is about the revision as a whole",
        ),
        (
            "a command with a target",
            query(json!({"atMost": "1"}), "PreviewService")
                .spec("/smokeProbes/0", json!({"name": "a", "exec": {"command": ["/app"], "container": "app"}, "target": "PreviewService"})),
            "a command runs in each pod, and not through a Service; remove the target",
        ),
        (
            "a Job with a target",
            shop("v1").spec("/smokeProbes/0", json!({"name": "a", "job": {"spec": {}}, "target": "PreviewService"})),
            "a Job has no target: it is about the revision as a whole",
        ),
        (
            "a Job with a name that is none",
            shop("v1").spec("/smokeProbes/0", json!({"name": "My test", "job": {"spec": {}}})),
            "the name of a probe that is a Job stands in the Job's name: small letters, digits and dashes",
        ),
        (
            "a bake with a Job",
            shop("v1").spec("/bake", json!({"seconds": 5, "probes": [{"name": "a", "job": {"spec": {}}}]})),
            "a Job ends, and a bake goes on: use spec.smokeProbes, or spec.hooks.afterSwitch",
        ),
        (
            "two requests",
            shop("v1").spec("/smokeProbes/0/httpPost", json!({"port": 1})),
            "exactly one of httpGet, httpPost, tcpSocket, grpc, exec, job, prometheus, webhook must be set",
        ),
        (
            "latency beyond the timeout",
            shop("v1").spec("/smokeProbes/0/httpGet/expect/maxLatencyMillis", 5001),
            "maxLatencyMillis must not exceed timeoutSeconds, after which an attempt has failed anyway",
        ),
        (
            "latency of a POST beyond the timeout",
            shop("v1").spec("/smokeProbes/1", json!({"name": "post", "httpPost": {"port": 1, "expect": {"maxLatencyMillis": 5001}}})),
            "maxLatencyMillis must not exceed timeoutSeconds, after which an attempt has failed anyway",
        ),
        ("no latency", shop("v1").spec("/smokeProbes/0/httpGet/expect/maxLatencyMillis", 0), "must be between 1 and 300000 milliseconds"),
        ("a warm-up of no rate", warmed(json!({"toPerSecond": 0, "seconds": 20})), "must be between 1 and 200 requests a second"),
        ("a warm-up of hours", warmed(json!({"toPerSecond": 50, "seconds": 3600})), "must be between 1 and 600 seconds"),
        (
            "a warm-up of a port",
            shop("v1").spec("/smokeProbes/1", json!({"name": "port", "tcpSocket": {"port": 1}, "warmUp": {"toPerSecond": 1, "seconds": 1}})),
            "a warm-up sends requests to each pod: it needs httpGet, httpPost or grpc, and the target EachPod",
        ),
        (
            "a warm-up in a bake",
            shop("v1")
                .spec("/bake", json!({"seconds": 1, "probes": [{"name": "a", "grpc": {"port": 1}, "warmUp": {"toPerSecond": 1, "seconds": 1}}]})),
            "pods are warmed up before users come, by a probe of spec.smokeProbes",
        ),
        (
            "a port through the API server",
            shop("v1").spec("/smokeProbes/1", json!({"name": "port", "tcpSocket": {"port": 1}, "through": "ApiServer"})),
            "through ApiServer goes with httpGet or httpPost, with the target EachPod, and without warmUp",
        ),
        (
            "a warm-up through the API server",
            warmed(json!({"toPerSecond": 1, "seconds": 1})).spec("/smokeProbes/0/through", "ApiServer"),
            "through ApiServer goes with httpGet or httpPost, with the target EachPod, and without warmUp",
        ),
        ("replicas", shop("v1").spec("/replicas", -1), "must be zero or more"),
        ("no budget", shop("v1").spec("/disruptionBudget", json!({})), "needs exactly one of minAvailable and maxUnavailable"),
        (
            "two budgets",
            shop("v1").spec("/disruptionBudget", json!({"minAvailable": 1, "maxUnavailable": 1})),
            "needs exactly one of minAvailable and maxUnavailable",
        ),
        (
            "a budget of no share",
            shop("v1").spec("/disruptionBudget", json!({"maxUnavailable": "half"})),
            "must be a number from 0, or a percentage from 0% to 100%",
        ),
        ("source without metric", shop("v1").spec("/drain/source", "Metric"), "metric goes with source Metric: set both, or none"),
        (
            "metric without source",
            shop("v1").spec("/drain/metric", json!({"port": "admin", "series": "sessions"})),
            "metric goes with source Metric: set both, or none",
        ),
        ("metric of nothing", metric(json!({"port": "admin"})), "exactly one of series and jsonPointer must be set"),
        ("metric too often", metric(json!({"port": "admin", "series": "a", "periodSeconds": 0})), "must be between 1 and 300 seconds"),
        ("cidr", shop("v1").spec("/drain/ignorePeers", json!([{"cidr": "10.0.0.1"}])), "must be a network such as 10.1.2.0/24"),
    ];
    for (title, manifest, message) in rules {
        match stage.apply(&manifest).await {
            Ok(_) => return Err(Failure::Claim(format!("{title}: it was accepted"))),
            Err(Failure::Kube(kube::Error::Api(status))) => {
                claim!(status.code == 422 && status.message.contains(message), "{title}: {} {}", status.code, status.message);
            }
            Err(other) => return Err(other),
        }
    }
    stage.apply(&shop("v1").spec("/smokeProbes/0/httpGet/expect/maxLatencyMillis", 5000)).await?;
    let other = shop("v1").spec("/selector/matchLabels", json!({"app": "shop", "tier": "web"})).spec("/template/metadata/labels/tier", "web");
    match stage.apply(&other).await {
        Err(Failure::Kube(kube::Error::Api(status))) => {
            claim!(status.message.contains("selector is immutable; delete the BlueGreenDeployment and create it again"), "{}", status.message);
        }
        other => return Err(Failure::Claim(format!("another selector: {other:?}"))),
    }
    Ok(())
}

/// Two appliers that each name one container, and one variable each, end up with both.
pub async fn crd_merges_by_key(stage: Arc<Stage>) -> Result {
    stage.apply(&shop("v1")).await?;
    let other = json!({
        "apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment", "metadata": {"name": "shop"},
        "spec": {
            "template": {"spec": {"containers": [{"name": "app", "env": [{"name": "EXTRA", "value": "1"}]}]}},
            "smokeProbes": [{"name": "port", "tcpSocket": {"port": "http"}}],
        },
    });
    let merged = stage.apply_as("somebody", other, false).await?;
    let names = |pointer: &str| -> Vec<String> {
        let list = merged.data.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
        list.iter().filter_map(|item| Some(item.get("name")?.as_str()?.to_owned())).collect()
    };
    claim!(names("/spec/template/spec/containers/0/env") == ["APP_VERSION", "EXTRA"], "env {:?}", names("/spec/template/spec/containers/0/env"));
    claim!(names("/spec/smokeProbes") == ["home", "port"], "probes {:?}", names("/spec/smokeProbes"));
    claim!(names("/spec/template/spec/containers").len() == 1, "containers {:?}", names("/spec/template/spec/containers"));
    Ok(())
}
