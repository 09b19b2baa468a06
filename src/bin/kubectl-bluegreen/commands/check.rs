//! `check`: what the API server and the operator would say to a manifest.

use std::path::Path;

use bluegreen::controller::api::Resource;
use bluegreen::controller::trim;
use bluegreen::controller::world::Key;
use bluegreen::release::budget::hints;
use jiff::Timestamp;
use kube::api::{ApiResource, Patch, PatchParams, ValidationDirective};
use serde_json::Value;

use crate::check::{self, Seen};
use crate::cluster::{Cluster, FIELD_MANAGER, Refusal, read, timed, value};
use crate::config;
use crate::dry;
use crate::failure::{Failure, Result};
use crate::finding::{Checked, Finding};
use crate::history;
use crate::manifest::{self, Manifest};
use crate::terminal::Terminal;
use crate::text::{Ink, Page, bold, faint, ink, plain};

use super::status::replica_sets;

/// What was found out about one object.
#[derive(Default)]
struct Findings {
    mistakes: Vec<String>,
    notes: Vec<String>,
}

/// Looks at a manifest, and says what is wrong with it.
pub async fn run(cluster: &Cluster, terminal: Terminal, file: &Path) -> Result {
    let manifest = manifest::parse(&manifest::read(file)?, file)?;
    let (mut number, mut checked) = (0, vec![]);
    for object in &manifest.deployments {
        let key = manifest::key(object, cluster)?;
        let place = Cluster { namespace: key.namespace.clone(), ..cluster.clone() };
        let findings = look(&place, object, &key, &manifest).await?;
        number += findings.mistakes.len();
        // One line for each where no person reads it.
        let columns = if terminal.live { terminal.columns() } else { usize::MAX };
        terminal.print(&page(&key, &findings, columns))?;
        checked.push(Checked {
            name: key.name,
            namespace: key.namespace,
            mistakes: findings.mistakes.iter().map(Finding::from).collect(),
            notes: findings.notes.iter().map(Finding::from).collect(),
        });
    }
    terminal.answer(&checked)?;
    if number > 0 { Err(Failure::Mistakes(number)) } else { Ok(()) }
}

fn page(key: &Key, findings: &Findings, columns: usize) -> Page {
    let mut page = Page::new(columns);
    page.line([bold(&key.name), faint(format!(" in {}", key.namespace))]);
    for mistake in &findings.mistakes {
        page.wrapped(vec![plain("  "), ink(Ink::Red, "✗"), plain(" ")], Ink::Plain, mistake);
    }
    if findings.mistakes.is_empty() {
        page.wrapped(
            vec![plain("  "), ink(Ink::Green, "✓"), plain(" ")],
            Ink::Plain,
            "the API server takes it, and the operator would find nothing wrong",
        );
    }
    for note in &findings.notes {
        page.wrapped(vec![plain("  "), faint("–"), plain(" ")], Ink::Plain, note);
    }
    page
}

async fn look(cluster: &Cluster, object: &Value, key: &Key, manifest: &Manifest) -> Result<Findings> {
    let mut findings = Findings { notes: manifest.services.iter().filter_map(check::hint).collect(), ..Findings::default() };
    let stored = match dry_apply(cluster, object, &key.name).await? {
        Ok(stored) => stored,
        Err(Refusal::Api(status)) => {
            findings.mistakes = check::causes(&status);
            return Ok(findings);
        }
        Err(Refusal::Other(words)) => return Err(crate::cluster::failed("the manifest could not be tried", words)),
    };
    let deployment = read(stored.clone())?;
    let all = replica_sets(cluster, &key.name).await?;
    let config::Found { object: deployment, wrong, unread } = config::effective(cluster, deployment).await;
    findings.mistakes.extend(wrong);
    findings.notes.extend(unread);
    match dry::replica_set(cluster, &deployment).await {
        Ok(tried) => findings.notes.insert(0, check::begins(&deployment, &history::sets(&deployment, &all), &tried)),
        Err(Refusal::Api(status)) => match check::causes_of_template(&status) {
            Some(causes) => findings.mistakes.extend(causes),
            None => findings.notes.push(format!("spec.template was not tried as a ReplicaSet: {}", status.message)),
        },
        Err(Refusal::Other(words)) => return Err(crate::cluster::failed("spec.template could not be tried", words)),
    }
    match dry::jobs(cluster, &deployment).await {
        Ok(mistakes) => findings.mistakes.extend(mistakes),
        Err(Refusal::Api(status)) => findings.notes.push(format!("the Jobs of the spec were not tried: {}", status.message)),
        Err(Refusal::Other(words)) => return Err(crate::cluster::failed("the Jobs of the spec could not be tried", words)),
    }
    let seen = Seen { object: stored, others: others(cluster, all, manifest, &mut findings).await? };
    let Some(mut snapshot) = check::snapshot(&seen, Timestamp::now()) else {
        return Err(Failure::Unreadable { what: format!("the answer about {}", key.name), error: "it has no name, namespace or UID".into() });
    };
    for owner in check::owners(&snapshot) {
        let found = cluster.get(Resource::BlueGreenDeployment, &owner.name).await?;
        check::looked_up(&mut snapshot, &owner, found.as_ref());
    }
    findings.mistakes.extend(check::problems(&snapshot));
    findings.notes.extend(hints(&snapshot));
    Ok(findings)
}

