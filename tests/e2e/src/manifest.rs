//! The BlueGreenDeployment that most cases begin with, and how they change it.

use serde_json::{Map, Value, json};

/// A manifest in the making.
#[derive(Clone, Debug)]
pub struct Manifest(pub Value);

/// The image of the sample app, as every cluster of a run has it.
pub const APP_IMAGE: &str = "localhost/app:e2e";

/// `shop` in version `version`: two pods, one Service, one smoke probe, and short times so that a release takes seconds.
pub fn shop(version: &str) -> Manifest {
    Manifest(json!({
        "apiVersion": "bluegreen.dev/v1alpha1",
        "kind": "BlueGreenDeployment",
        "metadata": {"name": "shop"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {
                "metadata": {"labels": {"app": "shop"}},
                "spec": {
                    "terminationGracePeriodSeconds": 5,
                    "containers": [{
                        "name": "app",
                        "image": APP_IMAGE,
                        "imagePullPolicy": "Never",
                        "env": [{"name": "APP_VERSION", "value": version}],
                        "ports": [
                            {"name": "http", "containerPort": 8080},
                            {"name": "admin", "containerPort": 8081},
                            {"name": "echo", "containerPort": 9000},
                            {"name": "grpc", "containerPort": 9090},
                        ],
                        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1},
                    }],
                },
            },
            "traffic": {"services": ["shop"], "quietSeconds": 2, "convergenceTimeoutSeconds": 30},
            "smokeProbes": [{
                "name": "home",
                "httpGet": {"path": "/", "port": "http", "expect": {"status": [200], "bodyContains": "shop"}},
                "successThreshold": 2,
                "timeoutSeconds": 5,
            }],
            "drain": {"minimumSeconds": 1, "deadlineSeconds": 120},
            "onFailure": {"keepSeconds": 300},
        },
    }))
}

impl Manifest {
    /// Its name.
    pub fn name(&self) -> &str {
        self.0.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("shop")
    }

    /// Sets a field of the spec, by a JSON pointer below `/spec`; objects on the way are made.
    #[must_use]
    pub fn spec(self, pointer: &str, value: impl Into<Value>) -> Self {
        self.at(&format!("/spec{pointer}"), value)
    }

    /// Sets a field of the first container.
    #[must_use]
    pub fn container(self, pointer: &str, value: impl Into<Value>) -> Self {
        self.at(&format!("/spec/template/spec/containers/0{pointer}"), value)
    }

    /// Sets any field.
    #[must_use]
    pub fn at(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let mut place = &mut self.0;
        for key in pointer.split('/').skip(1) {
            let key = key.replace("~1", "/").replace("~0", "~");
            place = match place {
                Value::Array(list) => {
                    let index: usize = key.parse().unwrap_or(list.len());
                    while list.len() <= index {
                        list.push(Value::Null);
                    }
                    match list.get_mut(index) {
                        Some(item) => item,
                        None => return self,
                    }
                }
                other => {
                    if !other.is_object() {
                        *other = Value::Object(Map::new());
                    }
                    match other.as_object_mut() {
                        Some(map) => map.entry(key).or_insert(Value::Null),
                        None => return self,
                    }
                }
            };
        }
        *place = value.into();
        self
    }

    /// Sets an environment variable of the app.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        if let Some(list) = self.0.pointer_mut("/spec/template/spec/containers/0/env").and_then(Value::as_array_mut) {
            list.retain(|variable| variable.get("name").and_then(Value::as_str) != Some(name));
            list.push(json!({"name": name, "value": value}));
        }
        self
    }

    /// Pins the app to a node.
    #[must_use]
    pub fn on_node(self, name: impl Into<Value>) -> Self {
        self.spec("/template/spec/nodeSelector/kubernetes.io~1hostname", name)
    }

    /// One pod of a revision on each node.
    #[must_use]
    pub fn one_a_node(self) -> Self {
        let spread = json!([{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "shop"}}, "matchLabelKeys": ["bluegreen.dev/revision"],
        }]);
        self.spec("/template/spec/topologySpreadConstraints", spread)
    }

    /// Old pods are told to drain.
    #[must_use]
    pub fn told(self) -> Self {
        self.spec("/drain/begin", json!({"http": {"path": "/drain", "port": "admin"}}))
    }

    /// Old pods are told by a label, which they read from a file that the kubelet writes.
    #[must_use]
    pub fn told_by_label(self) -> Self {
        let label = json!([{"path": "draining", "fieldRef": {"fieldPath": "metadata.labels['example.com/draining']"}}]);
        self.spec("/drain/begin", json!({"label": {"key": "example.com/draining", "value": "true"}}))
            .spec("/template/spec/volumes", json!([{"name": "about", "downwardAPI": {"items": label}}]))
            .container("/volumeMounts", json!([{"name": "about", "mountPath": "/about"}]))
            .env("APP_DRAIN_FILE", "/about/draining")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn fields_are_set_and_made() {
        let manifest = shop("v1")
            .spec("/drain/begin/http/path", "/d")
            .container("/ports/0/hostPort", 80)
            .env("APP_VERSION", "v2")
            .at("/metadata/labels/a~1b", "c");
        assert_eq!(manifest.0["spec"]["drain"]["begin"]["http"]["path"], "/d");
        assert_eq!(manifest.0["spec"]["template"]["spec"]["containers"][0]["ports"][0]["hostPort"], 80);
        assert_eq!(manifest.0["spec"]["template"]["spec"]["containers"][0]["env"], json!([{"name": "APP_VERSION", "value": "v2"}]));
        assert_eq!(manifest.0["metadata"]["labels"]["a/b"], "c");
    }
}
