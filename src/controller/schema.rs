//! Whether the installed CustomResourceDefinitions hold what this build writes. An older one drops fields without a word, and with them
//! what has to be remembered: better not to begin.

use std::time::Duration;

use kube::Client;
use serde_json::Value;
use tokio::sync::Notify;

use super::ControllerError;

/// For how long a definition may be missing at the start: the API server publishes one some moments after it was applied.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks.
const AGAIN: Duration = Duration::from_secs(1);
/// Where the API server publishes the schemas; everybody who is authenticated may read them.
const SCHEMAS: &str = "/openapi/v3/apis/bluegreen.dev/v1alpha1";
/// What is named of all that is missing.
const NAMED: usize = 3;

/// What the installed definitions must hold: whatever the operator itself writes. Fields of a spec are for those who write specs.
#[derive(Clone, Debug, Default)]
pub struct Needs(Vec<Need>);

#[derive(Clone, Debug)]
struct Need {
    kind: String,
    part: &'static str,
    schema: Value,
}

impl Needs {
    /// What a build needs whose definitions are these, as [`crate::api::crds`] gives them.
    pub fn of(crds: &[Value]) -> Self {
        let needs = crds.iter().flat_map(|crd| {
            let kind = crd.pointer("/spec/names/kind").and_then(Value::as_str).unwrap_or_default().to_owned();
            // A ConnectionWatch is the operator's own as a whole.
            let parts: &[&'static str] = if kind == "ConnectionWatch" { &["spec", "status"] } else { &["status"] };
            let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties");
            parts.iter().filter_map(move |part| Some(Need { kind: kind.clone(), part, schema: schema?.get(part)?.clone() })).collect::<Vec<_>>()
        });
        Self(needs.collect())
    }

    /// What `published`, an OpenAPI document, lacks: paths of fields, and of values of fields.
    pub fn missing(&self, published: &Value) -> Vec<String> {
        let mut missing = vec![];
        for Need { kind, part, schema } in &self.0 {
            let path = format!("{kind}.{part}");
            match installed(published, kind).and_then(|installed| installed.get("properties")?.get(part)) {
                Some(installed) => compare(schema, installed, &path, &mut missing),
                None => missing.push(path),
            }
        }
        missing
    }
}

/// The schema of a kind in an OpenAPI document.
fn installed<'a>(published: &'a Value, kind: &str) -> Option<&'a Value> {
    let is_kind = |schema: &&Value| {
        let kinds = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
        kinds.is_some_and(|kinds| kinds.iter().any(|named| named.get("kind").and_then(Value::as_str) == Some(kind)))
    };
    published.pointer("/components/schemas")?.as_object()?.values().find(is_kind)
}

fn compare(needed: &Value, installed: &Value, path: &str, missing: &mut Vec<String>) {
    for (name, field) in needed.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = format!("{path}.{name}");
        match installed.get("properties").and_then(|fields| fields.get(name)) {
            Some(installed) => compare(field, installed, &path, missing),
            None => missing.push(path),
        }
    }
    for (inner, mark) in [("items", "[]"), ("additionalProperties", ".*")] {
        if let (Some(needed), Some(installed)) = (needed.get(inner), installed.get(inner)) {
            compare(needed, installed, &format!("{path}{mark}"), missing);
        }
    }
    let known = installed.get("enum").and_then(Value::as_array);
    for value in needed.get("enum").and_then(Value::as_array).into_iter().flatten() {
        if known.is_some_and(|known| !known.contains(value)) {
            missing.push(format!("{path}={}", value.as_str().unwrap_or_default()));
        }
    }
}

/// What of `wrote` is not in `answer`: the path of the first field that the API server dropped.
pub fn dropped(wrote: &Value, answer: &Value, path: &str) -> Option<String> {
    match (wrote, answer) {
        (Value::Object(wrote), Value::Object(answer)) => wrote.iter().filter(|(_, value)| !value.is_null()).find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match answer.get(name) {
                Some(answer) => dropped(value, answer, &path),
                None => Some(path),
            }
        }),
        (Value::Array(wrote), Value::Array(answer)) if wrote.len() == answer.len() => {
            wrote.iter().zip(answer).find_map(|(wrote, answer)| dropped(wrote, answer, &format!("{path}[]")))
        }
        _ => None,
    }
}

/// Makes sure that the installed definitions hold all that is needed. Where they can't be read, that is logged, and it goes on: what is
/// dropped is noticed at the first write.
///
/// # Errors
/// If something is still missing after `patience`.
pub async fn check(client: &Client, needs: &Needs, patience: Duration) -> Result<(), ControllerError> {
    let begun = tokio::time::Instant::now();
    loop {
        let missing = match published(client).await {
            Ok(published) => needs.missing(&published),
            // It may be busy, or not up yet.
            Err(_) if begun.elapsed() < patience => {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "the schemas of the installed CustomResourceDefinitions could not be read; going on without knowing whether they are older than this operator");
                return Ok(());
            }
        };
        if missing.is_empty() {
            return Ok(());
        }
        if begun.elapsed() >= patience {
            return Err(ControllerError::OlderCrds(sentence(&missing)));
        }
        tracing::warn!(
            missing = sentence(&missing),
            "the installed CustomResourceDefinitions are older than this operator; looking again in a second"
        );
        tokio::time::sleep(AGAIN).await;
    }
}

