//! The autoscaler: reads what the scale subresource shows, and writes `spec.replicas`.

use std::time::Duration;

use bluegreen::controller::api::Resource;
use serde_json::json;

use crate::agenda::Happening;
use crate::json;
use crate::sim::{NAME, NAMESPACE, Sim};
use crate::store::Manager;

impl Sim {
    /// Looks, and changes its mind now and then.
    pub fn autoscale(&mut self) {
        self.later(Duration::from_secs(15), Happening::Autoscale);
        let Some(object) = self.object().filter(|_| !self.calm) else { return };
        if json::text(&object, "/status/selector").is_empty() || !self.random.percent(25) {
            return;
        }
        let replicas = json::number(&object, "/spec/replicas");
        let wanted = if self.random.percent(50) { replicas + 1 } else { replicas - 1 }.clamp(1, 4);
        if wanted != replicas {
            self.say("autoscaler", || format!("spec.replicas {replicas} → {wanted}"));
            self.write(Manager::updates("horizontal-pod-autoscaler"), Resource::BlueGreenDeployment, NAMESPACE, NAME, |object| {
                json::set(object, "spec", "replicas", json!(wanted));
            });
            let now = self.now();
            self.history.replicas.push((now, wanted));
        }
    }
}
