//! What a release looks like from outside, in sentences: from what was seen to lines that a newcomer understands.

use std::collections::{BTreeMap, BTreeSet};

use bluegreen::api::{BlueGreenDeployment, ConditionStatus, ConditionType, ProbeResult, keys};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;

use crate::shop::{PODS, PREVIEW, SHOP, is_complete, version};
use crate::watch::{Seen, Thing};

/// A line to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// One of many.
    Plain(String),
    /// One of the few that matter most.
    Important(String),
}

/// A release, as far as it was seen.
#[derive(Clone, Debug)]
pub struct Timeline {
    from: String,
    to: String,
    /// Versions by revision.
    versions: BTreeMap<String, String>,
    selected: BTreeMap<String, String>,
    ready: BTreeSet<String>,
    passed: BTreeSet<(String, String)>,
    leaving: BTreeSet<String>,
    gone: usize,
    open: Option<i64>,
    converged: bool,
    stalled: String,
    complete: bool,
    switched_ms: Option<u64>,
    scaled_down_ms: Option<u64>,
}

impl Timeline {
    /// A release from one version to the next.
    #[must_use]
    pub fn new(from: &str, to: &str) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
            versions: BTreeMap::new(),
            selected: BTreeMap::new(),
            ready: BTreeSet::new(),
            passed: BTreeSet::new(),
            leaving: BTreeSet::new(),
            gone: 0,
            open: None,
            converged: false,
            stalled: String::new(),
            complete: false,
            switched_ms: None,
            scaled_down_ms: None,
        }
    }

    /// When Service shop was seen to select the new version, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn switched_ms(&self) -> Option<u64> {
        self.switched_ms
    }

    /// When the old ReplicaSet was seen to be scaled to 0, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn scaled_down_ms(&self) -> Option<u64> {
        self.scaled_down_ms
    }

    /// Whether the new version serves and the last old pod is gone.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.complete && self.scaled_down_ms.is_some() && self.gone >= self.leaving.len() && !self.leaving.is_empty()
    }

    /// What there is to say about something that was seen.
    pub fn see(&mut self, seen: &Seen) -> Vec<Line> {
        match &seen.what {
            Thing::Set(set) => self.set(set, seen.at_ms),
            Thing::Pod(pod) => self.pod(pod),
            Thing::PodGone(name) => self.pod_gone(name),
            Thing::Service(service) => self.service(service, seen.at_ms),
            Thing::Shop(shop) => self.shop(shop),
        }
    }

    fn version_of(&self, revision: &str) -> &str {
        self.versions.get(revision).map_or("", String::as_str)
    }

    fn set(&mut self, set: &ReplicaSet, at_ms: u64) -> Vec<Line> {
        let revision = label(set.labels(), keys::REVISION);
        let template = serde_json::to_value(&set.spec.template).unwrap_or_default();
        let version = version(&template).unwrap_or_default();
        let known = self.versions.insert(revision, version.clone()).is_some();
        let wanted = set.spec.replicas.unwrap_or(1);
        if version == self.to && !known {
            let color = label(set.labels(), keys::COLOR);
            return plain(format!("{wanted} {color} pods of {} start beside the pods of {} (ReplicaSet {})", self.to, self.from, set.name_any()));
        }
        if version == self.from && wanted == 0 && self.scaled_down_ms.is_none() && self.switched_ms.is_some() {
            self.scaled_down_ms = Some(at_ms);
            return vec![Line::Important(format!("nobody is connected to {} any more: its ReplicaSet is scaled to 0", self.from))];
        }
        vec![]
    }

    fn pod(&mut self, pod: &Pod) -> Vec<Line> {
        let name = pod.name_any();
        let version = self.version_of(&label(pod.labels(), keys::REVISION)).to_owned();
        if version == self.from {
            self.leaving.insert(name);
            return vec![];
        }
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        if version != self.to || !ready || !self.ready.insert(name.clone()) {
            return vec![];
        }
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("?");
        plain(format!("pod {name} is ready on node {node} ({} of {PODS}); no user reaches it yet", self.ready.len()))
    }

    fn pod_gone(&mut self, name: &str) -> Vec<Line> {
        if !self.leaving.contains(name) {
            return vec![];
        }
        self.gone += 1;
        if self.gone < self.leaving.len() {
            return vec![];
        }
        plain(format!("the last pod of {} is gone", self.from))
    }

    fn service(&mut self, service: &Service, at_ms: u64) -> Vec<Line> {
        let name = service.name_any();
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
        let revision = selector.get(keys::REVISION).cloned().unwrap_or_default();
        let version = self.version_of(&revision).to_owned();
        let before = self.selected.insert(name.clone(), version.clone());
        if version != self.to || before.is_none_or(|before| before == version) {
            return vec![];
        }
        if name == SHOP {
            self.switched_ms.get_or_insert(at_ms);
            return vec![Line::Important(format!("THE SWITCH: Service {SHOP} selects {}; who is connected to {} stays there", self.to, self.from))];
        }
        if name == PREVIEW {
            return plain(format!("Service {PREVIEW} selects {}: testers can look at it", self.to));
        }
        vec![]
    }

    fn shop(&mut self, shop: &BlueGreenDeployment) -> Vec<Line> {
        let Some(status) = &shop.status else {
            return vec![];
        };
        let mut lines = vec![];
        let current = Some(status.observed_generation) == shop.metadata.generation && version(&shop.spec.template).as_deref() == Some(&self.to);
        if !current {
            return lines;
        }
        for probe in status.smoke_probes.iter().filter(|probe| probe.result == ProbeResult::Passed && self.ready.contains(&probe.target)) {
            if self.passed.insert((probe.name.clone(), probe.target.clone())) {
                let text = format!("smoke probe `{}` passed on pod {} ({} of {PODS})", probe.name, probe.target, self.passed.len());
                lines.push(Line::Plain(text));
            }
        }
        if let Some(stalled) = status.conditions.iter().find(|one| one.kind == ConditionType::Stalled && one.status == ConditionStatus::True)
            && self.stalled != stalled.message
        {
            self.stalled.clone_from(&stalled.message);
            lines.push(Line::Important(format!("stalled, {}: {}", stalled.reason, stalled.message)));
        }
        if self.switched_ms.is_none() {
            return lines;
        }
        if let Some(converged) = status.conditions.iter().find(|condition| condition.kind == ConditionType::Converged)
            && converged.status != ConditionStatus::False
            && status.switch.as_ref().is_some_and(|switch| switch.converged_at.is_some())
            && !std::mem::replace(&mut self.converged, true)
        {
            lines.push(Line::Plain(match converged.status {
                ConditionStatus::True => {
                    format!("converged: the Service's endpoints are pods of {}, and nobody new has reached {} for 3 s", self.to, self.from)
                }
                _ => format!("convergence unknown: {}", converged.message),
            }));
        }
        if self.scaled_down_ms.is_none()
            && let Some(draining) = status.draining.first()
            && draining.open_connections != self.open
        {
            self.open = draining.open_connections;
            if let Some(open) = self.open.filter(|open| *open > 0) {
                let holder = draining.holders.first().map(|holder| format!(" from {}", holder.pod.as_deref().unwrap_or(&holder.address)));
                let (holder, noun) = (holder.unwrap_or_default(), if open == 1 { "connection" } else { "connections" });
                let text = format!("the agents count {open} open {noun}{holder} to {}: its {} pods stay", self.from, draining.pods);
                lines.push(Line::Plain(text));
            }
        }
        self.complete = is_complete(shop);
        lines
    }
}