/// What the API server would make of the object, with misspelt fields refused.
async fn dry_apply(cluster: &Cluster, object: &Value, name: &str) -> Result<std::result::Result<Value, Refusal>> {
    let kind = Resource::BlueGreenDeployment.api_resource();
    let live = cluster.get(Resource::BlueGreenDeployment, name).await?;
    let applier = check::applier(live.as_ref());
    if let (Some(live), None) = (&live, &applier) {
        // An apply in another name would only add to what there is.
        return Ok(cluster.dry_replace(&kind, name, &check::successor(object, live)).await);
    }
    let parameters = PatchParams {
        dry_run: true,
        force: true,
        field_manager: Some(applier.unwrap_or_else(|| FIELD_MANAGER.into())),
        field_validation: Some(ValidationDirective::Strict),
    };
    let api = cluster.api(&kind);
    match timed(api.patch(name, &parameters, &Patch::Apply(object))).await {
        Ok(stored) => value(stored).map(Ok),
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// Everything else that the rules look at; Services that are in the manifest but not in the cluster yet as they would be made.
async fn others(cluster: &Cluster, sets: Vec<Value>, manifest: &Manifest, findings: &mut Findings) -> Result<Vec<(Resource, Value)>> {
    let list = |resource, labels| cluster.list::<Value>(resource, Some(&cluster.namespace), labels);
    let (services, slices, pods) =
        tokio::join!(list(Resource::Service, None), list(Resource::EndpointSlice, None), list(Resource::Pod, Some(bluegreen::api::keys::REVISION)));
    let mut services = services?;
    for service in &manifest.services {
        let key = manifest::key(service, cluster);
        let known = services.iter().any(|known| trim::text(known, "/metadata/name") == trim::text(service, "/metadata/name"));
        if known || !key.is_ok_and(|key| key.namespace == cluster.namespace) {
            continue;
        }
        let kind: ApiResource = Resource::Service.api_resource();
        match cluster.dry_create(&kind, service).await {
            Ok(made) => services.push(made),
            Err(Refusal::Api(status)) => findings.mistakes.extend(check::causes(&status)),
            Err(Refusal::Other(words)) => return Err(crate::cluster::failed("a Service could not be tried", words)),
        }
    }
    // Who may not read them can be told everything else.
    let budgets = list(Resource::PodDisruptionBudget, None).await.unwrap_or_else(|failure| {
        findings.notes.push(format!("PodDisruptionBudgets were not looked at: {failure}"));
        vec![]
    });
    let tagged = |resource: Resource, objects: Vec<Value>| objects.into_iter().map(move |object| (resource, object));
    let all = tagged(Resource::PodDisruptionBudget, budgets).chain(tagged(Resource::ReplicaSet, sets)).chain(tagged(Resource::Pod, pods?));
    Ok(all.chain(tagged(Resource::Service, services)).chain(tagged(Resource::EndpointSlice, slices?)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_one_by_one_and_fit_the_terminal() {
        let key = Key { namespace: "shops".into(), name: "shop".into() };
        let mistake = "spec.traffic.services[0]: Service \"shop\" does not exist in this namespace; create it without a selector, or remove it here";
        let findings = Findings { mistakes: vec![mistake.into(), "spec.replicas: must be zero or more".into()], notes: vec!["a note".into()] };
        let text = page(&key, &findings, 60).text(false);
        assert_eq!(
            text,
            "\
shop in shops
  ✗ spec.traffic.services[0]: Service \"shop\" does not exist
    in this namespace; create it without a selector, or
    remove it here
  ✗ spec.replicas: must be zero or more
  – a note
"
        );
        assert!(page(&key, &findings, usize::MAX).text(false).contains(mistake));
        assert!(page(&key, &Findings::default(), 80).text(false).contains("✓ the API server takes it"));
    }
}
