//! Faults are over.

use std::time::Duration;

use bluegreen::controller::api::Resource;
use serde_json::json;

use super::{Fault, Planned};
use crate::agenda::Happening;
use crate::history::Edit;
use crate::json;
use crate::peers::agent::Agent;
use crate::sim::{AGENT, NAMESPACE, OPERATOR, Sim};
use crate::store::Manager;

impl Sim {
    /// A fault is over.
    pub fn mend(&mut self, number: usize) {
        let Some(planned) = self.faults.planned.get_mut(number).filter(|planned| planned.on) else { return };
        planned.on = false;
        let planned = planned.clone();
        let Some(going_on) = self.faults.active.get_mut(&planned.fault).filter(|number| **number > 0) else { return };
        *going_on -= 1;
        let now = self.now();
        self.faults.note(planned.fault, now);
        self.say("FAULT", || format!("{:?} is over", planned.fault));
        self.mend_it(&planned);
    }

    fn mend_it(&mut self, planned: &Planned) {
        match planned.fault {
            Fault::NodeLost => self.return_node(&planned.what),
            Fault::LateReports => {
                if let Some(agent) = self.peers.agents.get_mut(&planned.what) {
                    agent.late = (5, 80);
                }
            }
            Fault::WatchesSlow | Fault::OldCache => self.quicken(),
            Fault::ServiceRemade => self.make_service(&planned.what),
            Fault::SelectorApplied if !self.faults.on(planned.fault) => {
                for service in self.scenario.services.clone() {
                    self.applier_ends(&service);
                }
            }
            Fault::ObjectRemade => self.apply_object(),
            _ => {}
        }
    }

    fn quicken(&mut self) {
        let ids: Vec<usize> = self.processes.iter().flat_map(|process| process.watchers.iter().copied()).collect();
        for id in ids {
            if let Some(watcher) = self.watchers.get_mut(id) {
                watcher.delay = self.scenario.watch_delay;
            }
        }
    }

    /// A lost node comes back as it was, or its pods are given up and it comes back as a new one.
    fn return_node(&mut self, name: &str) {
        let lost = self.faults.random.percent(50);
        if lost {
            self.say("node controller", || format!("node {name} is gone for good"));
            self.store.remove(Resource::Node, "", name);
            self.changed();
            self.store.remove(Resource::Pod, OPERATOR, &format!("{AGENT}-{name}"));
            self.changed();
            self.daemon_set();
            let pods: Vec<String> =
                self.store.all(Resource::Pod).filter(|pod| json::text(pod, "/spec/nodeName") == name).map(|pod| json::name(pod).to_owned()).collect();
            for pod in pods {
                self.store.remove(Resource::Pod, NAMESPACE, &pod);
                self.changed();
            }
            if let Some(agent) = self.peers.agents.get(name) {
                let (watch, boot) = (agent.watch, format!("boot-{}", self.peers.number()));
                self.peers.agents.insert(name.to_owned(), Agent::new(watch, boot));
            }
        }
        if let Some(node) = self.peers.nodes.get_mut(name) {
            node.up = true;
        }
        if lost {
            self.make_node(name);
            self.daemon_set();
            return;
        }
        self.write(Manager::updates("node-controller"), Resource::Node, "", name, |node| {
            json::set(node, "status", "conditions", json!([{"type": "Ready", "status": "True"}]));
            json::set(node, "spec", "taints", json!([]));
        });
        let back: Vec<String> = self.peers.pods.iter().filter(|(_, pod)| pod.node == name && pod.listens).map(|(uid, _)| uid.clone()).collect();
        for uid in back {
            let wait = self.random.millis(100, 2000);
            self.later(wait, Happening::Pod(uid, crate::peers::kubelet::Step::Ready));
        }
    }

    /// People and faults come to rest; what they left half done is put right.
    pub fn calm_down(&mut self) {
        self.calm = true;
        self.say("world", || "everything goes well from now on".into());
        for number in 0..self.faults.planned.len() {
            self.mend(number);
        }
        let now = self.now();
        for agent in self.peers.agents.values_mut() {
            agent.silent = agent.silent.min(now);
            agent.late = (5, 80);
        }
        for process in &mut self.processes {
            process.paused = process.paused.map(|until| until.min(now));
            process.dies = None;
        }
        self.quicken();
        self.leave_in_order();
        self.later(Duration::from_secs(5), Happening::Over);
    }

    /// A person edited a selector: it must come back soon, if nothing speaks against that.
    pub fn edited(&mut self, service: &str, before: &serde_json::Value) {
        let at = self.now();
        let revision = json::selects(before).map(str::to_owned);
        let moving = self.phase == super::Phase::Switch;
        let number = self.history.edited(Edit { service: service.to_owned(), revision, moving, at });
        let wait = Duration::from_secs(1) + Duration::from_millis(2 * self.scenario.watch_delay.1 + 100);
        self.later(wait, Happening::Repaired(number));
    }
}
