//! What a case works with: a namespace of its own on a cluster with the operator.

use std::collections::BTreeMap;

use bluegreen::api::{BlueGreenDeployment, BlueGreenDeploymentStatus, Condition, ConditionStatus, ConditionType, PhaseName};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod, Service};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, NamespaceResourceScope};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::manifest::Manifest;
use crate::traffic::{Load, Notes};
use crate::wait::{Look, wait_for, when};
use crate::world::World;

/// What a case works with.
pub struct Stage {
    /// The cluster.
    pub world: World,
    /// The case's own namespace.
    pub namespace: String,
    /// What is to be told about the case.
    pub notes: Notes,
}

/// The ports of the usual Service.
pub const PORTS: [(&str, i32, &str); 2] = [("http", 80, "http"), ("echo", 9000, "echo")];

impl Stage {
    /// Makes the namespace.
    pub async fn new(world: World, namespace: String, notes: Notes) -> Result<Self> {
        let namespaces: Api<Namespace> = Api::all(world.client.clone());
        let object: Namespace = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        namespaces.create(&PostParams::default(), &object).await?;
        Ok(Self { world, namespace, notes })
    }

    /// Removes the namespace, without waiting for its end.
    pub async fn clear(&self) -> Result {
        let namespaces: Api<Namespace> = Api::all(self.world.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::background()).await?;
        Ok(())
    }

