//! What happens in the app's namespace, as it happens.

use bluegreen::api::BlueGreenDeployment;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::core::NamespaceResourceScope;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::shop::Shop;

/// Something that was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What.
    pub what: Thing,
}

/// What was seen.
#[derive(Clone, Debug)]
pub enum Thing {
    /// The BlueGreenDeployment.
    Shop(Box<BlueGreenDeployment>),
    /// A ReplicaSet of one of its revisions.
    Set(Box<ReplicaSet>),
    /// A pod of one of its revisions.
    Pod(Box<Pod>),
    /// The name of such a pod that is gone.
    PodGone(String),
    /// A Service.
    Service(Box<Service>),
}

/// Watches of everything that a release touches. They end when this is dropped.
pub struct Watches {
    /// What was seen, in order for each kind.
    pub seen: UnboundedReceiver<Seen>,
    _tasks: JoinSet<()>,
}

impl Watches {
    /// Begins to watch; what is there comes first.
    #[must_use]
    pub fn begin(shop: &Shop) -> Self {
        let (sender, seen) = unbounded_channel();
        let mut tasks = JoinSet::new();
        let ours = watcher::Config::default().labels("bluegreen.dev/revision");
        tasks.spawn(watch(shop.clone(), watcher::Config::default(), sender.clone(), |shop| Thing::Shop(Box::new(shop)), |_| None));
        tasks.spawn(watch(shop.clone(), ours.clone(), sender.clone(), |set| Thing::Set(Box::new(set)), |_| None));
        tasks.spawn(watch(shop.clone(), ours, sender.clone(), |pod| Thing::Pod(Box::new(pod)), |pod: Pod| Some(Thing::PodGone(pod.name_any()))));
        tasks.spawn(watch(shop.clone(), watcher::Config::default(), sender, |service| Thing::Service(Box::new(service)), |_| None));
        Self { seen, _tasks: tasks }
    }
}

async fn watch<K>(shop: Shop, config: watcher::Config, sender: UnboundedSender<Seen>, there: fn(K) -> Thing, gone: fn(K) -> Option<Thing>)
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
    K::DynamicType: Default,
{
    let mut events = std::pin::pin!(watcher(shop.api::<K>(), config).default_backoff());
    while let Some(event) = events.next().await {
        let thing = match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => Some(there(object)),
            Ok(Event::Delete(object)) => gone(object),
            // A watch that was interrupted is resumed, and shows what is there anew.
            Ok(Event::Init | Event::InitDone) | Err(_) => None,
        };
        if let Some(what) = thing
            && sender.send(Seen { at_ms: load::report::now_ms(), what }).is_err()
        {
            return;
        }
    }
}
