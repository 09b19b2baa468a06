//! The way to the API server. Every request has a time-out: the client has none for reads.

use std::ffi::OsString;
use std::time::Duration;

use bluegreen::api::{BlueGreenDeployment, BlueGreenDeploymentStatus};
use bluegreen::controller::api::Resource;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::args::Globals;
use crate::failure::{Failure, Result};

/// What this plugin writes as `fieldManager`.
pub const FIELD_MANAGER: &str = "kubectl-bluegreen";
/// Longest time for one request.
const REQUEST: Duration = Duration::from_secs(30);
/// Objects of one page of a list.
const PAGE: u32 = 500;

/// A cluster, and the namespace that is meant.
#[derive(Clone)]
pub struct Cluster {
    /// The client.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
    /// The flags that lead kubectl to the same place.
    pub kubectl: Vec<OsString>,
}

/// What an attempt to change an object came to.
pub enum Changed {
    /// It is done.
    Done,
    /// The object is not what it was when it was read.
    Conflict,
}

impl Cluster {
    /// As kubectl would find it.
    ///
    /// # Errors
    /// If the kubeconfig can't be used.
    pub async fn connect(globals: &Globals) -> Result<Self> {
        let mut config = config(globals).await?;
        config.connect_timeout = Some(REQUEST);
        let namespace = globals.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| Failure::Kubeconfig(error.to_string()))?;
        Ok(Self { client, kubectl: kubectl_flags(globals, &namespace), namespace })
    }

    /// The objects of a kind in the namespace.
    pub fn api(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, resource)
    }

    /// A BlueGreenDeployment as the API server has it.
    ///
    /// # Errors
    /// If there is none of that name, or it can't be read.
    pub async fn raw(&self, name: &str) -> Result<Value> {
        let found = self.get(Resource::BlueGreenDeployment, name).await?;
        found.ok_or_else(|| Failure::NoObject { name: name.into(), namespace: self.namespace.clone() })
    }

    /// A BlueGreenDeployment.
    ///
    /// # Errors
    /// As [`Self::raw`].
    pub async fn object(&self, name: &str) -> Result<BlueGreenDeployment> {
        read(self.raw(name).await?)
    }

    /// Any object; `None` where there is none of that name.
    ///
    /// # Errors
    /// If it can't be read.
    pub async fn get(&self, resource: Resource, name: &str) -> Result<Option<Value>> {
        self.find(&resource.api_resource(), name).await
    }

    /// Any object of any kind; `None` where there is none of that name.
    ///
    /// # Errors
    /// If it can't be read.
    pub async fn find(&self, kind: &ApiResource, name: &str) -> Result<Option<Value>> {
        let doing = || format!("{} \"{name}\" could not be read", kind.kind);
        within(doing(), self.api(kind).get_opt(name)).await?.map(value).transpose()
    }

    /// All objects of a kind in a namespace (all of them for `None`), page by page.
    ///
    /// # Errors
    /// If they can't be read.
    pub async fn list<T: DeserializeOwned>(&self, resource: Resource, namespace: Option<&str>, labels: Option<&str>) -> Result<Vec<T>> {
        self.list_kind(&resource.api_resource(), namespace, labels).await
    }

    /// All objects of any kind.
    ///
    /// # Errors
    /// If they can't be read.
    pub async fn list_kind<T: DeserializeOwned>(&self, kind: &ApiResource, namespace: Option<&str>, labels: Option<&str>) -> Result<Vec<T>> {
        let doing = || format!("the {} could not be listed", kind.plural);
        let url = <DynamicObject as kube::Resource>::url_path(kind, namespace);
        let mut all = vec![];
        let mut token = None;
        loop {
            let parameters =
                ListParams { label_selector: labels.map(str::to_owned), limit: Some(PAGE), continue_token: token.take(), ..ListParams::default() };
            let request = kube::core::Request::new(&url).list(&parameters).map_err(|error| failed(doing(), error.to_string()))?;
            let page: Page<T> = within(doing(), self.client.request(request)).await?;
            all.extend(page.items);
            token = page.metadata.token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(all);
            }
        }
    }

    /// Changes a BlueGreenDeployment. The patch carries what guards it.
    ///
    /// # Errors
    /// If the API server refuses, or does not answer.
    pub async fn patch(&self, name: &str, patch: Patch<Value>) -> Result<Changed> {
        self.change(&Resource::BlueGreenDeployment.api_resource(), name, patch).await
    }

    /// Changes an object of any kind. The patch carries what guards it.
    ///
    /// # Errors
    /// If the API server refuses, or does not answer.
    pub async fn change(&self, kind: &ApiResource, name: &str, patch: Patch<Value>) -> Result<Changed> {
        self.changed(kind, name, patch, false).await
    }

    /// Whether an object could be changed so.
    ///
    /// # Errors
    /// If the API server refuses, or does not answer.
    pub async fn dry_change(&self, kind: &ApiResource, name: &str, patch: Value) -> Result<Changed> {
        self.changed(kind, name, Patch::Merge(patch), true).await
    }

    async fn changed(&self, kind: &ApiResource, name: &str, patch: Patch<Value>, dry_run: bool) -> Result<Changed> {
        let guarded_by_test = matches!(patch, Patch::Json(_));
        let parameters = PatchParams { dry_run, field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        match timed(self.api(kind).patch(name, &parameters, &patch)).await {
            Ok(_) => Ok(Changed::Done),
            // One that is gone is read again as well.
            Err(Refusal::Api(status)) if status.code == 409 || status.code == 404 => Ok(Changed::Conflict),
            // A JSON patch whose test fails; what the API server holds for invalid has causes.
            Err(Refusal::Api(status))
                if guarded_by_test && status.code == 422 && status.details.as_ref().is_none_or(|details| details.causes.is_empty()) =>
            {
                Ok(Changed::Conflict)
            }
            Err(refusal) => Err(failed(format!("{} \"{name}\" could not be changed", kind.kind), refusal.words())),
        }
    }

    /// Makes an object, with misspelt fields refused.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn create(&self, kind: &ApiResource, object: &Value) -> std::result::Result<Value, Refusal> {
        self.strictly(kind, false, |request, parameters| request.create(parameters, object.to_string().into_bytes())).await
    }

    /// Deletes an object without what it owns, as it was when it was read.
    ///
    /// # Errors
    /// If the API server refuses, or does not answer.
    pub async fn delete_alone(&self, kind: &ApiResource, object: &Value) -> Result<Changed> {
        let text = |field: &str| object.pointer(&format!("/metadata/{field}")).and_then(Value::as_str).map(str::to_owned);
        let name = text("name").unwrap_or_default();
        let preconditions = Some(Preconditions { uid: text("uid"), resource_version: text("resourceVersion") });
        let parameters = DeleteParams { preconditions, ..DeleteParams::orphan() };
        match timed(self.api(kind).delete(&name, &parameters)).await {
            Ok(_) => Ok(Changed::Done),
            Err(Refusal::Api(status)) if status.code == 409 || status.code == 404 => Ok(Changed::Conflict),
            Err(refusal) => Err(failed(format!("{} \"{name}\" could not be deleted", kind.kind), refusal.words())),
        }
    }

    /// What the API server would make of a new object, with misspelt fields refused.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn dry_create(&self, kind: &ApiResource, object: &Value) -> std::result::Result<Value, Refusal> {
        self.strictly(kind, true, |request, parameters| request.create(parameters, object.to_string().into_bytes())).await
    }

    /// What the API server would make of an object that replaces one, with misspelt fields refused.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn dry_replace(&self, kind: &ApiResource, name: &str, object: &Value) -> std::result::Result<Value, Refusal> {
        self.strictly(kind, true, |request, parameters| request.replace(name, parameters, object.to_string().into_bytes())).await
    }

    async fn strictly(
        &self,
        kind: &ApiResource,
        dry_run: bool,
        make: impl FnOnce(&kube::core::Request, &PostParams) -> std::result::Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> std::result::Result<Value, Refusal> {
        let parameters = PostParams { dry_run, field_manager: Some(FIELD_MANAGER.into()) };
        let url = <DynamicObject as kube::Resource>::url_path(kind, Some(&self.namespace));
        let mut request = make(&kube::core::Request::new(url), &parameters).map_err(|error| Refusal::Other(error.to_string()))?;
        // kube's PostParams don't know it. There is a field manager before it, always.
        let strict = format!("{}&fieldValidation=Strict", request.uri());
        *request.uri_mut() = strict.parse().map_err(|error: http::uri::InvalidUri| Refusal::Other(error.to_string()))?;
        timed(self.client.request::<Value>(request)).await
    }
}

