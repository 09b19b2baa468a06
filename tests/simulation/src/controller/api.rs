//! The API server as a process of the operator sees it: requests travel, are served, and the answers travel back. On each way
//! something may happen to them, and to the process.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bluegreen::api::keys;
use bluegreen::controller::api::{ApiError, ApiServer, Change, Dependents, Resource, Which};
use bluegreen::release::action::Notice;
use serde_json::Value;

use crate::basis::Basis;
use crate::sim::{Sim, lock};
use crate::store::verbs::Gone;

/// The operator gives up waiting after so long, as its real client does.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    /// Of which kind.
    pub resource: Resource,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// What is asked.
    pub request: Request,
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum Request {
    /// GET.
    Get,
    /// LIST.
    List(Which),
    /// POST.
    Create {
        /// The object.
        object: Value,
        /// Whether it is only asked.
        dry_run: bool,
    },
    /// PATCH.
    Patch {
        /// Of the status subresource.
        status: bool,
        /// The change.
        change: Change,
    },
    /// DELETE.
    Delete {
        /// Precondition.
        uid: String,
        /// Precondition.
        version: Option<String>,
        /// What becomes of its dependents.
        dependents: Dependents,
    },
    /// POST of an Event.
    Publish(Notice),
}

impl Call {
    /// Whether something is to change.
    pub fn writes(&self) -> bool {
        !matches!(self.request, Request::Get | Request::List(_) | Request::Create { dry_run: true, .. })
    }

    /// The revision to which traffic is to move, if this puts that on record, in a Service or beside the fence of its ReplicaSet.
    pub fn begins(&self) -> Option<String> {
        let Request::Patch { change, .. } = &self.request else { return None };
        let text = match change {
            Change::Json(body) => {
                let path = format!("/metadata/annotations/{}", keys::SWITCH.replace('/', "~1"));
                crate::json::items(body, "").find(|step| crate::json::text(step, "/path") == path).map(|step| crate::json::text(step, "/value"))
            }
            Change::Merge(body) => crate::json::annotation(body, keys::SWITCH),
        };
        let switch: Value = serde_json::from_str(text?).ok()?;
        Some(crate::json::text(&switch, "/to").to_owned())
    }

    /// The body of a merge patch.
    pub fn merge(&self) -> Option<&Value> {
        match &self.request {
            Request::Patch { change: Change::Merge(body), .. } => Some(body),
            _ => None,
        }
    }
}

/// What comes back.
#[derive(Clone, Debug)]
pub enum Answer {
    /// An object, or none.
    Object(Option<Arc<Value>>),
    /// Objects.
    List(Vec<Arc<Value>>),
    /// Nothing to say.
    Done,
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// Nothing.
    Served,
    /// It is refused before anything is done.
    Refused(ApiError),
    /// It is done, but the answer is an error.
    AnswerLost,
    /// The process ends before it is sent.
    DiesBefore,
    /// It is done, and the process ends before it hears of it.
    DiesAfter,
}

/// How a request travels.
#[derive(Clone, Debug)]
pub struct Travel {
    /// Until it is served.
    pub way: Duration,
    /// Until the answer is there.
    pub back: Duration,
    /// What happens to it.
    pub fate: Fate,
    /// What the process went by.
    pub basis: Arc<Basis>,
}

/// The API server, for one process.
#[derive(Clone)]
pub struct SimApi {
    sim: Weak<Mutex<Sim>>,
    process: usize,
}

impl SimApi {
    /// For a process.
    pub fn new(sim: Weak<Mutex<Sim>>, process: usize) -> Self {
        Self { sim, process }
    }

    async fn ask(&self, call: Call) -> Result<Answer, ApiError> {
        gate(&self.sim, self.process).await;
        let Some(travel) = self.sim.upgrade().map(|sim| lock(&sim).sent(self.process, &call)) else {
            return std::future::pending().await;
        };
        if travel.fate == Fate::DiesBefore {
            return std::future::pending().await;
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        // In a task of its own: what has been sent arrives, whatever becomes of the process.
        let (sim, process) = (self.sim.clone(), self.process);
        tokio::spawn(async move {
            tokio::time::sleep(travel.way).await;
            let Some(answer) = sim.upgrade().map(|sim| lock(&sim).serve(process, &call, &travel)) else { return };
            tokio::time::sleep(travel.back).await;
            tell.send(answer).ok();
        });
        let answer = tokio::time::timeout(PATIENCE, told).await;
        gate(&self.sim, self.process).await;
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => Err(ApiError::Transient("the API server did not answer in 10 s".into())),
        }
    }
}

/// A process that is stopped goes on where it was when it is continued; one that has ended never does.
pub async fn gate(sim: &Weak<Mutex<Sim>>, process: usize) {
    loop {
        let wait = match sim.upgrade() {
            None => None,
            Some(sim) => {
                let sim = lock(&sim);
                match (sim.alive(process), sim.paused_until(process)) {
                    (false, _) => None,
                    (true, None) => return,
                    (true, Some(until)) => Some(sim.start() + until),
                }
            }
        };
        match wait {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }
}

fn call(resource: Resource, namespace: &str, name: &str, request: Request) -> Call {
    Call { resource, namespace: namespace.to_owned(), name: name.to_owned(), request }
}

impl ApiServer for SimApi {
    async fn get(&self, resource: Resource, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        self.ask(call(resource, namespace, name, Request::Get)).await?.found()
    }

    async fn list(&self, resource: Resource, namespace: &str, which: Which) -> Result<Vec<Value>, ApiError> {
        self.ask(call(resource, namespace, "", Request::List(which))).await?.all()
    }

    async fn create(&self, resource: Resource, namespace: &str, new: Value, dry_run: bool) -> Result<Value, ApiError> {
        let name = crate::json::name(&new).to_owned();
        self.ask(call(resource, namespace, &name, Request::Create { object: new, dry_run })).await?.object()
    }

    async fn patch(&self, resource: Resource, namespace: &str, name: &str, status: bool, change: Change) -> Result<Value, ApiError> {
        self.ask(call(resource, namespace, name, Request::Patch { status, change })).await?.object()
    }

    async fn delete(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        (uid, version): (&str, Option<&str>),
        dependents: Dependents,
    ) -> Result<(), ApiError> {
        let request = Request::Delete { uid: uid.to_owned(), version: version.map(str::to_owned), dependents };
        self.ask(call(resource, namespace, name, request)).await.gone()
    }

    async fn log_end(&self, _: &str, _: &str, _: &str) -> Result<String, ApiError> {
        Err(ApiError::NotFound)
    }

    async fn publish(&self, about: &Value, notice: &Notice) -> Result<(), ApiError> {
        let namespace = crate::json::text(about, "/metadata/namespace").to_owned();
        self.ask(call(Resource::Event, &namespace, "", Request::Publish(notice.clone()))).await.map(drop)
    }
}
