//! Mistakes in a spec or around it: what status says to each, and that nothing that runs is lost by one.
//!
//! The table of `docs/troubleshooting.md` is made of [`MISTAKES`], so the messages there are those that were seen.

use std::path::PathBuf;
use std::sync::Arc;

use bluegreen::api::{ConditionStatus, ConditionType};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;

use crate::claim;
use crate::failure::{Failure, Result, io};
use crate::manifest::{APP_IMAGE, Manifest, shop};
use crate::runner::{Case, Place};
use crate::stage::{Stage, condition};
use crate::wait::{Look, wait_for, when};
use crate::world::sources;

/// What there is around the mistake.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Around {
    /// Nothing special.
    Nothing,
    /// A Service `web` that selects something else.
    SelectsOther,
    /// A Service `web` that another BlueGreenDeployment moves.
    OwnedByOther,
    /// A Service `web` that selects all pods.
    SelectsAll,
    /// A Service `web` of type ExternalName.
    External,
    /// A Service `web` with an EndpointSlice made by hand.
    ByHand,
    /// A Service `web` whose selector belongs to a server-side applier.
    Applied,
    /// A Service `web` with a pod of something else behind it.
    Serving,
    /// A quota that one ReplicaSet fills.
    Quota,
}

/// One mistake.
struct Mistake {
    /// Name of its case.
    name: &'static str,
    /// For people.
    title: &'static str,
    around: Around,
    /// The mistake itself.
    edit: fn(Manifest) -> Manifest,
    /// Where it is said.
    kind: ConditionType,
    reason: &'static str,
    /// What is said, with `<pod>`, `<revision>`, `<namespace>` and `<random>` in place of names, and `…` for what varies.
    message: &'static str,
}

fn web(manifest: Manifest) -> Manifest {
    manifest.spec("/traffic/services", json!(["shop", "web"]))
}