/// A page of a list, with as much of each object as is asked for.
#[derive(Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: PageMeta,
    items: Vec<T>,
}

#[derive(Deserialize, Default)]
struct PageMeta {
    #[serde(default, rename = "continue")]
    token: Option<String>,
}

/// Why a request failed.
pub enum Refusal {
    /// The API server's own words.
    Api(Box<kube::core::Status>),
    /// Anything else.
    Other(String),
}

impl Refusal {
    /// In a sentence.
    pub fn words(&self) -> String {
        match self {
            Self::Api(status) if status.message.is_empty() => format!("the API server answered {}", status.code),
            Self::Api(status) => status.message.clone(),
            Self::Other(words) => words.clone(),
        }
    }
}

/// Makes a request, and waits only so long.
///
/// # Errors
/// If it fails, or there is no answer in time.
pub async fn timed<T>(request: impl Future<Output = std::result::Result<T, kube::Error>>) -> std::result::Result<T, Refusal> {
    match tokio::time::timeout(REQUEST, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(Refusal::Api(status)),
        Ok(Err(error)) => Err(Refusal::Other(innermost(&error))),
        Err(_) => Err(Refusal::Other(format!("the API server did not answer in {} s", REQUEST.as_secs()))),
    }
}

async fn within<T>(doing: String, request: impl Future<Output = std::result::Result<T, kube::Error>>) -> Result<T> {
    timed(request).await.map_err(|refusal| failed(doing, refusal.words()))
}

