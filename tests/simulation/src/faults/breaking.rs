//! Faults begin.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bluegreen::api::keys;
use bluegreen::controller::api::{Dependents, Resource};
use serde_json::{Value, json};

use super::Fault;
use crate::agenda::Happening;
use crate::bystander::is_its;
use crate::controller::process::{PLACES, Start};
use crate::history::Edit;
use crate::json;
use crate::peers::kubelet::Step;
use crate::sim::{NAME, NAMESPACE, Sim};
use crate::store::{Manager, stamp};

impl Sim {
    /// A fault begins, if nothing speaks against it.
    pub fn break_something(&mut self, number: usize) {
        let Some(planned) = self.faults.planned.get(number).cloned().filter(|_| !self.calm) else { return };
        let (fault, phase) = (planned.fault, self.phase);
        if planned.aimed && planned.phase != phase {
            return self.missed(number);
        }
        let Some(what) = self.break_it(fault, planned.lasts) else { return self.missed(number) };
        self.say("FAULT", || format!("{fault:?} {what} for {:.1} s", planned.lasts.as_secs_f64()));
        *self.faults.matrix.entry((fault, phase)).or_default() += 1;
        *self.faults.active.entry(fault).or_default() += 1;
        let now = self.now();
        self.faults.note(fault, now);
        if let Some(planned) = self.faults.planned.get_mut(number) {
            (planned.what, planned.on) = (what, true);
        }
        self.later(planned.lasts, Happening::Mend(number));
    }

