//! A small API server that keeps objects in memory, and a controller in front of it whose caches are fed by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::api::{ApiError, ApiServer, Change, Dependents, Resource, Which};
use super::context::{Clock, Context, Outlets, Wake};
use super::keeper::Wanted;
use super::observe::{Installation, observe};
use super::prober::{Network, Prober};
use super::trim;
use super::world::{Key, World};
use crate::release::action::Notice;
use crate::release::{Now, Snapshot};

/// One request that would change something.
#[derive(Clone, Debug)]
pub struct Request {
    /// `create`, `patch`, `status`, `delete` or `publish`; `get` where it may be refused.
    pub verb: &'static str,
    /// The kind.
    pub resource: Resource,
    /// The object's name.
    pub name: String,
    /// What was sent.
    pub body: Value,
}

type Drops = Box<dyn Fn(&mut Value) + Send>;
type Refuses = Box<dyn Fn(&Request) -> Option<ApiError> + Send>;

#[derive(Default)]
struct Inside {
    objects: Vec<(Resource, Value)>,
    version: u64,
    refuses: Option<Refuses>,
    drops: Option<Drops>,
    requests: Vec<Request>,
    reads: usize,
    /// By pod and container.
    logs: std::collections::BTreeMap<String, String>,
}

/// The API server.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<Inside>>);

fn name(object: &Value) -> String {
    trim::text(object, "/metadata/name").unwrap()
}

fn merge(into: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        into.clone_from(patch);
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let map = into.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// The steps that the controller uses: `test`, for which what is not there equals null, `add` and `remove` of a member of a map.
fn json_patch(object: &mut Value, steps: &[Value]) -> Result<(), ApiError> {
    for step in steps {
        let path = step["path"].as_str().unwrap();
        let (parent, key) = path.rsplit_once('/').unwrap();
        let key = key.replace("~1", "/");
        let map = object.pointer_mut(parent).and_then(Value::as_object_mut).ok_or(ApiError::Conflict)?;
        match step["op"].as_str().unwrap() {
            "test" if *map.get(&key).unwrap_or(&Value::Null) == step["value"] => {}
            "test" => return Err(ApiError::Conflict),
            "add" => drop(map.insert(key, step["value"].clone())),
            _ => drop(map.remove(&key)),
        }
    }
    Ok(())
}

impl Inside {
    fn asked(&mut self, verb: &'static str, resource: Resource, name: &str, body: &Value) -> Result<(), ApiError> {
        let request = Request { verb, resource, name: name.into(), body: body.clone() };
        let refused = self.refuses.as_ref().and_then(|refuses| refuses(&request));
        self.requests.push(request);
        refused.map_or(Ok(()), Err)
    }

    fn find(&mut self, resource: Resource, wanted: &str) -> Option<&mut Value> {
        self.objects.iter_mut().find(|(kind, object)| *kind == resource && name(object) == wanted).map(|(_, object)| object)
    }

    fn next(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }
}

impl Fake {
    /// What is inside, also after `refuse` panicked: only the controller is to see that.
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes or replaces an object, as somebody else would.
    pub fn put(&self, resource: Resource, mut object: Value) {
        let mut inside = self.inside();
        object["metadata"]["resourceVersion"] = json!(inside.next());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}", name(&object)));
        }
        inside.objects.retain(|(kind, known)| *kind != resource || name(known) != name(&object));
        inside.objects.push((resource, object));
    }

    /// An object as it is.
    pub fn now(&self, resource: Resource, name: &str) -> Value {
        self.inside().find(resource, name).cloned().unwrap_or_default()
    }

    /// The only object of a kind.
    pub fn only(&self, resource: Resource) -> Value {
        let inside = self.inside();
        let found: Vec<&Value> = inside.objects.iter().filter(|(kind, _)| *kind == resource).map(|(_, object)| object).collect();
        assert_eq!(found.len(), 1);
        found[0].clone()
    }

    /// What a container has written.
    pub fn log(&self, pod: &str, container: &str, text: &str) {
        self.inside().logs.insert(format!("{pod}/{container}"), text.into());
    }

    /// From now on refuses what this says.
    pub fn refuse(&self, refuses: impl Fn(&Request) -> Option<ApiError> + Send + 'static) {
        self.inside().refuses = Some(Box::new(refuses));
    }

    /// From now on drops this of whatever is patched, as an older CustomResourceDefinition does.
    pub fn drop_of(&self, drops: impl Fn(&mut Value) + Send + 'static) {
        self.inside().drops = Some(Box::new(drops));
    }

    /// Requests that would have changed something, since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.inside().requests)
    }

    /// Requests that only read, since the last call.
    pub fn reads(&self) -> usize {
        std::mem::take(&mut self.inside().reads)
    }
}

impl ApiServer for Fake {
    async fn get(&self, resource: Resource, _: &str, name: &str) -> Result<Option<Value>, ApiError> {
        let mut inside = self.inside();
        inside.reads += 1;
        let request = Request { verb: "get", resource, name: name.into(), body: Value::Null };
        if let Some(error) = inside.refuses.as_ref().and_then(|refuses| refuses(&request)) {
            return Err(error);
        }
        Ok(inside.find(resource, name).cloned())
    }