fn unchanged(manifest: Manifest) -> Manifest {
    manifest
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "bad_service_missing",
        title: "A Service that does not exist",
        around: Around::Nothing,
        edit: web,
        kind: ConditionType::Stalled,
        reason: "ServiceMissing",
        message: "spec.traffic.services[1]: Service \"web\" does not exist in this namespace; create it without a selector, or remove it here",
    },
    Mistake {
        name: "bad_service_selects_other",
        title: "A Service that selects something else",
        around: Around::SelectsOther,
        edit: web,
        kind: ConditionType::Stalled,
        reason: "ServiceSelectsOther",
        message: "spec.traffic.services[1]: Service \"web\" selects app=web, which spec.template.metadata.labels does not have; it serves something else: name another Service here, or remove the selector from it",
    },
    Mistake {
        name: "bad_service_owned",
        title: "A Service that another BlueGreenDeployment moves",
        around: Around::OwnedByOther,
        edit: web,
        kind: ConditionType::Stalled,
        reason: "ServiceOwnedBy",
        message: "spec.traffic.services[1]: Service \"web\" is moved by BlueGreenDeployment \"<namespace>/other\"; name each Service in one BlueGreenDeployment only",
    },
    Mistake {
        name: "bad_exposed_elsewhere",
        title: "Another Service that selects the same pods",
        around: Around::SelectsAll,
        edit: unchanged,
        kind: ConditionType::Stalled,
        reason: "ExposedElsewhere",
        message: "spec.traffic: Service \"web\" also selects these pods and would send traffic to untested ones; add it to services or previewServices, or to allowOtherServices if that is intended",
    },
    Mistake {
        name: "bad_external_name",
        title: "A Service of type ExternalName",
        around: Around::External,
        edit: web,
        kind: ConditionType::Stalled,
        reason: "ServiceUnsuitable",
        message: "spec.traffic.services[1]: Service \"web\" is of type ExternalName, which selects no pods; use another type, or remove it here",
    },
    Mistake {
        name: "bad_endpoints_by_hand",
        title: "A Service with endpoints made by hand",
        around: Around::ByHand,
        edit: web,
        kind: ConditionType::Stalled,
        reason: "ServiceUnsuitable",
        message: "spec.traffic.services[1]: Service \"web\" has endpoints that were not made from a selector; remove those EndpointSlices, or name another Service here",
    },
    Mistake {
        name: "bad_selector_owned",
        title: "A Service whose selector a GitOps tool applies",
        around: Around::Applied,
        edit: web,
        kind: ConditionType::Stalled,
        reason: "SelectorOwnedBy",
        message: "spec.traffic.services[1]: the selector of Service \"web\" is owned by \"flux\" through server-side apply, which would remove the revision at every sync; remove spec.selector from the Service's manifest, the operator writes it",
    },
    Mistake {
        name: "bad_serves_others",
        title: "A Service that already serves other pods",
        around: Around::Serving,
        edit: web,
        kind: ConditionType::Stalled,
        reason: "ServiceServesOthers",
        message: "spec.traffic.services[1]: Service \"web\" already serves 1 pod of something else, which a switch would cut off from its users; name a new Service here and move the clients to it (docs/migrate.md)",
    },
    Mistake {
        name: "bad_probe_port_name",
        title: "A smoke probe of a port name that no container has",
        around: Around::Nothing,
        edit: |manifest| manifest.spec("/smokeProbes/0/httpGet/port", "web"),
        kind: ConditionType::Stalled,
        reason: "PortUnknown",
        message: "spec.smokeProbes[0].httpGet.port: no container port is named \"web\"; the template has http, admin, echo, grpc",
    },
    Mistake {
        name: "bad_drain_port",
        title: "A drain port that is no port",
        around: Around::Nothing,
        edit: |manifest| manifest.spec("/drain/ports", json!([70000])),
        kind: ConditionType::Stalled,
        reason: "PortUnknown",
        message: "spec.drain.ports[0]: 70000 is not a port; use a number from 1 to 65535",
    },
    Mistake {
        name: "bad_begin_path",
        title: "A path of drain.begin that is no path",
        around: Around::Nothing,
        edit: |manifest| manifest.spec("/drain/begin", json!({"http": {"path": "drain", "port": "admin"}})),
        kind: ConditionType::Stalled,
        reason: "PathInvalid",
        message: "spec.drain.begin.http.path: \"drain\" does not begin with /",
    },
    Mistake {
        name: "bad_host_port",
        title: "A host port",
        around: Around::Nothing,
        edit: |manifest| manifest.container("/ports/0/hostPort", 8080),
        kind: ConditionType::Stalled,
        reason: "HostPort",
        message: "spec.template.spec.containers[0].ports[0].hostPort: a host port bypasses the Service and two revisions can't share it on one node; remove it, or set spec.drain.source to Timer",
    },
    Mistake {
        name: "bad_template",
        title: "A template that the API server refuses",
        around: Around::Nothing,
        edit: |manifest| manifest.spec("/template/spec/restartPolicy", "Never"),
        kind: ConditionType::Stalled,
        reason: "TemplateRefused",
        message: "the API server refuses spec.template: spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
    },
    Mistake {
        name: "bad_quota",
        title: "A quota that is exhausted",
        around: Around::Quota,
        edit: unchanged,
        kind: ConditionType::Stalled,
        reason: "QuotaExceeded",
        message: "the ReplicaSet of spec.template can't be created: replicasets.apps \"shop-<random>\" is forbidden: exceeded quota: sets, requested: count/replicasets.apps=1, used: count/replicasets.apps=1, limited: count/replicasets.apps=1",
    },
    Mistake {
        name: "bad_image",
        title: "An image that can't be pulled",
        around: Around::Nothing,
        edit: |manifest| manifest.container("/image", "localhost/app:missing").container("/imagePullPolicy", "IfNotPresent"),
        kind: ConditionType::Reconciling,
        reason: "BringUp",
        message: "revision <revision> is brought up: 0 of 2 pods are available; pod <pod>: container app: ImagePullBackOff: Back-off pulling image \"localhost/app:missing\"…",
    },
    Mistake {
        name: "bad_node_selector",
        title: "Pods that fit on no node",
        around: Around::Nothing,
        edit: |manifest| manifest.spec("/template/spec/nodeSelector", json!({"disk": "ssd"})),
        kind: ConditionType::Reconciling,
        reason: "BringUp",
        message: "revision <revision> is brought up: 0 of 2 pods are available; pod <pod>: Unschedulable: 0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.…",
    },
    Mistake {
        name: "bad_crash",
        title: "A container that ends at once",
        around: Around::Nothing,
        edit: |manifest| manifest.container("/args", json!(["--no-such-flag"])),
        kind: ConditionType::Reconciling,
        reason: "BringUp",
        message: "revision <revision> is brought up: 0 of 2 pods are available; pod <pod>: container app: CrashLoopBackOff: back-off … restarting failed container=app pod=<pod>…",
    },
    Mistake {
        name: "bad_probe_nobody_listens",
        title: "A smoke probe of a port where nobody listens",
        around: Around::Nothing,
        edit: |manifest| manifest.spec("/smokeProbes/0/httpGet/port", 7777),
        kind: ConditionType::Stalled,
        reason: "SmokeFailed",
        message: "smoke probe \"home\" on <pod> failed 3 times: GET / on port 7777: connection refused; nothing listens on that port of the pod's address",
    },
    Mistake {
        name: "bad_probe_text",
        title: "A smoke probe that expects another text",
        around: Around::Nothing,
        edit: |manifest| manifest.spec("/smokeProbes/0/httpGet/expect/bodyContains", "welcome"),
        kind: ConditionType::Stalled,
        reason: "SmokeFailed",
        message: "smoke probe \"home\" on <pod> failed 3 times: GET / on port 8080: answered 200, but its body lacks \"welcome\"",
    },
];

/// One case a mistake, and one that compares the documentation.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = MISTAKES
        .iter()
        .map(|mistake| Case { name: mistake.name, place: Place::Shared, limit: 120, run: Arc::new(move |stage| Box::pin(made(stage, mistake))) })
        .collect();
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
    let selected = stage.selected("shop").await?;
    claim!(selected == first, "the Service selects {selected} in place of {first}");
    claim!(stage.pods(&first).await?.len() == 2, "a running pod was lost");
    users.more(10).await?;
    let summary = users.stop_clean()?;
    claim!(summary.versions.keys().all(|version| version == "v1"), "users saw {:?}", summary.versions.keys());
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
    let rows = MISTAKES
        .iter()
        .map(|mistake| format!("| {} | `{}` = True, `{}` | {} |", mistake.title, mistake.kind.name(), mistake.reason, cell(mistake.message)));
    let head = ["| Mistake | Condition | What it says |".to_owned(), "|---|---|---|".to_owned()];
    head.into_iter().chain(rows).collect::<Vec<_>>().join("\n")
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
