//! Which Services may be taken, and what is wrong with the others. Every refusal names the Service and what to do.

use std::collections::BTreeMap;

use crate::api::keys;

use super::snapshot::{OwnerState, Repairs, Service, Snapshot};

/// Why the release can't go on before something is corrected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Reason of the condition Stalled.
    pub reason: &'static str,
    /// What is wrong, where, and what to write instead.
    pub message: String,
}

impl Block {
    /// One block.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Whether a Service is owned by this object.
pub fn owned(snapshot: &Snapshot, service: &Service) -> bool {
    service.owner.as_ref().is_some_and(|owner| owner.uid == snapshot.object.uid)
}

/// The selector without the keys of this operator.
pub fn foreign_part(selector: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    selector.iter().filter(|(key, _)| !key.starts_with(keys::PREFIX)).map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// Labels of the pod template.
pub fn template_labels(snapshot: &Snapshot) -> BTreeMap<&str, &str> {
    snapshot
        .object
        .spec
        .template
        .pointer("/metadata/labels")
        .and_then(serde_json::Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
        .collect()
}

/// Whether a selector matches pods of the template, whatever their revision.
pub fn matches_template(selector: &BTreeMap<String, String>, labels: &BTreeMap<&str, &str>) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key.as_str()) == Some(&value.as_str()))
}

/// Whether a Service with this selector could lead to pods that have all these labels, and others that are not known: it contradicts none.
pub fn may_lead(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    !selector.is_empty() && labels.iter().all(|(key, value)| selector.get(key).is_none_or(|selected| selected == value))
}

/// Looks at one declared Service. `path` is where it stands in the spec.
pub fn check(snapshot: &Snapshot, path: &str, name: &str) -> Result<(), Block> {
    let Some(service) = snapshot.services.get(name).filter(|service| !service.deleting) else {
        return Err(Block::new(
            "ServiceMissing",
            format!("{path}: Service \"{name}\" does not exist in this namespace; create it without a selector, or remove it here"),
        ));
    };
    if service.kind == "ExternalName" {
        return Err(Block::new(
            "ServiceUnsuitable",
            format!("{path}: Service \"{name}\" is of type ExternalName, which selects no pods; use another type, or remove it here"),
        ));
    }
    owner(snapshot, path, service)?;
    let labels = template_labels(snapshot);
    let foreign = foreign_part(&service.selector);
    // What this object wrote before and somebody else changed since is no Service of others, but drift, which is put back.
    let drifted = owned(snapshot, service) && service.selected.is_some();
    if let Some((key, value)) = foreign.iter().find(|(key, value)| !drifted && labels.get(*key) != Some(value)) {
        return Err(Block::new(
            "ServiceSelectsOther",
            format!(
                "{path}: Service \"{name}\" selects {key}={value}, which spec.template.metadata.labels does not have; it serves something else: name another Service here, or remove the selector from it"
            ),
        ));
    }
    // Where it is fought over, that is said instead: at each repair the selector changes its owner, and status would go to and fro.
    let active = snapshot.object.spec.traffic.services.iter().any(|service| service == name);
    let fought = active && snapshot.repairs.get(name).is_some_and(Repairs::fought);
    if let Some(applier) = service.applier.as_ref().filter(|_| !fought) {
        return Err(Block::new(
            "SelectorOwnedBy",
            format!(
                "{path}: the selector of Service \"{name}\" is owned by \"{applier}\" through server-side apply, which would remove the revision at every sync; remove spec.selector from the Service's manifest, the operator writes it"
            ),
        ));
    }
    serves_others(snapshot, path, service)
}

fn owner(snapshot: &Snapshot, path: &str, service: &Service) -> Result<(), Block> {
    let Some(owner) = service.owner.as_ref().filter(|owner| owner.uid != snapshot.object.uid) else {
        return Ok(());
    };
    if snapshot.owners.get(&owner.uid) == Some(&OwnerState::Gone) {
        return Ok(());
    }
    Err(Block::new(
        "ServiceOwnedBy",
        format!(
            "{path}: Service \"{}\" is moved by BlueGreenDeployment \"{}/{}\"; name each Service in one BlueGreenDeployment only",
            service.name, snapshot.object.namespace, owner.name
        ),
    ))
}

/// A Service that was never ours and has endpoints that are not our pods.
fn serves_others(snapshot: &Snapshot, path: &str, service: &Service) -> Result<(), Block> {
    let Some(endpoints) = snapshot.endpoints.get(&service.name) else {
        return Ok(());
    };
    let name = &service.name;
    if endpoints.foreign {
        return Err(Block::new(
            "ServiceUnsuitable",
            format!(
                "{path}: Service \"{name}\" has endpoints that were not made from a selector; remove those EndpointSlices, or name another Service here"
            ),
        ));
    }
    // Left by a former owner together with its ReplicaSet, it goes on as it is.
    let inherited = service.selected.as_ref().is_some_and(|selected| snapshot.sets.iter().any(|set| set.revision == selected.revision));
    if owned(snapshot, service) || service.owner.is_some() && inherited {
        return Ok(());
    }
    let others = endpoints.pods.keys().filter(|uid| !snapshot.pods.iter().any(|pod| &pod.uid == *uid)).count();
    if others > 0 {
        return Err(Block::new(
            "ServiceServesOthers",
            format!(
                "{path}: Service \"{name}\" already serves {others} {} of something else, which a switch would cut off from its users; if they are those of a Deployment, delete this object and take that over with kubectl bluegreen adopt, else name another Service here (docs/migrate.md)",
                if others == 1 { "pod" } else { "pods" }
            ),
        ));
    }
    Ok(())
}

/// A Service of the namespace that matches the pods of every revision without being declared.
pub fn exposed_elsewhere(snapshot: &Snapshot) -> Result<(), Block> {
    let traffic = &snapshot.object.spec.traffic;
    let labels = template_labels(snapshot);
    for service in snapshot.services.values() {
        let declared = [&traffic.services, &traffic.preview_services, &traffic.allow_other_services].iter().any(|list| list.contains(&service.name));
        // A selector with our key names one revision; that of another owner never matches our pods.
        let ours = [keys::REVISION, keys::SERVING].iter().any(|key| service.selector.contains_key(*key));
        if declared || service.deleting || ours || !matches_template(&service.selector, &labels) {
            continue;
        }
        return Err(Block::new(
            "ExposedElsewhere",
            format!(
                "spec.traffic: Service \"{}\" also selects these pods and would send traffic to untested ones; add it to services or previewServices, or to allowOtherServices if that is intended",
                service.name
            ),
        ));
    }
    Ok(())
}