fn plain(text: String) -> Vec<Line> {
    vec![Line::Plain(text)]
}

fn label(labels: &BTreeMap<String, String>, key: &str) -> String {
    labels.get(key).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::shop::{demo_spec, manifest};
    use serde_json::json;

    fn set(revision: &str, version: &str, color: &str, replicas: i32) -> Thing {
        let template = manifest("image", version, &json!({}))["spec"]["template"].clone();
        let labels = json!({keys::REVISION: revision, keys::COLOR: color});
        let spec = json!({"replicas": replicas, "selector": {}, "template": template});
        Thing::Set(serde_json::from_value(json!({"metadata": {"name": format!("shop-{revision}"), "labels": labels}, "spec": spec})).unwrap())
    }

    fn pod(name: &str, revision: &str, ready: &str) -> Thing {
        let status = json!({"conditions": [{"type": "Ready", "status": ready}]});
        let metadata = json!({"name": name, "labels": {keys::REVISION: revision}});
        Thing::Pod(serde_json::from_value(json!({"metadata": metadata, "spec": {"nodeName": "n1", "containers": []}, "status": status})).unwrap())
    }

    fn service(name: &str, revision: &str) -> Thing {
        Thing::Service(serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"selector": {keys::REVISION: revision}}})).unwrap())
    }

    fn shop(status: &serde_json::Value) -> Thing {
        let mut object = manifest("image", "v2", &demo_spec("v2"));
        object["metadata"]["generation"] = json!(2);
        object["status"] = status.clone();
        Thing::Shop(serde_json::from_value(object).unwrap())
    }

    fn told(timeline: &mut Timeline, things: Vec<Thing>) -> Vec<String> {
        let lines = things.into_iter().zip(1_u64..).flat_map(|(what, at_ms)| timeline.see(&Seen { at_ms, what }));
        lines
            .map(|line| match line {
                Line::Plain(text) => text,
                Line::Important(text) => format!("! {text}"),
            })
            .collect()
    }

    #[test]
    fn a_release_is_told_in_order_and_each_thing_once() {
        let mut timeline = Timeline::new("v1", "v2");
        let before = vec![set("a", "v1", "blue", 3), pod("a-1", "a", "True"), service("shop", "a"), service("shop-preview", "a")];
        assert!(told(&mut timeline, before).is_empty(), "what was there is no news");
        let probe = json!({"name": "home", "target": "b-1", "result": "Passed", "attempts": 3, "at": "2025-01-01T00:00:00Z"});
        let up = vec![
            set("b", "v2", "green", 3),
            set("b", "v2", "green", 3),
            service("shop-preview", "b"),
            pod("b-1", "b", "False"),
            pod("b-1", "b", "True"),
            pod("b-1", "b", "True"),
            shop(&json!({"observedGeneration": 1, "smokeProbes": [probe]})),
            shop(&json!({"observedGeneration": 2, "smokeProbes": [probe]})),
            shop(&json!({"observedGeneration": 2, "smokeProbes": [probe]})),
            service("shop", "b"),
            service("shop", "b"),
        ];
        assert_eq!(
            told(&mut timeline, up),
            [
                "3 green pods of v2 start beside the pods of v1 (ReplicaSet shop-b)",
                "Service shop-preview selects v2: testers can look at it",
                "pod b-1 is ready on node n1 (1 of 3); no user reaches it yet",
                "smoke probe `home` passed on pod b-1 (1 of 3)",
                "! THE SWITCH: Service shop selects v2; who is connected to v1 stays there",
            ]
        );
        assert_eq!(timeline.switched_ms(), Some(10));
        let time = "2025-01-01T00:00:00Z";
        let holder = json!({"address": "198.18.0.2", "port": 8080, "connections": 4});
        let draining = json!({"revision": "a", "color": "blue", "pods": 3, "drainedPods": 0, "openConnections": 4, "source": "Auto",
            "reason": "OpenConnections", "since": time, "deadline": time, "holders": [holder]});
        let converged = json!({"type": "Converged", "status": "True", "reason": "Converged", "message": "", "lastTransitionTime": time});
        let switch = json!({"to": "b", "attempt": 1, "startedAt": time, "convergedAt": time});
        let drain = json!({"observedGeneration": 2, "phase": "Drain", "switch": switch, "conditions": [converged], "draining": [draining]});
        let complete = json!({"observedGeneration": 2, "phase": "Complete", "switch": switch, "conditions": [converged], "draining": []});
        let lines = told(&mut timeline, vec![shop(&drain), shop(&drain), set("a", "v1", "blue", 0), set("a", "v1", "blue", 0)]);
        assert_eq!(
            lines,
            [
                "converged: the Service's endpoints are pods of v2, and nobody new has reached v1 for 3 s",
                "the agents count 4 open connections from 198.18.0.2 to v1: its 3 pods stay",
                "! nobody is connected to v1 any more: its ReplicaSet is scaled to 0",
            ]
        );
        assert_eq!(timeline.scaled_down_ms(), Some(3));
        assert!(!timeline.is_over(), "the old pod is still there");
        assert_eq!(told(&mut timeline, vec![shop(&complete), Thing::PodGone("a-1".into())]), ["the last pod of v1 is gone"]);
        assert!(timeline.is_over());
    }

    #[test]
    fn what_holds_a_release_up_is_said_once() {
        let mut timeline = Timeline::new("v1", "v2");
        let stalled =
            json!({"type": "Stalled", "status": "True", "reason": "SmokeFailed", "message": "no", "lastTransitionTime": "2025-01-01T00:00:00Z"});
        let status = json!({"observedGeneration": 2, "conditions": [stalled]});
        assert_eq!(told(&mut timeline, vec![shop(&status), shop(&status)]), ["! stalled, SmokeFailed: no"]);
    }
}
