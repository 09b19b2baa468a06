//! The verbs of the API server over the store, without anything that may happen on the way.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bluegreen::controller::api::{ApiError, ApiServer, Change, Dependents, FIELD_MANAGER, Resource, Which};
use bluegreen::release::action::Notice;
use serde_json::Value;

use super::{Manager, Store, selector};
use crate::controller::api::{Answer, Call, Request};
use crate::fidelity::NOWHERE;
use crate::json;

impl Store {
    /// Does what is asked. Of an Event nothing is kept.
    ///
    /// # Errors
    /// As the API server answers.
    pub fn answer(&mut self, call: &Call, now: Duration) -> Result<Answer, ApiError> {
        let Call { resource, namespace, name, request } = call;
        let (resource, place) = (*resource, (namespace.as_str(), name.as_str()));
        let object = match request {
            Request::Get => return Ok(Answer::Object(self.get(resource, namespace, name).cloned())),
            Request::List(which) => {
                let found = self.all(resource).filter(|object| namespace.is_empty() || json::text(object, "/metadata/namespace") == namespace);
                let found =
                    found.filter(|object| selector::labels(object, which.labels.as_deref()) && selector::fields(object, which.fields.as_deref()));
                let limit = which.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
                return Ok(Answer::List(found.take(limit).cloned().collect()));
            }
            Request::Publish(_) => return Ok(Answer::Done),
            Request::Create { object, dry_run } => self.create(resource, namespace, object.clone(), *dry_run, now)?,
            Request::Patch { status, change } => self.patch(resource, place, *status, change, Manager::updates(FIELD_MANAGER), now)?,
            Request::Delete { uid, version, dependents } => self.delete(resource, place, (Some(uid), version.as_deref()), *dependents, now)?,
        };
        Ok(Answer::Object(Some(object)))
    }
}

/// A store that answers at once, always.
#[derive(Debug)]
pub struct Prompt(Mutex<Store>);

impl Default for Prompt {
    fn default() -> Self {
        Self(Mutex::new(Store { absent: [NOWHERE.to_owned()].into(), ..Store::default() }))
    }
}

impl Prompt {
    fn ask(&self, resource: Resource, namespace: &str, name: &str, request: Request) -> Result<Answer, ApiError> {
        let call = Call { resource, namespace: namespace.to_owned(), name: name.to_owned(), request };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).answer(&call, Duration::ZERO)
    }
}

impl ApiServer for Prompt {
    async fn get(&self, resource: Resource, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        self.ask(resource, namespace, name, Request::Get)?.found()
    }

    async fn list(&self, resource: Resource, namespace: &str, which: Which) -> Result<Vec<Value>, ApiError> {
        self.ask(resource, namespace, "", Request::List(which))?.all()
    }

    async fn create(&self, resource: Resource, namespace: &str, object: Value, dry_run: bool) -> Result<Value, ApiError> {
        let name = json::name(&object).to_owned();
        self.ask(resource, namespace, &name, Request::Create { object, dry_run })?.object()
    }

    async fn patch(&self, resource: Resource, namespace: &str, name: &str, status: bool, change: Change) -> Result<Value, ApiError> {
        self.ask(resource, namespace, name, Request::Patch { status, change })?.object()
    }

    async fn delete(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        (uid, version): (&str, Option<&str>),
        dependents: Dependents,
    ) -> Result<(), ApiError> {
        self.ask(resource, namespace, name, Request::Delete { uid: uid.to_owned(), version: version.map(str::to_owned), dependents }).gone()
    }

    async fn log_end(&self, _: &str, _: &str, _: &str) -> Result<String, ApiError> {
        Err(ApiError::NotFound)
    }

    async fn publish(&self, _: &Value, _: &Notice) -> Result<(), ApiError> {
        Ok(())
    }
}

/// An answer as the trait has it.
impl Answer {
    /// One object, or none.
    pub(crate) fn found(self) -> Result<Option<Value>, ApiError> {
        match self {
            Self::Object(found) => Ok(found.map(|object| (*object).clone())),
            _ => Ok(None),
        }
    }

    /// One object.
    pub(crate) fn object(self) -> Result<Value, ApiError> {
        self.found()?.ok_or(ApiError::NotFound)
    }

    /// Objects.
    pub(crate) fn all(self) -> Result<Vec<Value>, ApiError> {
        match self {
            Self::List(found) => Ok(found.iter().map(|object| (**object).clone()).collect()),
            _ => Ok(vec![]),
        }
    }
}

/// What has gone already is deleted.
pub(crate) trait Gone {
    /// As the trait has it.
    fn gone(self) -> Result<(), ApiError>;
}

impl Gone for Result<Answer, ApiError> {
    fn gone(self) -> Result<(), ApiError> {
        match self {
            Ok(_) | Err(ApiError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
