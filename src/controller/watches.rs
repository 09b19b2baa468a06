//! The watches: one a kind and namespace, each feeding the caches.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde_json::Value;

use crate::api::keys;
use crate::pauses::Pauses;
use crate::release::config::{ConfigKind, Snapshots};

use super::api::{ApiServer, Resource};
use super::context::Context;
use super::world::Feed;

/// What a watch feeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feeds {
    /// The caches of a kind.
    Kind(Resource),
    /// The list of the drain agent's own pods.
    AgentPods,
}

/// One watch.
#[derive(Clone, Debug)]
pub struct Watch {
    /// What it feeds.
    pub feeds: Feeds,
    /// The kind it asks for.
    pub resource: Resource,
    /// Namespace, or everything (`""`).
    pub namespace: String,
    /// The scope of the caches it covers: `""`, or its namespace in namespaced mode.
    pub scope: String,
    /// Label selector.
    pub labels: Option<String>,
    /// Field selector.
    pub fields: Option<String>,
}

/// Every watch of the controller.
pub fn all(scopes: &[String], namespace: &str, agent: Option<&str>, nodes: bool, configs: Snapshots) -> Vec<Watch> {
    let watch = |resource, scope: &str, labels: Option<String>| Watch {
        feeds: Feeds::Kind(resource),
        resource,
        namespace: scope.into(),
        scope: scope.into(),
        labels,
        fields: None,
    };
    let ours = Some(keys::REVISION.to_owned());
    let mut watches = vec![];
    for scope in scopes {
        watches.push(watch(Resource::BlueGreenDeployment, scope, None));
        // Only what carries a revision is ever ours; other pods and ReplicaSets of the cluster are never even sent.
        watches.push(watch(Resource::ReplicaSet, scope, ours.clone()));
        watches.push(watch(Resource::Pod, scope, ours.clone()));
        watches.push(watch(Resource::Service, scope, None));
        watches.push(watch(Resource::EndpointSlice, scope, Some("kubernetes.io/service-name".into())));
        for kind in ConfigKind::ALL.into_iter().filter(|kind| configs.allow(*kind)) {
            watches.push(Watch { fields: Some(nobodys_business(kind).into()), ..watch(kind.into(), scope, None) });
        }
        watches.push(watch(Resource::PodDisruptionBudget, scope, None));
    }
    if nodes {
        watches.push(watch(Resource::Node, "", None));
    }
    if let Some(agent) = agent {
        watches.push(Watch { namespace: namespace.into(), ..watch(Resource::ConnectionWatch, "", None) });
        watches.push(Watch { namespace: namespace.into(), fields: Some(format!("metadata.name={agent}")), ..watch(Resource::DaemonSet, "", None) });
        let pods = watch(Resource::Pod, "", Some(format!("bluegreen.dev/component={agent}")));
        watches.push(Watch { feeds: Feeds::AgentPods, namespace: namespace.into(), ..pods });
    }
    watches
}

/// What is never sent: the ConfigMap that each namespace has, and the Secrets that are most of all and no application's.
fn nobodys_business(kind: ConfigKind) -> &'static str {
    match kind {
        ConfigKind::ConfigMap => "metadata.name!=kube-root-ca.crt",
        ConfigKind::Secret => "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,type!=bootstrap.kubernetes.io/token",
    }
}

/// A watch that has failed for so long is told of: what it fed is old. Every new list may begin with a failure or two.
const PATIENCE: Duration = Duration::from_secs(30);
/// A failure so long after the former one is another story: that watch was resumed in between, which nobody says.
const ANOTHER: Duration = Duration::from_secs(90);

