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
    /// The revision each Service selects, and since when that is seen.
    selected: BTreeMap<String, (String, u64)>,
    /// The revision that status says the switch goes to.
    intended: String,
    /// The Services of which it was said that they select the new version.
    moved: BTreeSet<String>,
    ready: BTreeSet<String>,
    passed: BTreeSet<(String, String)>,
    /// Old pods that are there.
    leaving: BTreeSet<String>,
    /// Whether any was there.
    had_pods: bool,
    all_gone: bool,
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
            intended: String::new(),
            moved: BTreeSet::new(),
            ready: BTreeSet::new(),
            passed: BTreeSet::new(),
            leaving: BTreeSet::new(),
            had_pods: false,
            all_gone: false,
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
        self.complete && self.all_gone
    }

    /// What there is to say about something that was seen. Things of one kind come in their order; between kinds there is none.
    pub fn see(&mut self, seen: &Seen) -> Vec<Line> {
        let mut lines = match &seen.what {
            Thing::Set(set) => self.set(set, seen.at_ms),
            Thing::Pod(pod) => self.pod(pod),
            Thing::PodGone(name) => {
                self.leaving.remove(name);
                vec![]
            }
            Thing::Service(service) => self.service(service, seen.at_ms),
            Thing::Shop(shop) => self.shop(shop),
        };
        // Either may be the last that was missing: the Service or the set that it selects, the last pod or its set's end.
        lines.extend(self.moves());
        lines.extend(self.last_pod());
        lines
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
        let version = serde_json::to_value(pod).ok().and_then(|pod| version(&pod)).unwrap_or_default();
        if version == self.from {
            self.leaving.insert(name);
            self.had_pods = true;
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

    fn last_pod(&mut self) -> Vec<Line> {
        let gone = self.had_pods && self.leaving.is_empty() && self.scaled_down_ms.is_some();
        if !gone || std::mem::replace(&mut self.all_gone, true) {
            return vec![];
        }
        plain(format!("the last pod of {} is gone", self.from))
    }

    fn service(&mut self, service: &Service, at_ms: u64) -> Vec<Line> {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let revision = selector.and_then(|selector| selector.get(keys::REVISION)).cloned().unwrap_or_default();
        let selected = self.selected.entry(service.name_any()).or_default();
        if selected.0 != revision {
            *selected = (revision, at_ms);
        }
        vec![]
    }

    /// The Services that select the new version, once each. Status says which probes have passed and where the move goes; that is told first,
    /// whichever is seen first.
    fn moves(&mut self) -> Vec<Line> {
        let selects =
            |(name, (revision, _)): &(&String, &(String, u64))| self.version_of(revision) == self.to && (*name != SHOP || self.intended == *revision);
        let moved: Vec<(String, u64)> = self.selected.iter().filter(selects).map(|(name, (_, at_ms))| (name.clone(), *at_ms)).collect();
        let mut lines = vec![];
        for (name, at_ms) in moved {
            if !self.moved.insert(name.clone()) {
                continue;
            }
            if name == SHOP {
                self.switched_ms = Some(at_ms);
                let text = format!("THE SWITCH: Service {SHOP} selects {}; who is connected to {} stays there", self.to, self.from);
                lines.push(Line::Important(text));
            } else if name == PREVIEW {
                lines.push(Line::Plain(format!("Service {PREVIEW} selects {}: testers can look at it", self.to)));
            }
        }
        lines
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
        if let Some(switch) = &status.switch {
            self.intended.clone_from(&switch.to);
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

    fn pod(name: &str, version: &str, ready: &str) -> Thing {
        let status = json!({"conditions": [{"type": "Ready", "status": ready}]});
        let mut spec = manifest("image", version, &json!({}))["spec"]["template"]["spec"].clone();
        spec["nodeName"] = json!("n1");
        Thing::Pod(serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec, "status": status})).unwrap())
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
        let before = vec![set("a", "v1", "blue", 3), pod("a-1", "v1", "True"), service("shop", "a"), service("shop-preview", "a")];
        assert!(told(&mut timeline, before).is_empty(), "what was there is no news");
        let intent = json!({"to": "b", "attempt": 1, "startedAt": "2025-01-01T00:00:00Z"});
        let probe = json!({"name": "home", "target": "b-1", "result": "Passed", "attempts": 3, "at": "2025-01-01T00:00:00Z"});
        let up = vec![
            set("b", "v2", "green", 3),
            set("b", "v2", "green", 3),
            service("shop-preview", "b"),
            pod("b-1", "v2", "False"),
            pod("b-1", "v2", "True"),
            pod("b-1", "v2", "True"),
            shop(&json!({"observedGeneration": 1, "smokeProbes": [probe]})),
            service("shop", "b"),
            service("shop", "b"),
            shop(&json!({"observedGeneration": 2, "smokeProbes": [probe], "switch": intent})),
            shop(&json!({"observedGeneration": 2, "smokeProbes": [probe], "switch": intent})),
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
        assert_eq!(timeline.switched_ms(), Some(8), "when the Service was seen");
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
    fn what_is_seen_before_what_it_belongs_to_is_told_all_the_same() {
        let mut timeline = Timeline::new("v1", "v2");
        // Pods and Services before their sets, and the last old pod's end before the set's.
        let intent = json!({"to": "b", "attempt": 1, "startedAt": "2025-01-01T00:00:00Z"});
        let intent = shop(&json!({"observedGeneration": 2, "switch": intent}));
        let pods = [pod("a-1", "v1", "True"), pod("a-2", "v1", "True")];
        let early: Vec<Thing> = pods.into_iter().chain([service("shop", "a"), set("a", "v1", "blue", 2), service("shop", "b"), intent]).collect();
        assert!(told(&mut timeline, early).is_empty());
        assert_eq!(timeline.switched_ms(), None);
        assert_eq!(
            told(&mut timeline, vec![set("b", "v2", "green", 2)]),
            [
                "2 green pods of v2 start beside the pods of v1 (ReplicaSet shop-b)",
                "! THE SWITCH: Service shop selects v2; who is connected to v1 stays there",
            ]
        );
        assert_eq!(timeline.switched_ms(), Some(5), "when the Service was seen");
        let gone = |name: &str| Thing::PodGone(name.into());
        assert!(told(&mut timeline, vec![gone("a-1"), gone("x"), gone("a-2")]).is_empty());
        assert_eq!(
            told(&mut timeline, vec![set("a", "v1", "blue", 0), gone("a-2")]),
            ["! nobody is connected to v1 any more: its ReplicaSet is scaled to 0", "the last pod of v1 is gone"]
        );
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