/// Comes back when older definitions have been put under a running controller. `dropped` tells that a write came back with less than was written.
pub async fn watch(client: &Client, needs: &Needs, dropped: &Notify) -> ControllerError {
    loop {
        dropped.notified().await;
        if let Err(older) = check(client, needs, AGAIN).await {
            return older;
        }
        // What the build does not need may be dropped at every write.
        tokio::time::sleep(PATIENCE).await;
    }
}

/// What the API server publishes of this group; nothing where there are no such definitions.
async fn published(client: &Client) -> Result<Value, String> {
    let request = http::Request::get(SCHEMAS).body(vec![]).map_err(|error| error.to_string())?;
    match tokio::time::timeout(Duration::from_secs(10), client.request::<Value>(request)).await {
        Ok(Ok(published)) => Ok(published),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(Value::Null),
        Ok(Err(kube::Error::Api(status))) => Err(status.message.clone()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".into()),
    }
}

fn sentence(missing: &[String]) -> String {
    let more = missing.len().saturating_sub(NAMED);
    let named = missing.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{named} and {more} more") } else { named }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;

    /// The OpenAPI document of these definitions.
    fn publish(crds: &[Value]) -> Value {
        let schemas: serde_json::Map<String, Value> = crds
            .iter()
            .map(|crd| {
                let mut schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap().clone();
                let kind = crd["spec"]["names"]["kind"].as_str().unwrap().to_owned();
                schema["x-kubernetes-group-version-kind"] = json!([{"group": "bluegreen.dev", "kind": kind, "version": "v1alpha1"}]);
                (format!("dev.bluegreen.v1alpha1.{kind}"), schema)
            })
            .collect();
        json!({"components": {"schemas": schemas}})
    }

    fn without(pointer: &str, name: &str) -> Vec<String> {
        let crds = crate::api::crds().unwrap();
        let mut published = publish(&crds);
        let place = published.pointer_mut(&format!("/components/schemas/dev.bluegreen.v1alpha1.{pointer}")).unwrap();
        match place {
            Value::Array(values) => values.retain(|value| value != name),
            other => drop(other.as_object_mut().unwrap().remove(name).unwrap()),
        }
        Needs::of(&crds).missing(&published)
    }

    #[test]
    fn a_build_is_content_with_its_own_definitions_and_with_newer_ones() {
        let crds = crate::api::crds().unwrap();
        let mut published = publish(&crds);
        let needs = Needs::of(&crds);
        assert_eq!(needs.missing(&published), Vec::<String>::new());
        let place = "/components/schemas/dev.bluegreen.v1alpha1.BlueGreenDeployment/properties/status/properties";
        published.pointer_mut(place).unwrap()["later"] = json!({"type": "string"});
        assert_eq!(needs.missing(&published), Vec::<String>::new());
    }

    #[test]
    fn what_an_older_definition_lacks_is_named() {
        let status = "BlueGreenDeployment/properties/status/properties";
        assert_eq!(without(&format!("{status}/switch/properties"), "attempt"), ["BlueGreenDeployment.status.switch.attempt"]);
        assert_eq!(without(&format!("{status}/draining/items/properties"), "pods"), ["BlueGreenDeployment.status.draining[].pods"]);
        assert_eq!(without("ConnectionWatch/properties/spec/properties", "pods"), ["ConnectionWatch.spec.pods"]);
        assert_eq!(without(&format!("{status}/phase/enum"), "Converge"), ["BlueGreenDeployment.status.phase=Converge"]);
        // What users may write is not the operator's.
        assert_eq!(without("BlueGreenDeployment/properties/spec/properties", "paused"), Vec::<String>::new());
    }

    #[test]
    fn without_any_definitions_all_of_them_are_missing() {
        let needs = Needs::of(&crate::api::crds().unwrap());
        assert_eq!(needs.missing(&Value::Null), ["BlueGreenDeployment.status", "ConnectionWatch.spec", "ConnectionWatch.status"]);
        assert_eq!(sentence(&["a".into(), "b".into(), "c".into(), "d".into()]), "a, b, c and 1 more");
    }

    #[test]
    fn what_an_answer_lacks_was_dropped() {
        let wrote = json!({"switch": {"to": "a", "ports": ["1"]}, "draining": [{"pods": 1, "since": "t"}], "none": null});
        assert_eq!(dropped(&wrote, &wrote, "status"), None);
        let answer = json!({"switch": {"to": "a"}, "draining": [{"pods": 1, "since": "t"}]});
        assert_eq!(dropped(&wrote, &answer, "status"), Some("status.switch.ports".into()));
        let answer = json!({"switch": {"to": "a", "ports": ["1"]}, "draining": [{"pods": 1}], "later": 1});
        assert_eq!(dropped(&wrote, &answer, "status"), Some("status.draining[].since".into()));
    }
}