    async fn list(&self, resource: Resource, _: &str, which: Which) -> Result<Vec<Value>, ApiError> {
        let mut inside = self.inside();
        inside.reads += 1;
        let selected = |object: &Value| {
            let Some((key, value)) = which.labels.as_deref().and_then(|labels| labels.split_once('=')) else { return true };
            trim::label(object, key) == Some(value)
        };
        Ok(inside.objects.iter().filter(|(kind, object)| *kind == resource && selected(object)).map(|(_, object)| object.clone()).collect())
    }

    async fn create(&self, resource: Resource, namespace: &str, mut object: Value, dry_run: bool) -> Result<Value, ApiError> {
        let mut inside = self.inside();
        if dry_run {
            let asked = Request { verb: "ask", resource, name: String::new(), body: object.clone() };
            return inside.refuses.as_ref().and_then(|refuses| refuses(&asked)).map_or(Ok(object), Err);
        }
        let name = name(&object);
        inside.asked("create", resource, &name, &object)?;
        if inside.find(resource, &name).is_some() {
            return Err(ApiError::AlreadyExists);
        }
        let version = inside.next();
        merge(&mut object, &json!({"metadata": {"namespace": namespace, "uid": format!("uid-{name}-{version}"), "resourceVersion": version}}));
        inside.objects.push((resource, object.clone()));
        Ok(object)
    }

    async fn patch(&self, resource: Resource, _: &str, name: &str, status: bool, change: Change) -> Result<Value, ApiError> {
        let mut inside = self.inside();
        let (Change::Merge(patch) | Change::Json(patch)) = change;
        inside.asked(if status { "status" } else { "patch" }, resource, name, &patch)?;
        let version = inside.next();
        let drops = inside.drops.take();
        let object = inside.find(resource, name).ok_or(ApiError::NotFound)?;
        if let Some(steps) = patch.as_array() {
            json_patch(object, steps)?;
        }
        for guard in ["uid", "resourceVersion"] {
            if patch["metadata"].get(guard).is_some_and(|wanted| *wanted != object["metadata"][guard]) {
                return Err(ApiError::Conflict);
            }
        }
        if patch.is_object() {
            merge(object, &patch);
        }
        object["metadata"]["resourceVersion"] = json!(version);
        if let Some(drops) = &drops {
            drops(object);
        }
        let answer = object.clone();
        inside.drops = drops;
        Ok(answer)
    }

    async fn delete(&self, resource: Resource, _: &str, name: &str, (uid, _): (&str, Option<&str>), _: Dependents) -> Result<(), ApiError> {
        let mut inside = self.inside();
        inside.asked("delete", resource, name, &Value::Null)?;
        inside.objects.retain(|(kind, object)| *kind != resource || object["metadata"]["uid"] != uid);
        Ok(())
    }

    async fn log_end(&self, _: &str, pod: &str, container: &str) -> Result<String, ApiError> {
        self.inside().logs.get(&format!("{pod}/{container}")).cloned().ok_or(ApiError::NotFound)
    }

    async fn publish(&self, about: &Value, notice: &Notice) -> Result<(), ApiError> {
        let body = json!({"about": about["metadata"]["name"], "message": notice.message});
        self.inside().asked("publish", Resource::Event, notice.reason, &body)
    }
}

/// A clock that only goes when it is set.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Duration>>);

