//! How two JSON values differ, path by path.

use serde::Serialize;
use serde_json::Value;

/// A place where two values differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Where, as in `spec.containers[0].image`.
    pub path: String,
    /// What stood there; absent where nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// What stands there; absent where nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

/// All places where they differ.
pub fn between(old: &Value, new: &Value) -> Vec<Change> {
    let mut found = vec![];
    compare(String::new(), Some(old), Some(new), &mut found);
    found
}

fn compare(path: String, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Change>) {
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let keys = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
            keys.for_each(|key| compare(below(&path, key), old.get(key), new.get(key), found));
        }
        // What was put in between would make all that follows differ: the list as a whole says more.
        (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() => {
            let pairs = old.iter().zip(new).enumerate();
            pairs.for_each(|(index, (old, new))| compare(format!("{path}[{index}]"), Some(old), Some(new), found));
        }
        _ if old == new => {}
        _ => found.push(Change { path, old: old.cloned(), new: new.cloned() }),
    }
}

/// A key that has dots or slashes, such as that of an annotation, is quoted.
fn below(path: &str, key: &str) -> String {
    let plain = key.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-');
    match (path, plain) {
        (_, false) => format!("{path}[\"{key}\"]"),
        ("", true) => key.to_owned(),
        (_, true) => format!("{path}.{key}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_place_that_differs_is_told_with_what_stood_there() {
        let old = json!({"a": {"x": 1, "gone": true}, "list": [{"image": "v1"}, {"image": "w"}], "more": [1], "same": [1, 2]});
        let new = json!({"a": {"x": 2, "example.com/x": "y"}, "list": [{"image": "v2"}, {"image": "w"}], "more": [0, 1], "same": [1, 2]});
        let told: Vec<Value> = between(&old, &new).iter().map(|change| serde_json::to_value(change).unwrap()).collect();
        assert_eq!(
            told,
            [
                json!({"path": "a.gone", "old": true}),
                json!({"path": "a.x", "old": 1, "new": 2}),
                json!({"path": "a[\"example.com/x\"]", "new": "y"}),
                json!({"path": "list[0].image", "old": "v1", "new": "v2"}),
                json!({"path": "more", "old": [1], "new": [0, 1]}),
            ]
        );
        assert!(between(&new, &new).is_empty());
    }
}
