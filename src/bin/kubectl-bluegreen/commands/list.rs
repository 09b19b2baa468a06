//! `list`: all of them, with only as much of each as is shown.

use bluegreen::api::{Condition, ConditionType, PhaseName};
use bluegreen::controller::api::Resource;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::failure::Result;
use crate::report::Why;
use crate::terminal::Terminal;
use crate::text;

/// A BlueGreenDeployment in short.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Where its release stands.
    pub phase: Option<PhaseName>,
    /// The revision that serves; empty where none does.
    pub active: String,
    /// Its colour.
    pub color: String,
    /// Ready and wanted pods of it.
    pub ready: String,
    /// Open connections to pods that are being left.
    pub open_connections: Option<i64>,
    /// Whether any are.
    pub draining: bool,
    /// Why somebody has to do something.
    pub stalled: Option<Why>,
    /// When it was created.
    pub created: Option<Timestamp>,
}

/// As much of an object as is read; the rest, templates above all, is skipped.
#[derive(Deserialize)]
struct Lean {
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    namespace: String,
    name: String,
    #[serde(default)]
    creation_timestamp: Option<Timestamp>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Option<PhaseName>,
    active: Option<Active>,
    ready_desired: String,
    open_connections: Option<i64>,
    draining: Vec<serde::de::IgnoredAny>,
    // As they come: a type that this build does not know must not spoil the list.
    conditions: Vec<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Active {
    revision: String,
    color: String,
}

impl From<Lean> for Item {
    fn from(lean: Lean) -> Self {
        let Lean { metadata, status } = lean;
        let active = status.active.unwrap_or_default();
        Self {
            namespace: metadata.namespace,
            name: metadata.name,
            phase: status.phase,
            active: active.revision,
            color: active.color,
            ready: status.ready_desired,
            open_connections: status.open_connections,
            draining: !status.draining.is_empty(),
            stalled: status.conditions.into_iter().filter_map(|condition| serde_json::from_value::<Condition>(condition).ok()).find_map(stalled),
            created: metadata.creation_timestamp,
        }
    }
}

fn stalled(condition: Condition) -> Option<Why> {
    let yes = condition.kind == ConditionType::Stalled && condition.status == bluegreen::api::ConditionStatus::True;
    yes.then_some(Why { reason: condition.reason, message: condition.message })
}

/// Prints all of them.
pub async fn run(cluster: &Cluster, terminal: Terminal, all: bool) -> Result {
    let namespace = (!all).then_some(cluster.namespace.as_str());
    let found: Vec<Lean> = cluster.list(Resource::BlueGreenDeployment, namespace, None).await?;
    let items: Vec<Item> = found.into_iter().map(Item::from).collect();
    if terminal.output.is_some() {
        return terminal.answer(&items);
    }
    if items.is_empty() {
        let place = namespace.map_or_else(|| "in any namespace".to_owned(), |namespace| format!("in namespace {namespace}"));
        return terminal.say(&format!("There are no BlueGreenDeployments {place}."));
    }
    terminal.print(&text::list::page(&items, all, Timestamp::now(), terminal.columns()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(object: Value) -> Item {
        serde_json::from_value::<Lean>(object).unwrap().into()
    }

    #[test]
    fn a_line_is_read_from_the_status() {
        let condition = |kind: &str, status: &str| {
            json!({"type": kind, "status": status, "reason": "ServiceMissing", "message": "it is not there",
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let item = item(json!({
            "metadata": {"name": "shop", "namespace": "shops", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"template": {}},
            "status": {"phase": "Drain", "active": {"revision": "abc", "color": "blue", "more": 1}, "readyDesired": "2/2", "openConnections": 3,
                "draining": [{}], "conditions": [condition("Newer", "True"), condition("Ready", "True"), condition("Stalled", "True")]},
        }));
        assert_eq!((item.active.as_str(), item.ready.as_str(), item.open_connections, item.draining), ("abc", "2/2", Some(3), true));
        assert_eq!(item.stalled, Some(Why { reason: "ServiceMissing".into(), message: "it is not there".into() }));
    }

    #[test]
    fn an_object_that_nobody_has_looked_at_has_a_line_too() {
        let item = item(json!({"metadata": {"name": "shop", "namespace": "shops"}, "status": {"observedGeneration": -1}}));
        assert_eq!((item.phase, item.active.as_str(), item.stalled, item.draining), (None, "", None, false));
    }
}
