//! `diff`: how two pod templates differ.

use bluegreen::api::BlueGreenDeployment;
use bluegreen::controller::trim;
use bluegreen::release::revision::bare;
use serde::Serialize;
use serde_json::Value;

use crate::args::Format;
use crate::changes::{self, Change};
use crate::cluster::Cluster;
use crate::config;
use crate::dry;
use crate::failure::{Failure, Result};
use crate::report::current;
use crate::terminal::Terminal;
use crate::text;

use super::status::replica_sets;

/// Prints the difference.
pub async fn run(cluster: &Cluster, terminal: Terminal, name: &str, from: Option<&str>, to: Option<&str>) -> Result {
    let (object, all) = tokio::join!(cluster.object(name), replica_sets(cluster, name));
    let (object, all) = (object?, all?);
    let old = match from {
        Some(revision) => kept(&object, &all, revision)?,
        None => active(&object, &all)?,
    };
    let new = match to {
        Some(revision) => kept(&object, &all, revision)?,
        None => wanted(cluster, &object, &all).await?,
    };
    if terminal.output.is_some() {
        let changes = changes::between(&old.template, &new.template);
        return terminal.answer(&Difference { name, namespace: &cluster.namespace, old: old.named(), new: new.named(), changes });
    }
    let (old_text, new_text) = (Format::Yaml.text(&old.template)?, Format::Yaml.text(&new.template)?);
    let page = text::diff::page((&old.title, &old_text), (&new.title, &new_text));
    if page.len() == 0 {
        return terminal.say(&format!("{} and {} are the same.", old.title, new.title));
    }
    terminal.print(&page)
}

/// A template and what it is called.
#[derive(Debug, PartialEq)]
struct Side {
    title: String,
    revision: Option<String>,
    template: Value,
}

impl Side {
    fn named(&self) -> Named<'_> {
        Named { title: &self.title, revision: self.revision.as_deref() }
    }
}

/// The difference for programs.
#[derive(Serialize)]
struct Difference<'a> {
    name: &'a str,
    namespace: &'a str,
    old: Named<'a>,
    new: Named<'a>,
    /// In the pod template; none where both are the same.
    changes: Vec<Change>,
}

#[derive(Serialize)]
struct Named<'a> {
    title: &'a str,
    /// Absent where no ReplicaSet has the template yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<&'a str>,
}

/// The template of a revision that has a ReplicaSet.
fn kept(object: &BlueGreenDeployment, all: &[Value], revision: &str) -> Result<Side> {
    let uid = object.metadata.uid.as_deref();
    let mine = |set: &&Value| trim::controller(set).is_some_and(|(_, _, owner)| Some(owner.as_str()) == uid);
    let known: Vec<(String, &Value)> =
        all.iter().filter(mine).filter_map(|set| Some((trim::set(set)?.revision, set.pointer("/spec/template")?))).collect();
    match known.iter().find(|(name, _)| name == revision) {
        Some((name, template)) => Ok(Side { title: format!("revision {name}"), revision: Some(name.clone()), template: bare((*template).clone()) }),
        None => {
            let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
            let there = if names.is_empty() { "there are none yet".to_owned() } else { format!("there are {}", names.join(", ")) };
            Err(Failure::Refused(format!("there is no revision {revision}; {there}")))
        }
    }
}

fn active(object: &BlueGreenDeployment, all: &[Value]) -> Result<Side> {
    let active = object.status.as_ref().and_then(|status| status.switch.as_ref()).map(|switch| switch.to.as_str());
    match active {
        Some(active) => kept(object, all, active),
        None => Err(Failure::Refused("no revision serves yet; there is nothing to compare spec.template with".into())),
    }
}

/// The template of the spec, with the API server's defaults, as those of revisions have them.
async fn wanted(cluster: &Cluster, object: &BlueGreenDeployment, all: &[Value]) -> Result<Side> {
    let revision = object.status.as_ref().filter(|_| current(object)).and_then(|status| status.revision.as_deref());
    if let Some(side) = revision.and_then(|revision| kept(object, all, revision).ok()) {
        return Ok(Side { title: format!("spec.template ({})", side.title), ..side });
    }
    let config::Found { object, wrong, unread } = config::effective(cluster, object.clone()).await;
    wrong.into_iter().chain(unread).for_each(|line| eprintln!("{line}"));
    match dry::replica_set(cluster, &object).await {
        Ok(set) => {
            Ok(Side { title: "spec.template".into(), revision: None, template: bare(set.pointer("/spec/template").cloned().unwrap_or_default()) })
        }
        Err(refusal) => {
            eprintln!("spec.template is shown as it is written, without defaults: {}", refusal.words());
            Ok(Side { title: "spec.template".into(), revision: None, template: bare(object.spec.template.clone()) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{released, replica_set};

    #[test]
    fn sides_are_found_by_revision_and_unknown_ones_are_refused_with_those_there_are() {
        let object = released();
        let mut foreign = replica_set("other", "retired@1", 0);
        foreign["metadata"]["ownerReferences"][0]["uid"] = "somebody".into();
        let all = [replica_set("old", "retired@1", 0), replica_set("new", "serving@2", 2), foreign];
        let side = active(&object, &all).unwrap();
        assert_eq!((side.title.as_str(), side.template["metadata"]["labels"].clone()), ("revision new", serde_json::json!({"app": "shop"})));
        assert_eq!(kept(&object, &all, "old").unwrap().title, "revision old");
        let error = kept(&object, &all, "other").unwrap_err();
        assert_eq!((error.to_string().as_str(), error.code()), ("there is no revision other; there are old, new", 2));
    }
}