    /// Objects of a kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        Api::namespaced(self.world.client.clone(), &self.namespace)
    }

    /// Creates an object given as JSON.
    pub async fn create<K>(&self, object: Value) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
        K::DynamicType: Default,
    {
        Ok(self.api::<K>().create(&PostParams::default(), &serde_json::from_value(object)?).await?)
    }

    /// Creates a Service without a selector, as the documentation recommends.
    pub async fn service(&self, name: &str) -> Result<Service> {
        self.service_with(name, json!({})).await
    }

    /// Creates a Service with more in its spec.
    pub async fn service_with(&self, name: &str, more: Value) -> Result<Service> {
        let ports: Vec<Value> = PORTS.iter().map(|(name, port, target)| json!({"name": name, "port": port, "targetPort": target})).collect();
        let mut spec = json!({"ports": ports});
        if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
            spec.extend(more);
        }
        self.create(json!({"metadata": {"name": name}, "spec": spec})).await
    }

    /// Applies a manifest, server side, as `kubectl apply --server-side` does.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn apply(&self, manifest: &Manifest) -> Result<BlueGreenDeployment> {
        let parameters = PatchParams::apply("e2e").force();
        readable(self.deployments().patch(manifest.name(), &parameters, &Patch::Apply(&manifest.0)).await?)
    }

    /// A merge patch of the BlueGreenDeployment `shop`.
    pub async fn patch(&self, change: Value) -> Result<BlueGreenDeployment> {
        readable(self.deployments().patch("shop", &PatchParams::default(), &Patch::Merge(&change)).await?)
    }

    /// Gives a command: an annotation.
    pub async fn command(&self, key: &str, value: &str) -> Result {
        self.patch(json!({"metadata": {"annotations": {key: value}}})).await.map(drop)
    }

    /// The BlueGreenDeployment `shop`.
    pub async fn shop(&self) -> Result<BlueGreenDeployment> {
        readable(self.deployments().get("shop").await?)
    }

    fn deployments(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.world.client.clone(), &self.namespace, &ApiResource::erase::<BlueGreenDeployment>(&()))
    }

    /// Waits until `shop`'s status, about its present spec, is as wanted.
    pub async fn until(
        &self,
        what: &str,
        seconds: u64,
        mut holds: impl FnMut(&BlueGreenDeploymentStatus) -> bool,
    ) -> Result<BlueGreenDeploymentStatus> {
        self.until_some(what, seconds, |status| holds(status).then(|| status.clone())).await
    }

    /// Waits until something can be read from `shop`'s status about its present spec.
    pub async fn until_some<T>(&self, what: &str, seconds: u64, mut read: impl FnMut(&BlueGreenDeploymentStatus) -> Option<T>) -> Result<T> {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(seconds);
        loop {
            let shop = self.shop().await?;
            let status = shop.status.clone().unwrap_or_default();
            let current = status.observed_generation == shop.metadata.generation.unwrap_or_default();
            if current && let Some(found) = read(&status) {
                return Ok(found);
            }
            if tokio::time::Instant::now() >= deadline {
                let within = std::time::Duration::from_secs(seconds);
                return Err(Failure::Late { what: what.into(), within, seen: brief(&status, current) });
            }
            tokio::time::sleep(std::time::Duration::from_millis(120)).await;
        }
    }

    /// Waits until the release is over and nothing is left to drain.
    pub async fn complete(&self, seconds: u64) -> Result<BlueGreenDeploymentStatus> {
        self.until("the release is complete", seconds, |status| {
            status.phase == Some(PhaseName::Complete) && is(status, ConditionType::Ready, ConditionStatus::True) && status.draining.is_empty()
        })
        .await
    }

    /// Installs `shop` with its Service, and waits until it serves.
    pub async fn installed(&self, manifest: &Manifest) -> Result<String> {
        self.service("shop").await?;
        self.apply(manifest).await?;
        let status = self.complete(60).await?;
        revision(&status)
    }

    /// Waits until `shop` is stalled for a reason, and returns the message.
    pub async fn stalled(&self, reason: &str, seconds: u64) -> Result<String> {
        self.until_some(&format!("Stalled: {reason}"), seconds, |status| {
            let stalled = condition(status, ConditionType::Stalled)?;
            (stalled.status == ConditionStatus::True && stalled.reason == reason).then(|| stalled.message.clone())
        })
        .await
    }

    /// Address of a Service, with one of its ports: `198.19.0.7:80`.
    pub async fn address(&self, service: &str, port: i32) -> Result<String> {
        let service = self.api::<Service>().get(service).await?;
        let ip = service.spec.and_then(|spec| spec.cluster_ip).ok_or_else(|| Failure::Claim("a Service without clusterIP".into()))?;
        Ok(format!("{ip}:{port}"))
    }

    /// The usual load on the Service `shop`: 25 new connections a second, and no kept ones.
    pub async fn users(&self) -> Result<Load> {
        self.users_of("shop", &["--rate", "25", "--keepalive", "0"]).await
    }

    /// Short requests to a Service.
    pub async fn users_of(&self, service: &str, words: &[&str]) -> Result<Load> {
        self.users_from(2, service, words).await
    }

    /// Short requests to a Service from a node.
    pub async fn users_from(&self, node: usize, service: &str, words: &[&str]) -> Result<Load> {
        let address = self.address(service, 80).await?;
        self.reachable(node, &address).await?;
        let target = format!("http://{address}/");
        let mut all = vec!["run", "--target", target.as_str()];
        all.extend(words);
        let load = Load::start(&self.world, node, &all)?;
        load.more(10).await?;
        Ok(load)
    }

    /// Waits until a Service answers on a node: each node's kube-proxy follows a change on its own, at most once a second.
    pub async fn reachable(&self, node: usize, address: &str) -> Result {
        wait_for(format!("a connection from node {node} to {address}"), 20, || async {
            let refused = self.refused(node, address)?;
            Ok(when(refused.is_none(), || refused.unwrap_or_default()))
        })
        .await
    }

    /// Why a connection from a node to an address can't be made, if so.
    pub fn refused(&self, node: usize, address: &str) -> Result<Option<String>> {
        let (ip, port) = address.rsplit_once(':').unwrap_or((address, "80"));
        let shell = format!("exec 3<>/dev/tcp/{ip}/{port}");
        let mut command = self.world.cluster.command_in_node(node, ["timeout", "2", "bash", "-c", &shell])?;
        let output = tokio::task::block_in_place(|| command.output()).map_err(crate::failure::io("starting bash"))?;
        Ok((!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    /// One long connection from a node: `words` with `{http}` and `{echo}` in place of the Service's addresses.
    pub async fn long(&self, node: usize, words: &[&str]) -> Result<Load> {
        let http = self.address("shop", 80).await?;
        let echo = self.address("shop", 9000).await?;
        self.reachable(node, &http).await?;
        let words: Vec<String> = words.iter().map(|word| word.replace("{http}", &http).replace("{echo}", &echo)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Load::start(&self.world, node, &words)
    }

    /// A ReplicaSet, by its revision.
    pub async fn set(&self, revision: &str) -> Result<ReplicaSet> {
        Ok(self.api::<ReplicaSet>().get(&format!("shop-{revision}")).await?)
    }

    /// Pods wanted of a revision.
    pub async fn desired(&self, revision: &str) -> Result<i32> {
        Ok(self.set(revision).await?.spec.replicas.unwrap_or(1))
    }

    /// Pods of a revision that are not ending.
    pub async fn pods(&self, revision: &str) -> Result<Vec<Pod>> {
        let list = self.api::<Pod>().list(&ListParams::default().labels(&format!("bluegreen.dev/revision={revision}"))).await?;
        Ok(list.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
    }

    /// All ReplicaSets of `shop`.
    pub async fn sets(&self) -> Result<Vec<ReplicaSet>> {
        Ok(self.api::<ReplicaSet>().list(&ListParams::default().labels("bluegreen.dev/name=shop")).await?.items)
    }

    /// The selector of a Service.
    pub async fn selector(&self, service: &str) -> Result<BTreeMap<String, String>> {
        Ok(self.api::<Service>().get(service).await?.spec.and_then(|spec| spec.selector).unwrap_or_default())
    }

    /// The revision that a Service selects.
    pub async fn selected(&self, service: &str) -> Result<String> {
        Ok(self.selector(service).await?.remove("bluegreen.dev/revision").unwrap_or_default())
    }

    /// Waits until the Service `shop` selects a revision.
    pub async fn serves(&self, revision: &str, seconds: u64) -> Result {
        wait_for(format!("the Service selects {revision}"), seconds, || async {
            let selected = self.selected("shop").await?;
            Ok(when(selected == revision, || format!("it selects {selected:?}")))
        })
        .await
    }

    /// Waits until a revision has no pods wanted.
    pub async fn gone(&self, revision: &str, seconds: u64) -> Result {
        wait_for(format!("revision {revision} is scaled to zero"), seconds, || async {
            let desired = self.desired(revision).await?;
            Ok(when(desired == 0, || format!("{desired} pods wanted")))
        })
        .await
    }

    /// Tells the app in one pod something on its admin port.
    pub fn tell(&self, pod: &Pod, path: &str) -> Result {
        let ip = pod_ip(pod);
        let path = path.to_owned();
        let request = format!("POST {path} HTTP/1.1\r\nhost: {ip}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let shell = format!("exec 3<>/dev/tcp/{ip}/8081; printf '%s' \"$1\" >&3; head -n 1 <&3");
        let mut command = self.world.cluster.command_in_node(1, ["bash", "-c", &shell, "bash", &request])?;
        let output = tokio::task::block_in_place(|| command.output()).map_err(crate::failure::io("starting bash"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        crate::claim!(text.contains(" 200 "), "POST {path} to pod {} was answered {text:?}", pod.name_any());
        Ok(())
    }

    /// Asks the admin port of a pod; the body of the answer.
    pub fn ask(&self, pod: &Pod, path: &str) -> Result<String> {
        let ip = pod_ip(pod);
        let request = format!("GET {path} HTTP/1.1\r\nhost: {ip}\r\nconnection: close\r\n\r\n");
        let shell = format!("exec 3<>/dev/tcp/{ip}/8081; printf '%s' \"$1\" >&3; cat <&3");
        let mut command = self.world.cluster.command_in_node(1, ["timeout", "10", "bash", "-c", &shell, "bash", &request])?;
        let output = tokio::task::block_in_place(|| command.output()).map_err(crate::failure::io("starting bash"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        body.ok_or_else(|| Failure::Claim(format!("GET {path} of pod {} was answered {text:?}", pod.name_any())))
    }

    /// Events about `shop` with a reason.
    pub async fn events(&self, reason: &str) -> Result<Vec<Event>> {
        let list = self.api::<Event>().list(&ListParams::default().fields("involvedObject.kind=BlueGreenDeployment")).await?;
        Ok(list.items.into_iter().filter(|event| event.reason.as_deref() == Some(reason)).collect())
    }

    /// Waits for an Event about `shop` whose message says something: Events are written beside everything else, and later.
    pub async fn said(&self, reason: &str, part: &str, seconds: u64) -> Result<Event> {
        wait_for(format!("an Event {reason} that says {part:?}"), seconds, || async {
            let events = self.events(reason).await?;
            let messages: Vec<String> = events.iter().filter_map(|event| event.message.clone()).collect();
            let found = events.into_iter().find(|event| event.message.as_deref().is_some_and(|message| message.contains(part)));
            Ok(found.map_or_else(|| Look::NotYet(format!("{messages:?}")), Look::Done))
        })
        .await
    }

    /// Waits until a condition of `shop` says something, and returns its message.
    pub async fn told(&self, part: &str, seconds: u64) -> Result<String> {
        wait_for(format!("a condition that says {part:?}"), seconds, || async {
            let status = self.shop().await?.status.unwrap_or_default();
            let said: Vec<String> = status.conditions.iter().map(|condition| condition.message.clone()).collect();
            let found = said.iter().find(|message| message.contains(part)).cloned();
            Ok(found.map_or_else(|| Look::NotYet(format!("{said:?}")), Look::Done))
        })
        .await
    }

    /// A column of `kubectl get bgd shop`.
    pub fn column(&self, name: &str) -> Result<String> {
        let table = self.world.kubectl(&["get", "bgd", "shop", "-n", &self.namespace])?;
        let mut lines = table.lines();
        let (head, row) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let at = head.find(name).ok_or_else(|| Failure::Claim(format!("no column {name}: {table}")))?;
        Ok(row.get(at..).unwrap_or_default().split_whitespace().next().unwrap_or_default().to_owned())
    }

    /// Applies any object, as somebody else would.
    pub async fn apply_as(&self, manager: &str, object: Value, force: bool) -> Result<DynamicObject> {
        let object: DynamicObject = serde_json::from_value(object)?;
        let types = object.types.clone().ok_or_else(|| Failure::Claim("an object without a kind".into()))?;
        let kind = kube::core::GroupVersionKind::try_from(&types).map_err(|error| Failure::Claim(error.to_string()))?;
        let api: Api<DynamicObject> = Api::namespaced_with(self.world.client.clone(), &self.namespace, &ApiResource::from_gvk(&kind));
        let mut parameters = PatchParams::apply(manager);
        parameters.force = force;
        Ok(api.patch(&object.name_any(), &parameters, &Patch::Apply(&object)).await?)
    }
}

/// A BlueGreenDeployment, without what older definitions have cut in its status.
fn readable(mut object: DynamicObject) -> Result<BlueGreenDeployment> {
    if let Some(status) = object.data.get_mut("status").and_then(Value::as_object_mut) {
        BlueGreenDeploymentStatus::readable(status);
    }
    Ok(serde_json::from_value(serde_json::to_value(object)?)?)
}

/// A condition of a status.
pub fn condition(status: &BlueGreenDeploymentStatus, kind: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.kind == kind)
}

/// Whether a condition has a value.
pub fn is(status: &BlueGreenDeploymentStatus, kind: ConditionType, value: ConditionStatus) -> bool {
    condition(status, kind).is_some_and(|condition| condition.status == value)
}

/// Whether a condition is there with a reason.
pub fn because(status: &BlueGreenDeploymentStatus, kind: ConditionType, value: ConditionStatus, reason: &str) -> bool {
    condition(status, kind).is_some_and(|condition| condition.status == value && condition.reason == reason)
}

/// The revision that the spec means.
pub fn revision(status: &BlueGreenDeploymentStatus) -> Result<String> {
    status.revision.clone().filter(|revision| !revision.is_empty()).ok_or_else(|| Failure::Claim("status names no revision".into()))
}

/// The address of a pod.
pub fn pod_ip(pod: &Pod) -> String {
    pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default()
}

/// A status in a line.
fn brief(status: &BlueGreenDeploymentStatus, current: bool) -> String {
    let conditions: Vec<String> = status
        .conditions
        .iter()
        .map(|condition| format!("{}={:?} {} ({})", condition.kind.name(), condition.status, condition.reason, condition.message))
        .collect();
    let age = if current { "" } else { " (of an older generation)" };
    format!("phase {:?}{age}; {}", status.phase, conditions.join("; "))
}