/// Feeds the caches from one watch, for ever.
pub async fn feed<A: ApiServer>(context: Arc<Context<A>>, client: Client, watch: Watch) {
    let kind = watch.resource.api_resource();
    let api: Api<DynamicObject> =
        if watch.namespace.is_empty() { Api::all_with(client, &kind) } else { Api::namespaced_with(client, &watch.namespace, &kind) };
    let mut config = watcher::Config::default().streaming_lists();
    config.label_selector.clone_from(&watch.labels);
    config.field_selector.clone_from(&watch.fields);
    loop {
        let events = watcher(api.clone(), config.clone()).backoff(Pauses::default());
        drive(&context, &watch, Box::pin(events)).await;
    }
}

impl Watch {
    /// What it feeds, by the name the caches have for it.
    fn feed(&self) -> Option<Feed> {
        match &self.feeds {
            Feeds::Kind(kind) => Feed::of(*kind),
            Feeds::AgentPods => Some(Feed::AgentPods),
        }
    }
}

/// Failures of a watch without anything heard in between.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    /// The first and the last one.
    seen: Option<(Duration, Duration)>,
}

impl Failures {
    /// Another one; for how long it has failed.
    fn again(&mut self, now: Duration) -> Duration {
        let first = self.seen.filter(|(_, last)| now.saturating_sub(*last) < ANOTHER).map_or(now, |(first, _)| first);
        self.seen = Some((first, now));
        now.saturating_sub(first)
    }
}

/// Ends when the watch has failed for long: only one that begins anew says when it works again. One that is resumed is silent until something changes.
async fn drive<A: ApiServer>(
    context: &Context<A>,
    watch: &Watch,
    mut events: impl Stream<Item = Result<Event<DynamicObject>, watcher::Error>> + Unpin,
) {
    let mut failures = Failures::default();
    let tell = |fails| {
        if let Some(feed) = watch.feed() {
            let concerned = context.world().watch_fails(feed, &watch.scope, fails);
            context.wake(concerned);
        }
    };
    let mut listed = false;
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                // Said once, not at every try.
                if failures.seen.is_none() {
                    tracing::warn!(kind = ?watch.resource, namespace = watch.namespace, %error, "a watch is interrupted and is being resumed");
                }
                if failures.again(context.clock.now().mono) >= PATIENCE {
                    tell(true);
                    if listed {
                        return;
                    }
                }
                continue;
            }
        };
        // That a list begins says nothing: it may have been begun before anything was asked.
        if !matches!(event, Event::Init) {
            failures = Failures::default();
        }
        let complete = matches!(event, Event::InitDone);
        take(context, watch, event);
        if complete {
            listed = true;
            tell(false);
        }
    }
}

/// Takes one event of a watch into the caches, and wakes whom it concerns.
pub fn take<A: ApiServer>(context: &Context<A>, watch: &Watch, event: Event<DynamicObject>) {
    let now = context.clock.now().mono;
    let value = |object: DynamicObject| serde_json::to_value(object).unwrap_or(Value::Null);
    let concerned = match (&watch.feeds, event) {
        (Feeds::Kind(kind), Event::Apply(object) | Event::InitApply(object)) => {
            let object = value(object);
            context.world().insert(*kind, &object, now)
        }
        (Feeds::Kind(kind), Event::Delete(object)) => {
            let object = value(object);
            context.world().remove(*kind, &object)
        }
        (Feeds::Kind(kind), Event::Init) => {
            context.world().relist(*kind, &watch.scope);
            return;
        }
        (Feeds::Kind(kind), Event::InitDone) => context.world().relisted(*kind, &watch.scope),
        (Feeds::AgentPods, Event::Apply(object) | Event::InitApply(object)) => context.world().insert_agent_pod(&value(object)),
        (Feeds::AgentPods, Event::Delete(object)) => context.world().remove_agent_pod(&value(object)),
        (Feeds::AgentPods, Event::Init) => context.world().agent_pods(false),
        (Feeds::AgentPods, Event::InitDone) => context.world().agent_pods(true),
    };
    context.wake(concerned);
}

#[cfg(test)]
#[path = "tests/watches.rs"]
mod tests;