impl Watch {
    /// Goes on.
    pub fn pass(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

impl Clock for Watch {
    fn now(&self) -> Now {
        let mono = *self.0.lock().unwrap();
        let wall = "2026-01-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap();
        Now { wall: wall.checked_add(jiff::SignedDuration::try_from(mono).unwrap()).unwrap(), mono: Duration::from_secs(1000) + mono }
    }
}

/// A controller in front of it.
pub struct Stage {
    /// The API server.
    pub api: Fake,
    /// The time.
    pub clock: Watch,
    /// The controller's context.
    pub context: Arc<Context<Fake>>,
    /// What is to be looked at.
    pub wakes: UnboundedReceiver<Wake>,
    /// What is to be measured.
    pub wanted: UnboundedReceiver<Wanted>,
    /// What is said.
    pub said: UnboundedReceiver<(Value, Notice)>,
}

const FED: [Resource; 8] = [
    Resource::BlueGreenDeployment,
    Resource::ReplicaSet,
    Resource::Pod,
    Resource::Service,
    Resource::EndpointSlice,
    Resource::ConfigMap,
    Resource::Secret,
    Resource::PodDisruptionBudget,
];

impl Stage {
    /// An empty cluster.
    pub fn new() -> Self {
        Self::with_pods(Arc::new(Network::default()))
    }

    /// An empty cluster with another way to the pods.
    pub fn with_pods(prober: Arc<dyn Prober>) -> Self {
        let (api, clock) = (Fake::default(), Watch::default());
        let (wake, wakes) = unbounded_channel();
        let (want, wanted) = unbounded_channel();
        let (tell, said) = unbounded_channel();
        let outlets = Outlets { wake, wanted: want, events: tell };
        let installation = Installation {
            agent: true,
            runtime_classes: vec![],
            cluster_wide: false,
            allowed_urls: Some(vec![]),
            allowed_webhooks: Some(vec![]),
            allowed_exec: Some(false),
            job_logs: false,
            config_snapshots: None,
            allowed_proxy: Some(false),
        };
        let context = Arc::new(Context::new(api.clone(), Arc::new(clock.clone()), prober, installation, World::new(vec![], true), outlets));
        Self { api, clock, context, wakes, wanted, said }
    }

    /// The object `shop` with its Service, served by one ready pod of its first template; at rest.
    pub async fn serving(spec: Value) -> Self {
        let mut stage = Self::new();
        let mut object = json!({
            "apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment",
            "metadata": {"name": "shop", "namespace": "n", "generation": 1},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "shop"}}, "template": template("v1"), "traffic": {"services": ["shop"]}},
        });
        merge(&mut object["spec"], &spec);
        stage.api.put(Resource::BlueGreenDeployment, object);
        stage.api.put(Resource::Service, service("shop", json!({})));
        stage.look().await;
        stage.ready_pods();
        stage.look().await;
        assert_eq!(stage.status()["phase"], "Converge", "{:#}", stage.status());
        stage.notices();
        stage.api.requests();
        stage
    }

    /// What `shop` looks like to the plan.
    pub fn snapshot(&self) -> Snapshot {
        let world = self.context.world();
        let uid = world.object(&key()).unwrap().metadata.uid.clone().unwrap();
        let mut reports = self.context.reports();
        let now = self.context.clock.now();
        self.context.remember(&uid, |remembered| observe(&world, remembered, &mut reports, &self.context.installation, &key(), now)).unwrap()
    }

    /// Brings all that there is into the caches, as complete lists would.
    pub fn feed(&self) {
        let objects = self.api.inside().objects.clone();
        let mut world = self.context.world();
        for kind in FED {
            world.relist(kind, "");
            for (_, object) in objects.iter().filter(|(resource, _)| *resource == kind) {
                world.insert(kind, object, self.clock.now().mono);
            }
            world.relisted(kind, "");
        }
    }

    /// Feeds the caches and looks at `shop`.
    pub async fn look(&mut self) -> Option<Duration> {
        self.feed();
        super::reconcile::reconcile(&self.context, &key()).await
    }

    /// Makes one ready pod for every replica of every ReplicaSet.
    pub fn ready_pods(&self) {
        let sets: Vec<Value> =
            self.api.inside().objects.iter().filter(|(kind, _)| *kind == Resource::ReplicaSet).map(|(_, set)| set.clone()).collect();
        for set in sets {
            for number in 0..set["spec"]["replicas"].as_i64().unwrap() {
                let mut labels = set["spec"]["template"]["metadata"]["labels"].clone();
                merge(&mut labels, &set["spec"]["selector"]["matchLabels"]);
                self.api.put(
                    Resource::Pod,
                    json!({
                        "metadata": {"name": format!("{}-{number}", name(&set)), "namespace": "n", "labels": labels, "ownerReferences": [
                            {"kind": "ReplicaSet", "name": name(&set), "uid": set["metadata"]["uid"], "controller": true}]},
                        "spec": {"nodeName": "n1", "containers": [{"name": "app", "ports": [{"name": "http", "containerPort": 80}]}]},
                        "status": {"phase": "Running", "podIPs": [{"ip": "127.0.0.1"}], "conditions": [
                            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
                    }),
                );
            }
        }
    }

    /// Changes the spec of `shop`.
    pub fn change(&self, spec: &Value) {
        let mut object = self.api.now(Resource::BlueGreenDeployment, "shop");
        merge(&mut object["spec"], spec);
        let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
        object["metadata"]["generation"] = json!(generation + 1);
        self.api.put(Resource::BlueGreenDeployment, object);
    }

    /// The status of `shop`.
    pub fn status(&self) -> Value {
        self.api.now(Resource::BlueGreenDeployment, "shop")["status"].clone()
    }

    /// Status and reason of a condition of `shop`.
    pub fn condition(&self, kind: &str) -> (String, String, String) {
        let status = self.status();
        let found = status["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == kind).cloned().unwrap_or_default();
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"), text("message"))
    }

    /// What was said since the last call.
    pub fn notices(&mut self) -> Vec<Notice> {
        std::iter::from_fn(|| self.said.try_recv().ok()).map(|(_, notice)| notice).collect()
    }
}

/// The key of `shop`.
pub fn key() -> Key {
    Key { namespace: "n".into(), name: "shop".into() }
}

/// A pod template.
pub fn template(version: &str) -> Value {
    json!({"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [
        {"name": "app", "image": format!("app:{version}"), "ports": [{"name": "http", "containerPort": 80}]}]}})
}

/// A Service.
pub fn service(name: &str, selector: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"clusterIP": "10.0.0.1", "selector": selector, "ports": [{"port": 80, "targetPort": "http"}]}})
}
