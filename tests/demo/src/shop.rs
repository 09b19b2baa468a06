//! The sample app and its Services, as a user of the operator writes them.

use bluegreen::api::{BlueGreenDeployment, PhaseName};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use crate::failure::{Failure, Result};
use crate::place::Place;
use crate::programs::run;

/// Namespace of the sample app.
pub const NAMESPACE: &str = "demo";
/// Name of the BlueGreenDeployment and of its Service.
pub const SHOP: &str = "shop";
/// Name of the pod that users live in, where they need one.
pub const USERS: &str = "users";
/// Pods of a revision.
pub const PODS: i32 = 3;

/// The BlueGreenDeployment, with what is in `spec` beside the template given.
#[must_use]
pub fn manifest(image: &str, version: &str, spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "bluegreen.dev/v1alpha1",
        "kind": "BlueGreenDeployment",
        "metadata": {"name": SHOP},
        "spec": {
            "replicas": PODS,
            "selector": {"matchLabels": {"app": SHOP}},
            "template": {
                "metadata": {"labels": {"app": SHOP}},
                "spec": {
                    "containers": [{
                        "name": "app",
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "env": [
                            {"name": "APP_VERSION", "value": version},
                            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                        ],
                        "ports": [{"name": "http", "containerPort": 8080}, {"name": "echo", "containerPort": 9000}],
                        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1},
                    }],
                },
            },
        },
    });
    if let (Some(Value::Object(all)), Value::Object(more)) = (object.get_mut("spec"), spec) {
        all.extend(more.clone());
    }
    object
}

/// What the demo has in its spec: two Services, a smoke probe, and short times so that a release takes half a minute.
#[must_use]
pub fn demo_spec(version: &str) -> Value {
    json!({
        "traffic": {"services": [SHOP], "previewServices": [PREVIEW], "quietSeconds": 3},
        "smokeProbes": [{
            "name": "home",
            "httpGet": {"path": "/", "port": "http", "expect": {"status": [200], "bodyContains": format!("\"version\":\"{version}\"")}},
        }],
        "drain": {"minimumSeconds": 2},
    })
}

/// Name of the Service that shows the inactive revision.
pub const PREVIEW: &str = "shop-preview";

/// The sample app on a cluster.
#[derive(Clone)]
pub struct Shop {
    /// A client with all rights.
    pub client: Client,
}

impl Shop {
    /// Objects of a kind in the app's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Makes sure of a Service without a selector: the operator sets it.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn service(&self, name: &str) -> Result {
        let ports = json!([{"name": "http", "port": 80, "targetPort": "http"}, {"name": "echo", "port": 9000, "targetPort": "echo"}]);
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": ports}});
        self.apply::<Service>(name, &object).await
    }

    /// Makes sure of the pod that users live in.
    ///
    /// # Errors
    /// As the API server says, or if it is not ready in time.
    pub async fn users_pod(&self, place: &Place, image: &str) -> Result {
        let container = json!({"name": "load", "image": image, "imagePullPolicy": "IfNotPresent"});
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": USERS}, "spec": {"containers": [container]}});
        self.apply::<Pod>(USERS, &object).await?;
        let words = ["--namespace", NAMESPACE, "wait", "--for=condition=Ready", "--timeout=60s", "pod", USERS];
        run(place.kubectl().args(words)).map(drop)
    }

    /// Applies a manifest, server side.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn apply<K>(&self, name: &str, object: &(impl Serialize + std::fmt::Debug)) -> Result
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        self.api::<K>().patch(name, &PatchParams::apply("demo").force(), &Patch::Apply(object)).await?;
        Ok(())
    }

    /// The version that was asked for last; none before the first.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn version(&self) -> Result<Option<u32>> {
        let found = self.api::<BlueGreenDeployment>().get_opt(SHOP).await?;
        Ok(found.and_then(|shop| version(&shop.spec.template)?.strip_prefix('v')?.parse().ok()))
    }

    /// Address of the Service with one of its ports: `10.0.0.7:80`.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn address(&self, port: u16) -> Result<String> {
        let service = self.api::<Service>().get(SHOP).await?;
        let address = service.spec.and_then(|spec| spec.cluster_ip).ok_or_else(|| Failure::Said("Service shop has no clusterIP".into()))?;
        Ok(if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") })
    }

    /// Waits until the template asked for serves and no old pod is left.
    ///
    /// # Errors
    /// If that takes longer than a deadline.
    pub async fn complete(&self, within: Duration) -> Result<BlueGreenDeployment> {
        let deadline = Instant::now() + within;
        loop {
            let shop = self.api::<BlueGreenDeployment>().get(SHOP).await?;
            if is_complete(&shop) {
                return Ok(shop);
            }
            if Instant::now() >= deadline {
                return Err(Failure::Late { what: "a release that is complete".into(), within, seen: brief(&shop) });
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// The ReplicaSets of all revisions.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn sets(&self) -> Result<Vec<ReplicaSet>> {
        Ok(self.api::<ReplicaSet>().list(&ListParams::default().labels("bluegreen.dev/name=shop")).await?.items)
    }
}

/// Whether the template asked for serves and nothing is left to do.
#[must_use]
pub fn is_complete(shop: &BlueGreenDeployment) -> bool {
    shop.status.as_ref().is_some_and(|status| {
        Some(status.observed_generation) == shop.metadata.generation && status.phase == Some(PhaseName::Complete) && status.draining.is_empty()
    })
}

/// The version that a pod template gives the app.
#[must_use]
pub fn version(template: &Value) -> Option<String> {
    let variables = template.pointer("/spec/containers/0/env")?.as_array()?;
    variables.iter().find(|variable| variable.get("name").is_some_and(|name| name == "APP_VERSION"))?.get("value")?.as_str().map(str::to_owned)
}

/// Where a release stands, in a line.
#[must_use]
pub fn brief(shop: &BlueGreenDeployment) -> String {
    let Some(status) = &shop.status else {
        return "no status yet: does the operator run?".into();
    };
    let conditions: Vec<String> = status
        .conditions
        .iter()
        .filter(|condition| !condition.message.is_empty())
        .map(|condition| format!("{} ({}): {}", condition.kind.name(), condition.reason, condition.message))
        .collect();
    format!("phase {:?}; {}", status.phase, conditions.join("; "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_version_is_found_in_the_template() {
        let manifest = manifest("image", "v7", &demo_spec("v7"));
        assert_eq!(version(&manifest["spec"]["template"]).as_deref(), Some("v7"));
        assert_eq!(manifest["spec"]["drain"]["minimumSeconds"], 2);
        assert_eq!(version(&json!({})), None);
    }

    #[test]
    fn the_manifest_is_one_of_the_kind() {
        let shop: BlueGreenDeployment = serde_json::from_value(manifest("image", "v1", &demo_spec("v1"))).unwrap();
        assert_eq!(shop.spec.traffic.services, ["shop"]);
        assert!(!is_complete(&shop));
    }
}
