//! The schema of `spec.template`: the whole pod template, small enough for plain `kubectl apply`.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Lists that merge by key under server-side apply, as the API server's own schema of PodTemplateSpec has them.
pub const LIST_MAPS: &[(&str, &[&str])] = &[
    ("claims", &["name"]),
    ("containers", &["name"]),
    ("env", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("hostAliases", &["ip"]),
    ("imagePullSecrets", &["name"]),
    ("initContainers", &["name"]),
    ("ports", &["containerPort", "protocol"]),
    ("resourceClaims", &["name"]),
    ("schedulingGates", &["name"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("volumeDevices", &["devicePath"]),
    ("volumeMounts", &["mountPath"]),
    ("volumes", &["name"]),
];

/// Keys of `template.metadata` that a Deployment's template may have a use for; without the declaration they would be pruned.
const METADATA: [&str; 3] = ["labels", "annotations", "creationTimestamp"];

/// The OpenAPI schema of a pod template, made structural for a CRD:
/// first sentences only, list types added, quantities of any JSON type, labels bounded so that CEL may read them.
pub fn pod_template_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = PodTemplateSpec::json_schema(generator).to_value();
    walk(&mut schema);
    if let Some(metadata) = schema.pointer_mut("/properties/metadata/properties").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| METADATA.contains(&key.as_str()));
        // `kubectl create --dry-run=client -o yaml` writes `creationTimestamp: null`, which server-side apply would refuse.
        if let Some(Value::Object(timestamp)) = metadata.get_mut("creationTimestamp") {
            timestamp.insert("nullable".into(), json!(true));
        }
        if let Some(Value::Object(labels)) = metadata.get_mut("labels") {
            labels.insert("maxProperties".into(), json!(64));
            labels.insert("additionalProperties".into(), json!({"type": "string", "maxLength": 63}));
        }
    }
    Schema::try_from(schema).unwrap_or_default()
}

fn walk(value: &mut Value) {
    let Some(object) = value.as_object_mut() else {
        return;
    };
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text = first_sentence(text);
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for (name, property) in properties.iter_mut() {
            walk(property);
            if let Value::Object(property) = property {
                type_list(name, property);
                if name == "limits" || name == "requests" {
                    accept_any_quantity(property);
                }
            }
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            walk(inner);
        }
    }
}

fn type_list(name: &str, property: &mut Map<String, Value>) {
    if property.get("type") != Some(&json!("array")) {
        return;
    }
    let Some((_, keys)) = LIST_MAPS.iter().find(|(list, _)| *list == name) else {
        property.insert("x-kubernetes-list-type".into(), json!("atomic"));
        return;
    };
    property.insert("x-kubernetes-list-type".into(), json!("map"));
    property.insert("x-kubernetes-list-map-keys".into(), json!(keys));
    // A key of a list map must be required or have a default.
    let optional_key = match name {
        "ports" => Some(("protocol", "TCP")),
        "imagePullSecrets" => Some(("name", "")),
        _ => None,
    };
    if let Some((key, default)) = optional_key
        && let Some(Value::Object(field)) = property.get_mut("items").and_then(|items| items.pointer_mut(&format!("/properties/{key}")))
    {
        field.insert("default".into(), json!(default));
    }
}

/// A Deployment takes `cpu: 0.5`; `int-or-string` would refuse it.
fn accept_any_quantity(property: &mut Map<String, Value>) {
    let is_quantity =
        property.get("additionalProperties").and_then(|inner| inner.get("x-kubernetes-int-or-string")).is_some_and(|flag| flag == &json!(true));
    if is_quantity {
        property.insert("additionalProperties".into(), json!({"x-kubernetes-preserve-unknown-fields": true}));
    }
}

/// What `kubectl explain` shows; the full texts would take the CRD over the size that plain `kubectl apply` can store.
fn first_sentence(text: &str) -> String {
    let text = text.split("\n\n").next().unwrap_or(text);
    let mut end = text.len();
    for (at, _) in text.match_indices(". ") {
        // "e.g. " and "i.e. " do not end a sentence.
        if !text.get(..at).is_some_and(|head| head.ends_with("e.g") || head.ends_with("i.e") || head.ends_with("etc")) {
            end = at + 1;
            break;
        }
    }
    text.get(..end).unwrap_or(text).replace('\n', " ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_sentences_survive_abbreviations() {
        assert_eq!(first_sentence("A port, e.g. 80. Must be open. More."), "A port, e.g. 80.");
        assert_eq!(first_sentence("One\nline.\n\nAnother paragraph."), "One line.");
        assert_eq!(first_sentence("No end"), "No end");
    }
}
