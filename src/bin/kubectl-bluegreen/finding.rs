//! What `check` found, as data: a sentence, and the field that it is about.

use serde::Serialize;

/// Something that is to be said about a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The field's path, where the sentence has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The whole sentence, as people are told.
    pub message: String,
}

/// What was found out about one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// What is wrong.
    pub mistakes: Vec<Finding>,
    /// What is to be known, though nothing may be wrong.
    pub notes: Vec<Finding>,
}

impl From<&String> for Finding {
    fn from(message: &String) -> Self {
        Self { field: field(message).map(str::to_owned), message: message.clone() }
    }
}

/// The API server and the operator begin a sentence with the path that it is about; of a field that it does not know, the API server says
/// the path in quotes.
fn field(message: &str) -> Option<&str> {
    let quoted = message.strip_prefix("unknown field \"").or_else(|| message.strip_prefix("duplicate field \""));
    let path = quoted.map_or_else(|| message.split_once(": "), |rest| rest.split_once('"'))?.0;
    // A key of a map may hold what it likes, behind the name of the map.
    let first = path.split(['.', '[']).next().unwrap_or_default();
    (["apiVersion", "kind", "metadata", "spec"].contains(&first) && !path.contains(' ')).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_that_at_the_beginning_of_the_sentence() {
        let missing = "spec.traffic.services[1]: Service \"shp\" does not exist in this namespace; create it (ServiceMissing)";
        assert_eq!(field(missing), Some("spec.traffic.services[1]"));
        assert_eq!(field("unknown field \"spec.template.spec.containers[0].imagee\""), Some("spec.template.spec.containers[0].imagee"));
        assert_eq!(field("spec.selector: Invalid value: {\"a\": 1}: must not change"), Some("spec.selector"));
        assert_eq!(field("admission webhook \"x\" denied the request: no"), None);
        assert_eq!(field("spec.template was not tried as a ReplicaSet: no right"), None);
        assert_eq!(field("the template is a new revision: the first one"), None);
        let found = Finding::from(&missing.to_owned());
        assert_eq!((found.field.as_deref(), found.message.as_str()), (Some("spec.traffic.services[1]"), missing));
    }
}
