//! What every part of the controller shares.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use crate::probe::Question;
use crate::release::action::Notice;
use crate::release::{Now, Object};

use super::api::{ApiServer, Resource};
use super::keeper::Wanted;
use super::memory::{Remembered, Reports};
use super::observe::Installation;
use super::peers::Asked;
use super::prober::Prober;
use super::reach::{self, Claim};
use super::store;
use super::tasks::Tasks;
use super::world::{Concerned, Key, World};

/// The time; a simulation brings its own.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Now;
}

/// This machine's clocks.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        Now { wall: Timestamp::now(), mono: self.0.elapsed() }
    }
}

/// What every part of the controller shares.
pub struct Context<A> {
    /// The API server.
    pub api: A,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The way to the pods.
    pub prober: Arc<dyn Prober>,
    /// How the operator was installed.
    pub installation: Installation,
    /// Probes and calls under way.
    pub tasks: Tasks,
    /// Questions about peers that are to be ignored.
    pub peers: Asked,
    /// Told when the API server has dropped a part of a status.
    pub dropped: Notify,
    world: Mutex<World>,
    memory: Mutex<HashMap<String, Remembered>>,
    reports: Mutex<Reports>,
    wake: UnboundedSender<Wake>,
    wanted: UnboundedSender<Wanted>,
    events: UnboundedSender<(Value, Notice)>,
}

/// Where what the controller's parts say to each other goes.
pub struct Outlets {
    /// What is to be looked at.
    pub wake: UnboundedSender<Wake>,
    /// What is to be measured.
    pub wanted: UnboundedSender<Wanted>,
    /// What is to be told as an Event.
    pub events: UnboundedSender<(Value, Notice)>,
}

/// What the watches and tasks say to the rest of the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Look at this object.
    Look(Key),
    /// Look whether this Service is to be given back (namespace and name).
    Orphan(String, String),
}

impl<A: ApiServer> Context<A> {
    /// Puts it together.
    pub fn new(api: A, clock: Arc<dyn Clock>, prober: Arc<dyn Prober>, installation: Installation, world: World, outlets: Outlets) -> Self {
        let Outlets { wake, wanted, events } = outlets;
        Self {
            api,
            clock,
            prober,
            installation,
            tasks: Tasks::default(),
            peers: Asked::default(),
            dropped: Notify::new(),
            world: Mutex::new(world),
            memory: Mutex::default(),
            reports: Mutex::default(),
            wake,
            wanted,
            events,
        }
    }

    /// The caches. Never held across an await.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reports. Never held across an await.
    pub fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing is sent to an address; `None` if something may be.
    pub fn refuses(&self, address: IpAddr, claim: Claim) -> Option<String> {
        reach::refusal(&self.world(), address, claim)
    }

    /// Why somebody who is no pod is not asked; `None` if he may be.
    pub fn refuses_question(&self, question: &Question) -> Option<String> {
        let endpoint = question.endpoint();
        let allowed = match question {
            Question::Query(_) => self.installation.allowed_urls.iter().flatten().any(|allowed| allowed.same_origin(endpoint)),
            Question::Webhook(_) => self.installation.allowed_webhooks.iter().flatten().any(|allowed| allowed.covers(endpoint)),
        };
        (!allowed).then(|| format!("it is not asked: this operator may not ask {}", endpoint.authority()))
    }

    /// Why no command is run in a pod; `None` if one may be.
    pub fn refuses_exec(&self) -> Option<String> {
        (self.installation.allowed_exec != Some(true)).then(|| "nothing is run: this operator may not run commands in pods".into())
    }

    /// Why nothing is sent to pods through the API server; `None` if something may be.
    pub fn refuses_proxy(&self) -> Option<String> {
        (self.installation.allowed_proxy != Some(true)).then(|| "nothing is sent: this operator may not send anything through the API server".into())
    }

    /// What is remembered about one object.
    pub fn remember<T>(&self, uid: &str, change: impl FnOnce(&mut Remembered) -> T) -> T {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        change(memory.entry(uid.to_owned()).or_default())
    }

