//! Patches, as the operator sends them: RFC 7386 (merge), and of RFC 6902 what it uses.

use serde_json::{Map, Value};

/// RFC 7386.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// RFC 6902: `test`, `add`, `replace` and `remove` of members of objects. An error says which operation failed.
pub fn json(target: &mut Value, patch: &Value) -> Result<(), String> {
    for operation in patch.as_array().into_iter().flatten() {
        let text = |key: &str| operation.get(key).and_then(Value::as_str).unwrap_or_default();
        let (what, path) = (text("op"), text("path"));
        let Some((parent, last)) = path.rsplit_once('/') else {
            return Err(format!("{what} of {path}"));
        };
        let last = last.replace("~1", "/").replace("~0", "~");
        let parent = target.pointer_mut(parent).and_then(Value::as_object_mut).ok_or_else(|| format!("{what}: {path} has no parent"))?;
        let value = operation.get("value").cloned().unwrap_or(Value::Null);
        let done = match what {
            // What is not there equals null, as in the API server's library.
            "test" => *parent.get(&last).unwrap_or(&Value::Null) == value,
            "add" => {
                parent.insert(last, value);
                true
            }
            "replace" => parent.insert(last, value).is_some(),
            "remove" => parent.remove(&last).is_some(),
            _ => false,
        };
        if !done {
            return Err(format!("{what} of {path}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_removes_and_the_rest_is_merged() {
        let mut target = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        merge(&mut target, &json!({"a": {"b": null, "e": 3}, "d": [2]}));
        assert_eq!(target, json!({"a": {"c": 2, "e": 3}, "d": [2]}));
    }

    #[test]
    fn a_test_that_fails_is_told() {
        let mut target = json!({"metadata": {"annotations": {"x/y": "1"}}});
        let remove =
            json!([{"op": "test", "path": "/metadata/annotations/x~1y", "value": "1"}, {"op": "remove", "path": "/metadata/annotations/x~1y"}]);
        assert!(json(&mut target, &remove).is_ok());
        assert_eq!(target, json!({"metadata": {"annotations": {}}}));
        assert!(json(&mut target, &remove).is_err());
        let absent = json!([{"op": "test", "path": "/metadata/deletionTimestamp", "value": null}]);
        assert!(json(&mut target, &absent).is_ok());
        assert!(json(&mut json!({"metadata": {"deletionTimestamp": "now"}}), &absent).is_err());
    }
}
