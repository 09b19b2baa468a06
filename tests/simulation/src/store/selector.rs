//! Label and field selectors: `key`, `key=value`, joined by commas.

use serde_json::Value;

use crate::json;

/// Whether an object matches a label selector in text form; none matches everything.
pub fn labels(object: &Value, selector: Option<&str>) -> bool {
    terms(selector).all(|(key, value)| match (json::label(object, key), value) {
        (Some(found), Some(value)) => found == value,
        (found, None) => found.is_some(),
        (None, Some(_)) => false,
    })
}

/// Whether an object matches a field selector.
pub fn fields(object: &Value, selector: Option<&str>) -> bool {
    terms(selector).all(|(path, value)| json::text(object, &format!("/{}", path.replace('.', "/"))) == value.unwrap_or_default())
}

/// Whether labels match a Service's or a ReplicaSet's map; an empty map matches nothing.
pub fn map(object: &Value, selector: Option<&Value>) -> bool {
    let Some(selector) = selector.and_then(Value::as_object) else { return false };
    !selector.is_empty() && selector.iter().all(|(key, value)| json::label(object, key) == value.as_str())
}

fn terms(selector: Option<&str>) -> impl Iterator<Item = (&str, Option<&str>)> {
    let parts = selector.unwrap_or_default().split(',').filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').map_or((part, None), |(key, value)| (key, Some(value))))
}