    /// Forgets objects that are gone.
    pub fn forget_all_but(&self, living: &BTreeSet<String>) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.retain(|uid, _| living.contains(uid));
    }

    /// Takes the answer to a write into the caches, so that the next decision knows it.
    pub fn wrote(&self, resource: Resource, object: &Value) {
        let now = self.clock.now().mono;
        let mut concerned = self.world().wrote(resource, object, now);
        // Whoever wrote goes on by itself; nobody has to be woken for it. But the keeper of the reports is not who waits for them; and of
        // what one member of a group writes of itself the watch brings nothing new any more to the others.
        if resource == Resource::BlueGreenDeployment {
            let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
            let own = |key: &Key| key.namespace == text("/metadata/namespace") && key.name == text("/metadata/name");
            concerned.keys.retain(|key| !own(key));
            self.wake(concerned);
        } else if resource == Resource::ConnectionWatch {
            self.wake(concerned);
        }
    }

    /// Takes a deletion into the caches.
    pub fn forgot(&self, resource: Resource, uid: &str) {
        self.world().remove(resource, &json!({"metadata": {"uid": uid, "resourceVersion": store::GONE}}));
    }

    /// Wakes whoever is concerned by a change.
    pub fn wake(&self, concerned: Concerned) {
        for key in concerned.keys {
            self.look(key);
        }
        for (namespace, name) in concerned.orphans {
            // Nobody listens any more while the process ends.
            self.wake.send(Wake::Orphan(namespace, name)).ok();
        }
    }

    /// Has one object looked at.
    pub fn look(&self, key: Key) {
        self.wake.send(Wake::Look(key)).ok();
    }

    /// Says what is to be measured from now on.
    pub fn want(&self, wanted: Wanted) {
        self.wanted.send(wanted).ok();
    }

    /// An Event about an object. Nobody waits for it: a switch must not be slower because it is told about.
    pub fn say(&self, object: &Object, notice: &Notice) {
        let notice = Notice { message: one_line(&notice.message), ..notice.clone() };
        if notice.warning {
            tracing::warn!(namespace = object.namespace, name = object.name, reason = notice.reason, "{}", notice.message);
        } else {
            tracing::info!(namespace = object.namespace, name = object.name, reason = notice.reason, "{}", notice.message);
        }
        self.publish(&object.namespace, &object.name, &object.uid, notice);
    }

    /// An Event about an object of which no more is known than where it is.
    pub fn publish(&self, namespace: &str, name: &str, uid: &str, notice: Notice) {
        let about = json!({
            "apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment",
            "metadata": {"name": name, "namespace": namespace, "uid": uid},
        });
        self.events.send((about, notice)).ok();
    }

    /// Gives up all that is remembered about an object, and what is under way for it, as if this process had been killed.
    pub fn begin_anew(&self, uid: &str) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        self.tasks.end_of(uid);
    }
}

/// A message in one line of the log: it may quote an annotation, and who writes that must not write lines of the log.
fn one_line(message: &str) -> String {
    message.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Writes Events until `stop` ends, and then those that have been said by then; one that can't be delivered is logged and not tried again.
pub async fn herald<A: ApiServer>(
    context: Arc<Context<A>>,
    mut events: tokio::sync::mpsc::UnboundedReceiver<(Value, Notice)>,
    stop: impl Future<Output = ()>,
) {
    let mut stop = std::pin::pin!(stop);
    loop {
        let (about, notice) = tokio::select! {
            biased;
            event = events.recv() => match event {
                Some(event) => event,
                None => return,
            },
            () = &mut stop => return,
        };
        if let Err(error) = context.api.publish(&about, &notice).await {
            tracing::warn!(%error, reason = notice.reason, "an Event could not be written");
        }
    }
}

/// A pause that doubles with each failure: 50 ms to 30 s.
pub fn pause(failures: u32) -> Duration {
    Duration::from_millis(50).saturating_mul(2u32.saturating_pow(failures.min(12))).min(Duration::from_secs(30))
}

#[cfg(test)]
#[path = "tests/context.rs"]
mod tests;