    /// Answers what was broken; none if there is nothing to break.
    fn break_it(&mut self, fault: Fault, lasts: Duration) -> Option<String> {
        let leader = self.working().last().copied();
        match fault {
            Fault::Conflict | Fault::Throttled | Fault::ServerError | Fault::AnswerLost | Fault::Slow | Fault::Away | Fault::EndpointsLate => {
                Some(String::new())
            }
            Fault::KilledBefore | Fault::KilledAfter => {
                let after = self.faults.random.between(0, 4);
                let process = self.processes.get_mut(leader?)?;
                process.dies = Some((u32::try_from(after).unwrap_or(0), fault == Fault::KilledAfter));
                Some(format!("{} in {after} writes", process.name))
            }
            Fault::OldCache => {
                leader?;
                for place in 0..PLACES {
                    let how = Start { old: self.faults.random.between(3, 60), slow: Some((100, 3000)), usurps: None };
                    *self.faults.starts.get_mut(place)? = how;
                    if let Some(id) = self.in_place(place) {
                        self.end_process(id, "killed, to begin with an old cache");
                    }
                }
                Some(String::new())
            }
            Fault::TwoLeaders => {
                let leading = self.processes.get(leader?)?.place;
                let place = (0..PLACES).find(|place| *place != leading)?;
                let slow = self.faults.random.percent(50).then_some((50, 4000));
                *self.faults.starts.get_mut(place)? = Start { old: 0, slow, usurps: Some(lasts) };
                match self.in_place(place) {
                    Some(id) => self.end_process(id, "it comes back as one that believes it leads"),
                    None => self.start_process(place),
                }
                Some(format!("operator-{place}"))
            }
            Fault::Stopped => {
                let until = self.now() + lasts + Duration::from_secs(8);
                let process = self.processes.get_mut(leader?)?;
                process.paused = Some(until);
                Some(process.name.clone())
            }
            Fault::ClockSet => {
                let place = self.processes.get(leader?)?.place;
                let by = i64::try_from(self.faults.random.between(0, 40)).unwrap_or(0) - 20;
                self.faults.wrong_clocks.get(place)?.fetch_add(by * 1000, Ordering::SeqCst);
                Some(format!("of operator-{place} by {by} s"))
            }
            Fault::NodeLost => self.lose_node(),
            Fault::AgentRestarted | Fault::AgentSilent | Fault::LateReports => self.break_agent(fault, lasts),
            Fault::WatchesBroken => {
                let watchers = self.processes.get(leader?)?.watchers.clone();
                for watcher in watchers {
                    let pause = self.faults.random.millis(50, 8000);
                    self.interrupt(watcher, pause);
                }
                Some(String::new())
            }
            Fault::WatchesSlow => {
                let watchers = self.processes.get(leader?)?.watchers.clone();
                for watcher in watchers {
                    let most = self.faults.random.between(100, 6000);
                    if let Some(watcher) = self.watchers.get_mut(watcher) {
                        watcher.delay = (most / 2, most);
                    }
                }
                Some(String::new())
            }
            Fault::SetDeleted => {
                let sets = self.store.all(Resource::ReplicaSet).map(|set| json::name(set).to_owned());
                let sets: Vec<String> = sets.filter(|name| !is_its(name)).collect();
                let name = self.faults.random.one(&sets)?.clone();
                let kept = self.faults.random.percent(25);
                self.delete_set(&name, kept);
                Some(if kept { format!("{name}, without its pods") } else { name })
            }
            Fault::PodDeleted => {
                let name = self.some_pod()?;
                self.delete(Resource::Pod, NAMESPACE, json::name(&name));
                Some(json::name(&name).to_owned())
            }
            Fault::PodsUnready => {
                let pod = self.some_pod()?;
                let all = self.faults.random.percent(40);
                let set = json::controller(&pod)?.to_owned();
                let chosen: Vec<String> = self
                    .peers
                    .pods
                    .iter()
                    .filter(|(uid, running)| *uid == json::uid(&pod) || all && running.set == set)
                    .map(|(uid, _)| uid.clone())
                    .collect();
                for uid in chosen {
                    self.later(Duration::ZERO, Happening::Pod(uid, Step::Unready));
                }
                Some(if all { format!("all like {}", json::name(&pod)) } else { json::name(&pod).to_owned() })
            }
            Fault::SelectorEdited | Fault::SelectorEmptied => self.edit_selector(fault),
            Fault::SelectorApplied => {
                let services = self.scenario.services.clone();
                let name = self.faults.random.one(&services)?.clone();
                self.later(Duration::from_millis(1), Happening::Applier(name.clone()));
                Some(name)
            }
            Fault::ServiceRemade => {
                let services = self.scenario.services.clone();
                let name = self.faults.random.one(&services)?.clone();
                let service = self.store.get(Resource::Service, NAMESPACE, &name)?;
                // From now on nobody reaches through it whom it led to.
                let revision = json::selects(service).unwrap_or_default().to_owned();
                let now = self.now();
                self.history.left_at.entry(revision).or_insert(now);
                self.delete(Resource::Service, NAMESPACE, &name);
                Some(name)
            }
            Fault::ObjectRemade => {
                let object = self.object().filter(|object| json::alive(object))?;
                let kept = self.faults.random.percent(60);
                self.scenario.spec = object.get("spec")?.clone();
                self.history.remade = true;
                self.delete_with(if kept { Dependents::Kept } else { Dependents::Deleted }, Resource::BlueGreenDeployment, NAMESPACE, NAME);
                Some(if kept { "without its ReplicaSets" } else { "with its ReplicaSets" }.into())
            }
        }
    }

    /// Somebody deletes a ReplicaSet, with its pods or without.
    pub fn delete_set(&mut self, name: &str, kept: bool) {
        self.history.by_hand = true;
        if kept {
            self.history.set_free.insert(name.to_owned());
        }
        self.delete_with(if kept { Dependents::Kept } else { Dependents::Deleted }, Resource::ReplicaSet, NAMESPACE, name);
    }

    fn some_pod(&mut self) -> Option<Arc<Value>> {
        let pods: Vec<Arc<Value>> = self
            .store
            .all(Resource::Pod)
            .filter(|pod| json::label(pod, keys::REVISION).is_some() && json::alive(pod) && !is_its(json::name(pod)))
            .cloned()
            .collect();
        self.faults.random.one(&pods).cloned()
    }

