//! Mistakes in a spec or around it: what status says to each, and that nothing that runs is lost by one.
//!
//! The table of `docs/troubleshooting.md` is made of [`MISTAKES`] and [`REFUSED`], so the messages there are those that were seen.

use std::path::PathBuf;
use std::sync::Arc;

use bluegreen::api::ConditionStatus;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;

use crate::cases::mistakes::{Around, MISTAKES, Mistake, REFUSED};
use crate::claim;
use crate::failure::{Failure, Result, io};
use crate::manifest::{APP_IMAGE, shop};
use crate::runner::{Case, Place};
use crate::stage::{Stage, condition};
use crate::wait::{Look, stays, wait_for, when};
use crate::world::sources;

/// One case a mistake, and one that compares the documentation.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = MISTAKES
        .iter()
        .map(|mistake| Case { name: mistake.name, place: Place::Shared, limit: 120, run: Arc::new(move |stage| Box::pin(made(stage, mistake))) })
        .collect();
    cases.push(Case { name: "bad_and_refused", place: Place::Shared, limit: 90, run: Arc::new(|stage| Box::pin(refused(stage))) });
    cases.push(Case { name: "docs_tell_of_every_mistake", place: Place::Shared, limit: 10, run: Arc::new(|_| Box::pin(documented())) });
    cases
}

/// The mistake is made over a revision that serves: it is told in the words of the table, and nobody notices.
async fn made(stage: Arc<Stage>, mistake: &'static Mistake) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users_of("shop", &["--rate", "10", "--keepalive", "0"]).await?;
    prepare(&stage, mistake.around).await?;
    stage.apply(&(mistake.edit)(shop("v2"))).await?;
    let said = wait_for(format!("{:?} because of {}: {}", mistake.kind, mistake.reason, mistake.message), 60, || async {
        let shop = stage.shop().await?;
        let status = shop.status.unwrap_or_default();
        let Some(found) = condition(&status, mistake.kind) else {
            return Ok(Look::NotYet("nothing is said".into()));
        };
        let message = anonymous(&stage, &found.message, status.revision.as_deref()).await?;
        let right = found.status == ConditionStatus::True && found.reason == mistake.reason && matches(mistake.message, &message);
        Ok(if right { Look::Done(message) } else { Look::NotYet(format!("{:?} {}: {message}", found.status, found.reason)) })
    })
    .await?;
    claim!(!said.is_empty(), "nothing is said");
    stays("what runs is left alone", 2, || async {
        let (selected, pods) = (stage.selected("shop").await?, stage.pods(&first).await?.len());
        Ok(when(selected == first && pods == 2, || format!("the Service selects {selected}, and {pods} pods of {first} are left")))
    })
    .await?;
    users.more(10).await?;
    let summary = users.stop_clean()?;
    claim!(summary.versions.keys().all(|version| version == "v1"), "users saw {:?}", summary.versions.keys());
    Ok(())
}

/// The mistake is refused in the words of the table, and what runs goes on.
async fn refused(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users_of("shop", &["--rate", "10", "--keepalive", "0"]).await?;
    for mistake in REFUSED {
        match stage.apply(&(mistake.edit)(shop("v2"))).await {
            Err(Failure::Kube(kube::Error::Api(status))) => {
                claim!(status.code == 422 && status.message.contains(mistake.message), "{}: {} {}", mistake.title, status.code, status.message);
            }
            other => return Err(Failure::Claim(format!("{}: {:?}", mistake.title, other.map(|_| "it was accepted")))),
        }
    }
    let status = stage.complete(5).await?;
    claim!(status.revision.as_deref() == Some(first.as_str()), "the revision is {:?}", status.revision);
    users.more(10).await?;
    users.stop_clean()?;
    Ok(())
}