/// An error with what is behind it, which says most: the outer ones only say that a service failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_words = inner.to_string();
        if !words.contains(&inner_words) {
            words = format!("{words}: {inner_words}");
        }
        source = inner.source();
    }
    words
}

/// Something that was refused or not answered.
pub fn failed(doing: impl Into<String>, words: impl Into<String>) -> Failure {
    Failure::Api { doing: doing.into(), words: words.into() }
}

/// An object as JSON.
pub fn value(object: DynamicObject) -> Result<Value> {
    serde_json::to_value(object).map_err(|error| Failure::Unreadable { what: "an answer".into(), error: error.to_string() })
}

/// Reads a BlueGreenDeployment, without what is only shown where an older CustomResourceDefinition has cut it.
///
/// # Errors
/// If it is none.
pub fn read(mut object: Value) -> Result<BlueGreenDeployment> {
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        BlueGreenDeploymentStatus::readable(status);
    }
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    serde_json::from_value(object).map_err(|error| Failure::Unreadable { what: format!("BlueGreenDeployment \"{name}\""), error: error.to_string() })
}

async fn config(globals: &Globals) -> Result<Config> {
    let said = |error: kube::config::KubeconfigError| Failure::Kubeconfig(innermost(&error));
    let options = KubeConfigOptions { context: globals.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &globals.kubeconfig {
        return Config::from_custom_kubeconfig(Kubeconfig::read_from(path).map_err(said)?, &options).await.map_err(said);
    }
    match Config::from_kubeconfig(&options).await {
        Ok(config) => Ok(config),
        // As kubectl does in a pod, where there is no kubeconfig.
        Err(error) if globals.context.is_none() => Config::incluster().map_err(|_| said(error)),
        Err(error) => Err(said(error)),
    }
}

fn kubectl_flags(globals: &Globals, namespace: &str) -> Vec<OsString> {
    let mut flags = vec![OsString::from("--namespace"), namespace.into()];
    if let Some(context) = &globals.context {
        flags.extend([OsString::from("--context"), context.into()]);
    }
    if let Some(kubeconfig) = &globals.kubeconfig {
        flags.extend([OsString::from("--kubeconfig"), kubeconfig.into()]);
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_is_led_to_the_same_place() {
        let globals = Globals { context: Some("c".into()), kubeconfig: Some("/k".into()), ..Globals::default() };
        assert_eq!(kubectl_flags(&globals, "shops"), ["--namespace", "shops", "--context", "c", "--kubeconfig", "/k"]);
        assert_eq!(kubectl_flags(&Globals::default(), "default"), ["--namespace", "default"]);
    }

    #[test]
    fn a_page_reads_only_what_is_asked_for() {
        #[derive(Deserialize)]
        struct Name {
            name: String,
        }
        let text = r#"{"metadata": {"continue": "next", "resourceVersion": "1"}, "items": [{"name": "a", "more": [1, 2]}]}"#;
        let page: Page<Name> = serde_json::from_str(text).unwrap();
        assert_eq!((page.metadata.token.as_deref(), page.items[0].name.as_str()), (Some("next"), "a"));
        let last: Page<Name> = serde_json::from_str(r#"{"metadata": {}, "items": []}"#).unwrap();
        assert!(last.metadata.token.is_none() && last.items.is_empty());
    }
}
