//! Reading objects.

use bluegreen::api::keys;
use serde_json::{Map, Value};

/// A string at a JSON pointer; empty where there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A whole number at a JSON pointer; 0 where there is none.
pub fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// Whether there is a `true` at a JSON pointer.
pub fn truth(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// A member of a map at a JSON pointer, for keys that hold slashes.
pub fn member<'a>(object: &'a Value, pointer: &str, key: &str) -> Option<&'a str> {
    object.pointer(pointer)?.get(key)?.as_str()
}

/// The revision that a Service, or a write of one, selects: of two that serve together the one that comes.
pub fn selects(service: &Value) -> Option<&str> {
    let both = member(service, "/spec/selector", keys::SERVING).and_then(|serving| serving.rsplit_once('.'));
    both.map(|(revision, _)| revision).or_else(|| member(service, "/spec/selector", keys::REVISION))
}

/// Whether a Service leads to two revisions that serve together.
pub fn overlaps(service: &Value) -> bool {
    member(service, "/spec/selector", keys::SERVING).is_some()
}

/// A label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    member(object, "/metadata/labels", key)
}

/// An annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    member(object, "/metadata/annotations", key)
}

/// The items of an array at a JSON pointer.
pub fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The UID of the controlling owner.
pub fn controller(object: &Value) -> Option<&str> {
    items(object, "/metadata/ownerReferences")
        .find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))
        .and_then(|owner| owner.get("uid")?.as_str())
}

/// The status of a condition.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(object, "/status/conditions").find(|condition| text(condition, "/type") == kind)
}

/// Whether a pod has the condition Ready.
pub fn ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|condition| text(condition, "/status") == "True")
}

/// Whether a pod is neither being deleted nor over.
pub fn alive(pod: &Value) -> bool {
    pod.pointer("/metadata/deletionTimestamp").is_none() && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// The member of an object, made where it is missing.
pub fn object<'a>(of: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    let map = of.as_object_mut()?;
    let member = map.entry(key.to_owned()).or_insert_with(|| Value::Object(Map::new()));
    if member.is_null() {
        *member = Value::Object(Map::new());
    }
    member.as_object_mut()
}

/// Sets a member two levels down, such as `metadata.labels`.
pub fn set(of: &mut Value, outer: &str, key: &str, value: Value) {
    if let Some(map) = object(of, outer) {
        map.insert(key.to_owned(), value);
    }
}
