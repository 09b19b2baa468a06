//! The EndpointSlice controller: one slice a Service, from caches that may be behind. A Service without a selector keeps the slice it had.

use std::sync::Arc;

use bluegreen::controller::api::Resource;
use serde_json::{Value, json};

use crate::agenda::Happening;
use crate::faults::Fault;
use crate::json;
use crate::sim::{NAMESPACE, Sim};
use crate::store::{Manager, selector};

/// Its state.
#[derive(Debug, Default)]
pub struct Controller {
    /// Its watch of Services.
    pub services: usize,
    /// Its watch of pods.
    pub pods: usize,
    seen: (u64, u64),
}

impl Sim {
    /// Looks at its caches.
    pub fn endpoint_slices(&mut self) {
        let wait = self.random.millis(30, 500);
        self.later(wait, Happening::EndpointSlices);
        if self.faults.on(Fault::EndpointsLate) {
            return;
        }
        let (Some(services), Some(pods)) =
            (self.watchers.get(self.peers.endpoint_slices.services), self.watchers.get(self.peers.endpoint_slices.pods))
        else {
            return;
        };
        let seen = (services.frontier, pods.frontier);
        if std::mem::replace(&mut self.peers.endpoint_slices.seen, seen) == seen {
            return;
        }
        let pods: Vec<Arc<Value>> = pods.mirror.values().cloned().collect();
        for service in services.mirror.values().cloned().collect::<Vec<_>>() {
            if service.pointer("/spec/selector").and_then(Value::as_object).is_some_and(|map| !map.is_empty()) {
                self.slice(&service, &pods);
            }
        }
    }

    fn slice(&mut self, service: &Value, pods: &[Arc<Value>]) {
        let matching =
            pods.iter().filter(|pod| selector::map(pod, service.pointer("/spec/selector")) && !json::text(pod, "/status/podIP").is_empty());
        let endpoints: Vec<Value> = matching.map(|pod| endpoint(pod)).collect();
        let name = format!("{}-slice", json::name(service));
        let Some(live) = self.store.get(Resource::EndpointSlice, NAMESPACE, &name).cloned() else {
            let owner = json!([{"apiVersion": "v1", "kind": "Service", "name": json::name(service), "uid": json::uid(service), "controller": true}]);
            let labels = json!({"kubernetes.io/service-name": json::name(service), "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"});
            let object = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": name, "labels": labels, "ownerReferences": owner}, "endpoints": endpoints});
            // A Service that is gone by now takes the slice with it when the garbage collector looks.
            if self.store.by_uid(Resource::Service, json::uid(service)).is_some() {
                self.make(Resource::EndpointSlice, NAMESPACE, object).ok();
            }
            return;
        };
        if live.get("endpoints") != Some(&Value::Array(endpoints.clone())) && json::controller(&live) == Some(json::uid(service)) {
            self.write(Manager::updates("endpointslice-controller"), Resource::EndpointSlice, NAMESPACE, &name, |slice| {
                if let Some(slice) = slice.as_object_mut() {
                    slice.insert("endpoints".into(), Value::Array(endpoints));
                }
            });
        }
    }
}

fn endpoint(pod: &Value) -> Value {
    let ready = json::ready(pod) && pod.pointer("/metadata/deletionTimestamp").is_none();
    json!({
        "addresses": [json::text(pod, "/status/podIP")],
        "conditions": {"ready": ready, "serving": json::ready(pod), "terminating": pod.pointer("/metadata/deletionTimestamp").is_some()},
        "nodeName": json::text(pod, "/spec/nodeName"),
        "targetRef": {"kind": "Pod", "name": json::name(pod), "uid": json::uid(pod)},
    })
}
