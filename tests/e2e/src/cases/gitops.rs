//! Tools that apply manifests and wait: Helm, by the rules (kstatus) by which Flux waits as well, and the health check for Argo CD.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bluegreen::api::{BlueGreenDeploymentStatus, ConditionStatus, ConditionType, PhaseName};
use mlua::serde::SerializeOptions;
use mlua::{Lua, LuaSerdeExt, Table};
use serde_json::{Value, json};

use crate::claim;
use crate::failure::{Failure, Result, io};
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, is, revision};

/// A chart with the Service and the BlueGreenDeployment.
struct Chart<'a> {
    stage: &'a Stage,
    directory: PathBuf,
}

impl<'a> Chart<'a> {
    /// In the cluster's own directory, which goes with the cluster.
    fn new(stage: &'a Stage) -> Result<Self> {
        let directory = stage.world.cluster.kubeconfig().with_file_name(format!("chart-of-{}", stage.namespace));
        std::fs::create_dir_all(directory.join("templates")).map_err(io("making a chart"))?;
        let about = json!({"apiVersion": "v2", "name": "shop", "version": "1.0.0"});
        write(&directory.join("Chart.yaml"), &about)?;
        let ports = json!([{"name": "http", "port": 80, "targetPort": "http"}]);
        write(
            &directory.join("templates/service.yaml"),
            &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"}, "spec": {"ports": ports}}),
        )?;
        Ok(Self { stage, directory })
    }

    /// Installs or upgrades with a manifest.
    fn upgrade(&self, manifest: &Manifest, more: &[&str]) -> Result<String> {
        write(&self.directory.join("templates/shop.yaml"), &manifest.0)?;
        let chart = self.directory.to_string_lossy();
        self.helm(&["upgrade", "--install", "shop", &chart], more)
    }

    fn helm(&self, words: &[&str], more: &[&str]) -> Result<String> {
        let words = [words, &["--namespace", &self.stage.namespace], more].concat();
        self.stage.world.helm(&words)
    }
}

/// JSON is YAML.
fn write(path: &Path, object: &Value) -> Result {
    std::fs::write(path, format!("{object:#}")).map_err(io("writing a chart"))
}

/// The script as the page gives it to its readers.
fn script() -> Result<String> {
    let page = include_str!("../../../../docs/gitops.md");
    let lines = page.lines().skip_while(|line| !line.contains("health.bluegreen.dev_BlueGreenDeployment: |")).skip(1);
    let script: Vec<&str> = lines.take_while(|line| !line.starts_with("```")).collect();
    claim!(script.len() > 10, "docs/gitops.md has no script: {script:?}");
    Ok(script.join("\n"))
}

/// What Argo CD would say of an object.
fn health_of(object: &Value) -> Result<(String, String)> {
    let lua = Lua::new();
    let run = || {
        // As in Argo CD, what is null is not there.
        let options = SerializeOptions::new().serialize_none_to_null(false).serialize_unit_to_null(false);
        lua.globals().set("obj", lua.to_value_with(object, options)?)?;
        lua.load(script().map_err(mlua::Error::external)?).call::<Table>(())
    };
    let said = run().and_then(|table: Table| Ok((table.get("status")?, table.get("message")?)));
    said.map_err(|error: mlua::Error| Failure::Claim(format!("the health check: {error}")))
}

async fn health(stage: &Stage, expected: &str) -> Result<String> {
    let object = serde_json::to_value(stage.shop().await?)?;
    let (status, message) = health_of(&object)?;
    claim!(status == expected, "{status} ({message}) instead of {expected}: {}", object.pointer("/status").unwrap_or_default());
    Ok(message)
}

/// `helm upgrade --wait` ends when the revision serves everyone, fails if it is given up, and a Service without a selector in the chart keeps
/// the one that it has; and in each of these states the health check says what a person would.
pub async fn helm_waits(stage: Arc<Stage>) -> Result {
    const WAIT: [&str; 3] = ["--wait", "--timeout", "90s"];
    let chart = Chart::new(&stage)?;
    let serving = || async {
        let status = stage.shop().await?.status.unwrap_or_default();
        claim!(is(&status, ConditionType::Ready, ConditionStatus::True), "Helm did not wait: {status:?}");
        revision(&status)
    };
    chart.upgrade(&shop("v1"), &WAIT)?;
    let first = serving().await?;
    let users = stage.users().await?;
    let message = health(&stage, "Healthy").await?;
    claim!(message == format!("revision {first} serves everyone"), "it says {message:?}");
    let newer = Manifest(serde_json::to_value(stage.shop().await?)?).at("/metadata/generation", 99);
    claim!(health_of(&newer.0)?.0 == "Progressing", "of a spec that nobody has seen yet it says {:?}", health_of(&newer.0)?);
    let new = newer.at("/status", Value::Null);
    claim!(health_of(&new.0)?.0 == "Progressing", "without a status it says {:?}", health_of(&new.0)?);

    chart.upgrade(&shop("v2"), &WAIT)?;
    let second = serving().await?;
    claim!(second != first && stage.selected("shop").await? == second, "v2 does not serve");
    users.only("v2", 15).await?;

    let wrong = shop("v3").spec("/smokeProbes/0/httpGet/expect/bodyContains", "welcome");
    let refused = chart.upgrade(&wrong, &WAIT);
    let Err(Failure::Command { output, .. }) = refused else {
        return Err(Failure::Claim(format!("Helm says {refused:?} of a revision that was given up")));
    };
    let last = output.lines().next_back().unwrap_or_default();
    stage.notes.say(format!("of a revision that was given up Helm says: {last}"));
    let message = health(&stage, "Degraded").await?;
    claim!(message.starts_with("SmokeFailed: smoke probe \"home\" on "), "it says {message:?}");
    chart.helm(&["rollback", "shop", "2"], &WAIT)?;
    claim!(serving().await? == second, "the earlier revision is not back");

    chart.upgrade(&shop("v4").spec("/promotion/mode", "Manual"), &[])?;
    let waits = |status: &BlueGreenDeploymentStatus| status.phase == Some(PhaseName::AwaitPromotion);
    let fourth = revision(&stage.until("it waits for a person", 60, waits).await?)?;
    let message = health(&stage, "Suspended").await?;
    claim!(message.contains("bluegreen.dev/promote"), "it says {message:?}");
    stage.command("bluegreen.dev/promote", &fourth).await?;
    stage.complete(60).await?;
    health(&stage, "Healthy").await?;
    users.only("v4", 15).await?;
    users.stop_clean().map(drop)
}