    fn lose_node(&mut self) -> Option<String> {
        let up: Vec<String> = self.peers.nodes.iter().filter(|(_, node)| node.up).map(|(name, _)| name.clone()).collect();
        let name = self.faults.random.one(&up).filter(|_| up.len() > 1)?.clone();
        self.peers.nodes.get_mut(&name)?.up = false;
        for running in self.peers.pods.values_mut().filter(|pod| pod.node == name) {
            self.history.lost += u64::try_from(running.sockets.len()).unwrap_or(0);
            running.sockets.clear();
        }
        // The node controller notices, and says so: sooner than a real one, to keep runs short. Of the node first, and then of its pods.
        let at = stamp(self.now());
        self.write(Manager::updates("node-controller"), Resource::Node, "", &name, |node| {
            json::set(node, "status", "conditions", json!([{"type": "Ready", "status": "Unknown"}]));
            json::set(node, "spec", "taints", json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": at}]));
        });
        let pods: Vec<Arc<Value>> = self
            .store
            .all(Resource::Pod)
            .filter(|pod| json::text(pod, "/spec/nodeName") == name && json::label(pod, keys::REVISION).is_some())
            .cloned()
            .collect();
        for pod in pods {
            self.set_ready(&pod, false);
        }
        Some(name)
    }

    fn break_agent(&mut self, fault: Fault, lasts: Duration) -> Option<String> {
        if !self.scenario.agent {
            return None;
        }
        let nodes: Vec<String> = self.peers.nodes.keys().cloned().collect();
        let node = self.faults.random.one(&nodes)?.clone();
        let now = self.now();
        match fault {
            Fault::AgentRestarted => self.restart_agent(&node),
            Fault::AgentSilent => self.peers.agents.get_mut(&node)?.silent = now + lasts,
            _ => self.peers.agents.get_mut(&node)?.late = (500, 9000),
        }
        Some(node)
    }

    /// An applier applies what it takes for the Service's selector, and will do so again.
    pub fn applier(&mut self, name: &str) {
        if !self.faults.on(Fault::SelectorApplied) {
            return;
        }
        self.later(Duration::from_secs(1), Happening::Applier(name.to_owned()));
        let Some(before) = self.store.get(Resource::Service, NAMESPACE, name).cloned() else { return };
        let selector = json!({"app": "shop"});
        if before.pointer("/spec/selector") == Some(&selector) {
            return;
        }
        self.say("applier", || format!("applies {selector} to {name}"));
        let applier = Manager { name: "applier", operation: "Apply" };
        self.write(applier, Resource::Service, NAMESPACE, name, |service| json::set(service, "spec", "selector", selector));
        let revision = json::selects(&before).map(str::to_owned);
        let at = self.now();
        self.history.edited(Edit { service: name.to_owned(), revision, moving: self.moving(), at });
    }

    /// The applier is told better: its manifest no longer has a selector, so what it had applied goes, if nobody has written it since.
    pub fn applier_ends(&mut self, name: &str) {
        let Some(service) = self.store.get(Resource::Service, NAMESPACE, name).cloned() else { return };
        if json::items(&service, "/metadata/managedFields").any(|entry| json::text(entry, "/operation") == "Apply") {
            self.say("applier", || format!("no longer applies a selector to {name}"));
            let applier = Manager { name: "applier", operation: "Apply" };
            self.write(applier, Resource::Service, NAMESPACE, name, |service| json::set(service, "spec", "selector", json!({})));
        }
    }

    fn edit_selector(&mut self, fault: Fault) -> Option<String> {
        let services = self.scenario.services.clone();
        let name = self.faults.random.one(&services)?.clone();
        let revisions: Vec<String> =
            self.store.all(Resource::ReplicaSet).filter_map(|set| json::label(set, keys::REVISION).map(str::to_owned)).collect();
        let other = self.faults.random.one(&revisions).cloned().unwrap_or_else(|| "none".into());
        let kind = self.faults.random.between(0, 2);
        let selector = match (fault, kind) {
            (Fault::SelectorEmptied, _) => json!({}),
            (_, 0) => json!({"app": "shop"}),
            (_, 1) => json!({"app": "shop", keys::REVISION: other}),
            _ => json!({"app": "shop", "stray": "x", keys::REVISION: other}),
        };
        let before = self.store.get(Resource::Service, NAMESPACE, &name)?.clone();
        if before.pointer("/spec/selector") == Some(&selector) {
            return None;
        }
        self.write(Manager::updates("kubectl-edit"), Resource::Service, NAMESPACE, &name, |service| {
            json::set(service, "spec", "selector", selector.clone());
        });
        self.edited(&name, &before);
        Some(format!("of {name} → {selector}"))
    }
}
