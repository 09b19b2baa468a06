//! The CustomResourceDefinitions of an operator that was built before some fields of status were there.

use bluegreen::api::CrdError;
use serde_json::Value;

/// What is not in them yet, as JSON pointers below the schema of a BlueGreenDeployment.
pub const LACKS: [&str; 4] = [
    "/properties/status/properties/heldBy",
    "/properties/status/properties/images",
    "/properties/status/properties/active/properties/color",
    "/properties/status/properties/draining/items/properties/oldestSince",
];

/// The definitions as they were.
///
/// # Errors
/// As [`bluegreen::api::crds`].
pub fn crds() -> Result<Vec<Value>, CrdError> {
    let mut crds = bluegreen::api::crds()?;
    for schema in crds.iter_mut().filter_map(|crd| crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema")) {
        for path in LACKS {
            let Some((parent, name)) = path.rsplit_once('/') else { continue };
            let Some(object) = schema.pointer_mut(parent.trim_end_matches("/properties")).and_then(Value::as_object_mut) else { continue };
            if let Some(fields) = object.get_mut("properties").and_then(Value::as_object_mut) {
                fields.remove(name);
            }
            if let Some(required) = object.get_mut("required").and_then(Value::as_array_mut) {
                required.retain(|field| field != name);
            }
        }
    }
    Ok(crds)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn each_field_is_in_the_present_definitions_and_not_in_the_older_ones() {
        let schema = |crds: Vec<Value>| crds[0].pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap().clone();
        let (now, then) = (schema(bluegreen::api::crds().unwrap()), schema(crds().unwrap()));
        for path in LACKS {
            assert!(now.pointer(path).is_some(), "{path} is not in the present ones");
            assert!(then.pointer(path).is_none(), "{path} is in the older ones");
        }
        assert_eq!(then["properties"]["status"]["properties"]["active"]["required"].to_string().matches("color").count(), 0);
    }
}