async fn prepare(stage: &Stage, around: Around) -> Result {
    let labels = |app: &str| json!({"selector": {"app": app}});
    match around {
        Around::Nothing => {}
        Around::SelectsOther => drop(stage.service_with("web", labels("web")).await?),
        Around::SelectsAll => drop(stage.service_with("web", labels("shop")).await?),
        Around::External => drop(
            stage.create::<Service>(json!({"metadata": {"name": "web"}, "spec": {"type": "ExternalName", "externalName": "example.org"}})).await?,
        ),
        Around::ByHand => {
            stage.service("web").await?;
            let slice = json!({
                "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
                "addressType": "IPv4", "ports": [{"name": "http", "port": 80}], "endpoints": [{"addresses": ["198.18.16.99"]}],
            });
            stage.create::<EndpointSlice>(slice).await?;
        }
        Around::Applied => {
            let service = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
                "spec": {"selector": {"app": "shop"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
            });
            stage.apply_as("flux", service, false).await?;
        }
        Around::OwnedByOther => {
            stage.service("web").await?;
            let other =
                shop("v1").at("/metadata/name", "other").spec("/selector/matchLabels/app", "other").spec("/template/metadata/labels/app", "other");
            stage.apply(&other.spec("/traffic/services", json!(["web"]))).await?;
            wait_for("the other one has taken the Service", 30, || async {
                let service = stage.api::<Service>().get("web").await?;
                Ok(when(service.annotations().contains_key("bluegreen.dev/owner"), || "it has no owner".into()))
            })
            .await?;
        }
        Around::Serving => {
            let pod = json!({
                "metadata": {"name": "stranger", "labels": {"app": "shop"}},
                "spec": {"containers": [{"name": "app", "image": APP_IMAGE, "imagePullPolicy": "Never", "ports": [{"name": "http", "containerPort": 8080}]}]},
            });
            stage.create::<Pod>(pod).await?;
            // Our own pods don't count as others, and must not be behind it either.
            stage.service_with("web", json!({"selector": {"app": "shop"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]})).await?;
            wait_for("the stranger is behind the Service", 30, || async {
                let slices = stage.api::<EndpointSlice>().list(&ListParams::default().labels("kubernetes.io/service-name=web")).await?;
                let there = slices.items.iter().flat_map(|slice| slice.endpoints.iter().flatten()).any(|endpoint| {
                    endpoint.target_ref.as_ref().and_then(|target| target.name.as_deref()) == Some("stranger")
                        && endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true)
                });
                Ok(when(there, || "not yet".into()))
            })
            .await?;
        }
        Around::Addressed => {
            let annotation = "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type=ip";
            stage.world.kubectl(&["annotate", "-n", &stage.namespace, "service/shop", annotation])?;
        }
        Around::Quota => {
            stage.create::<ResourceQuota>(json!({"metadata": {"name": "sets"}, "spec": {"hard": {"count/replicasets.apps": "1"}}})).await?;
            wait_for("the quota is counted", 30, || async {
                let quota = stage.api::<ResourceQuota>().get("sets").await?;
                let used = quota.status.and_then(|status| status.used).unwrap_or_default();
                Ok(when(used.values().any(|quantity| quantity.0 == "1"), || format!("{used:?}")))
            })
            .await?;
        }
    }
    Ok(())
}

/// Whether a message is the expected one, where `…` stands for anything.
fn matches(expected: &str, message: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|first| message.strip_prefix(first)) else {
        return false;
    };
    let mut open = false;
    for part in parts {
        open = part.is_empty();
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    open || rest.is_empty()
}

/// A message with generated names taken out.
async fn anonymous(stage: &Stage, message: &str, revision: Option<&str>) -> Result<String> {
    let mut message = message.replace(&stage.namespace, "<namespace>");
    for pod in stage.api::<Pod>().list(&ListParams::default()).await?.items {
        message = message.replace(&pod.name_any(), "<pod>");
    }
    // The name that a dry run with generateName made up: five characters.
    if let Some((before, rest)) = message.split_once("\"shop-")
        && let Some(after) = rest.get(5..).filter(|after| after.starts_with('"'))
    {
        message = format!("{before}\"shop-<random>{after}");
    }
    if let Some(revision) = revision.filter(|revision| !revision.is_empty()) {
        message = message.replace(revision, "<revision>");
    }
    Ok(message)
}

const BEGIN: &str = "<!-- mistakes: made by `e2e --write-docs` -->";
const END: &str = "<!-- end of mistakes -->";

fn page() -> PathBuf {
    sources().join("docs/troubleshooting.md")
}

fn table() -> String {
    let cell = |text: &str| text.replace('|', "\\|").replace('<', "&lt;").replace('>', "&gt;");
    let told = MISTAKES
        .iter()
        .map(|mistake| format!("| {} | `{}` = True, `{}` | {} |", mistake.title, mistake.kind.name(), mistake.reason, cell(mistake.message)));
    let refused = REFUSED.iter().map(|mistake| format!("| {} | none: the API server refuses it | {} |", mistake.title, cell(mistake.message)));
    let head = ["| Mistake | Condition | What it says |".to_owned(), "|---|---|---|".to_owned()];
    head.into_iter().chain(told).chain(refused).collect::<Vec<_>>().join("\n")
}

/// The page with its table replaced.
fn with_table(page: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n{END}{after}", table()))
}

/// The committed table says what these cases have seen.
async fn documented() -> Result {
    let path = page();
    let text = std::fs::read_to_string(&path).map_err(io(format!("reading {}", path.display())))?;
    claim!(with_table(&text).as_ref() == Some(&text), "the table in docs/troubleshooting.md is not of today; run `e2e --write-docs`");
    Ok(())
}

/// Writes the table into the page.
///
/// # Errors
/// When the page is not there or has no place for it.
pub fn write_docs() -> Result {
    let path = page();
    let text = std::fs::read_to_string(&path).map_err(io(format!("reading {}", path.display())))?;
    let Some(text) = with_table(&text) else {
        return Err(Failure::Claim(format!("{} has no lines {BEGIN} and {END}", path.display())));
    };
    std::fs::write(&path, text).map_err(io(format!("writing {}", path.display())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn what_varies_may_vary_and_nothing_else() {
        assert!(matches("a b", "a b") && !matches("a b", "a b c") && !matches("a b", "x a b"));
        assert!(matches("a … c", "a b c") && matches("a …", "a b") && matches("… b", "a b"));
        assert!(!matches("a … c", "a b d") && !matches("a … c", "a b c d"));
    }

    #[test]
    fn the_table_takes_its_place_and_nothing_else() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let once = with_table(&page).unwrap();
        assert!(once.starts_with("before\n") && once.ends_with("\nafter\n") && !once.contains("\nold\n"));
        assert_eq!(with_table(&once).unwrap(), once);
        assert!(with_table("no place").is_none());
    }
}
