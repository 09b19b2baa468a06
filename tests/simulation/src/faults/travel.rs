//! What happens to a request on its way.

use std::time::Duration;

use bluegreen::controller::api::{ApiError, Resource};

use super::Fault;
use crate::controller::api::{Call, Fate, Travel};
use crate::sim::{NAMESPACE, Sim};
use crate::store::Manager;

impl Sim {
    /// How a request travels, as things are.
    pub fn travel(&mut self, process: usize, call: &Call) -> Travel {
        let basis = self.basis(process, call);
        let random = &mut self.faults.random;
        let mut travel = Travel { way: random.millis(1, 8), back: random.millis(1, 8), fate: Fate::Served, basis };
        let lots: [bool; 5] = std::array::from_fn(|_| random.percent(40));
        let slow = (random.percent(12), random.millis(8000, 16_000), random.millis(100, 3000), random.millis(0, 2000));
        let [throttled, failing, lost, conflicts, slowly] = lots;
        let refused = |why: &str| Fate::Refused(ApiError::Transient(why.into()));
        if self.faults.on(Fault::Slow) && slowly {
            travel.way = if slow.0 { slow.1 } else { slow.2 };
            travel.back = slow.3;
        }
        if self.faults.away() {
            travel.fate = refused("connection refused");
        } else if self.faults.on(Fault::Throttled) && throttled {
            travel.fate = refused("the API server answered 429");
        } else if self.faults.on(Fault::ServerError) && failing {
            travel.fate = refused("the API server answered 500");
        } else if self.faults.on(Fault::AnswerLost) && lost && call.writes() {
            travel.fate = Fate::AnswerLost;
        } else if self.faults.on(Fault::Conflict)
            && conflicts
            && matches!(call.resource, Resource::BlueGreenDeployment | Resource::ReplicaSet | Resource::Service)
            && call.merge().is_some()
        {
            let touched = serde_json::json!(self.peers.number());
            self.say("somebody", || format!("touches {:?} {}", call.resource, call.name));
            self.write(Manager::updates("somebody"), call.resource, NAMESPACE, &call.name, |object| {
                if let Some(annotations) = object.pointer_mut("/metadata").and_then(|metadata| crate::json::object(metadata, "annotations")) {
                    annotations.insert("example.com/touched".into(), serde_json::json!(touched.to_string()));
                }
            });
        }
        if travel.fate == refused("connection refused") {
            travel.way = Duration::from_millis(3);
        }
        travel
    }
}
