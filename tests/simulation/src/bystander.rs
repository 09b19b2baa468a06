//! Another BlueGreenDeployment of the same namespace, in some runs. It is released while everything goes wrong with the first one. Nobody
//! touches anything of it by hand, so it serves all the time and comes to its end, whatever becomes of the other. In a group with the other
//! ([`crate::group`]) its release may wait, or go back.

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;
use serde_json::{Value, json};

use crate::agenda::Happening;
use crate::controller::api::Request;
use crate::controller::serve::Write;
use crate::group;
use crate::json;
use crate::random::Random;
use crate::scenario::{probe, template, version_of};
use crate::sim::{NAMESPACE, Sim};
use crate::store::Manager;

/// Its name, that of its Service, and the beginning of those of its ReplicaSets and pods.
pub const BYSTANDER: &str = "mall";
const REPLICAS: i64 = 2;

/// Whether an object of this name is one of its own.
pub fn is_its(name: &str) -> bool {
    name.strip_prefix(BYSTANDER).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Its pod template in a version.
fn of(version: u64) -> Value {
    let mut template = template(&format!("{BYSTANDER}:v{version}"));
    json::set(&mut template, "metadata", "labels", json!({"app": BYSTANDER}));
    template
}

impl Sim {
    /// Makes it and its Service.
    pub fn make_bystander(&mut self) {
        let random = &mut Random::new(self.what.seed, BYSTANDER);
        let alone = random.percent(30);
        if self.what.story.is_some() || !alone && !self.scenario.group {
            return;
        }
        self.make_service(BYSTANDER);
        let mut spec = json!({
            "replicas": REPLICAS, "selector": {"matchLabels": {"app": BYSTANDER}}, "template": of(1),
            "traffic": {"services": [BYSTANDER], "quietSeconds": 3, "convergenceTimeoutSeconds": 15}, "smokeProbes": [probe("home", "EachPod", 1)],
            "drain": {"deadlineSeconds": 30, "fallbackSeconds": 10},
        });
        if self.scenario.group {
            group::join(&mut spec, &mut Random::new(self.what.seed, "group of two"));
        }
        let object = json!({"apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment", "metadata": {"name": BYSTANDER}, "spec": spec});
        self.make(Resource::BlueGreenDeployment, NAMESPACE, object).ok();
        let at = random.millis(5000, self.scenario.busy_seconds * 1000);
        if !self.scenario.group {
            self.later(at, Happening::Bystander(2));
        }
    }

    /// A person releases a version of it.
    pub fn release_bystander(&mut self, version: u64) {
        self.say("person", || format!("releases {BYSTANDER}:v{version}"));
        self.write(Manager::updates("kubectl"), Resource::BlueGreenDeployment, NAMESPACE, BYSTANDER, |object| {
            json::set(object, "spec", "template", of(version));
        });
    }

    /// Whether it has come to its end.
    pub fn bystander_rests(&self) -> Result<(), String> {
        let Some(object) = self.store.get(Resource::BlueGreenDeployment, NAMESPACE, BYSTANDER) else { return Ok(()) };
        let to = json::text(object, "/status/switch/to");
        let (phase, reason) = (json::text(object, "/status/phase"), json::text(object, "/status/rejected/reason"));
        let seen = json::number(object, "/status/observedGeneration") == json::number(object, "/metadata/generation");
        // With both pods on the node that is lost, it goes back.
        let ended = phase == "Complete"
            && self.names.get(to).map(String::as_str) == Some(version_of(object.pointer("/spec/template").unwrap_or(&Value::Null)))
            || phase == "Rejected" && reason == "LostAllReadyPods"
            || group::ended(self, object);
        let selector = self.store.get(Resource::Service, NAMESPACE, BYSTANDER).and_then(|service| service.pointer("/spec/selector").cloned());
        let pods = self.store.all(Resource::Pod).filter(|pod| is_its(json::name(pod)) && json::alive(pod));
        let (of_it, others): (Vec<_>, Vec<_>) = pods.partition(|pod| json::label(pod, keys::REVISION) == Some(to) && json::ready(pod));
        let (waits, first) = (group::keeps(self, object), to.is_empty());
        let whole = (of_it.len() == usize::try_from(REPLICAS).unwrap_or(0) || self.scenario.group && first) && (others.is_empty() || waits);
        let selects = if first { keys::REVISION_NONE } else { to };
        if seen && ended && whole && selector == Some(json!({"app": BYSTANDER, keys::REVISION: selects})) {
            return Ok(());
        }
        Err(format!("{BYSTANDER} is {phase} {reason} with {} pods and {} others; its Service selects {selector:?}", of_it.len(), others.len()))
    }
}

/// What is asked of each write of the operator to what is its own: it serves all the time.
pub fn serves(sim: &Sim, write: &Write) -> Result<(), String> {
    let Some(before) = &write.before else { return Ok(()) };
    let selected = |service: &Value| json::member(service, "/spec/selector", keys::REVISION).map(str::to_owned);
    match write.call.resource {
        Resource::ReplicaSet => {
            let service = sim.store.get(Resource::Service, NAMESPACE, BYSTANDER).and_then(|service| selected(service));
            let active = service.is_some() && service.as_deref() == json::label(before, keys::REVISION);
            let less = json::number(&write.after, "/spec/replicas") < REPLICAS || matches!(write.call.request, Request::Delete { .. });
            if active && less { Err(format!("{}, which serves, is scaled down or deleted", json::name(before))) } else { Ok(()) }
        }
        Resource::Service => {
            let to = selected(&write.after).unwrap_or_default();
            let tested = |pod: &Value| sim.history.passed.iter().any(|(passed, _)| passed == json::uid(pod));
            let there = sim.store.all(Resource::Pod).any(|pod| json::label(pod, keys::REVISION) == Some(to.as_str()) && tested(pod));
            // On the way back the pods that passed may have been replaced since.
            let there = there || sim.scenario.group && sim.history.passed_once.contains(&to);
            if selected(before).as_deref() == Some(to.as_str()) || to == keys::REVISION_NONE || there {
                Ok(())
            } else {
                Err(format!("Service {BYSTANDER} is moved to {}, of which no pod was tested", sim.named(&to)))
            }
        }
        _ => Ok(()),
    }
}
