//! Manifests as people write them: several documents, of which only some concern a release.

use std::io::Read;
use std::path::Path;

use bluegreen::controller::trim;
use bluegreen::controller::world::Key;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::failure::{Failure, Result};

/// What a manifest holds.
#[derive(Debug, Default)]
pub struct Manifest {
    /// BlueGreenDeployments.
    pub deployments: Vec<Value>,
    /// Services, which they may name.
    pub services: Vec<Value>,
}

/// Reads a file, or the standard input for `-`.
///
/// # Errors
/// If it can't be read.
pub fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map(|_| text).map_err(|error| Failure::File { path: path.into(), error: error.to_string() })
}

/// Reads the documents. JSON is YAML, too.
///
/// # Errors
/// If it is no YAML, or has nothing to check.
pub fn parse(text: &str, path: &Path) -> Result<Manifest> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| Failure::File { path: path.into(), error: format!("no YAML: {error}") })?;
    let mut manifest = Manifest::default();
    for document in documents.into_iter().flat_map(items) {
        match (trim::text(&document, "/apiVersion").as_deref(), trim::text(&document, "/kind").as_deref()) {
            (Some("bluegreen.dev/v1alpha1"), Some("BlueGreenDeployment")) => manifest.deployments.push(document),
            (Some(other), Some("BlueGreenDeployment")) => {
                return Err(Failure::Refused(format!("apiVersion: {other} is not known; write bluegreen.dev/v1alpha1")));
            }
            (Some("v1"), Some("Service")) => manifest.services.push(document),
            _ => {}
        }
    }
    if manifest.deployments.is_empty() {
        return Err(Failure::Refused(format!("{} has no BlueGreenDeployment", path.display())));
    }
    Ok(manifest)
}

fn items(document: Value) -> Vec<Value> {
    if document.get("kind").and_then(Value::as_str) == Some("List")
        && let Some(items) = document.get("items").and_then(Value::as_array)
    {
        return items.clone();
    }
    vec![document]
}

/// Name and namespace of an object; the namespace of the command where it has none.
///
/// # Errors
/// If it has no name.
pub fn key(object: &Value, cluster: &Cluster) -> Result<Key> {
    let namespace = trim::text(object, "/metadata/namespace").unwrap_or_else(|| cluster.namespace.clone());
    match trim::text(object, "/metadata/name").filter(|name| !name.is_empty()) {
        Some(name) => Ok(Key { namespace, name }),
        None => Err(Failure::Refused("metadata.name is missing".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_sorted_by_what_they_are() {
        let text = "---\napiVersion: v1\nkind: Service\nmetadata: {name: shop}\n---\napiVersion: v1\nkind: ConfigMap\n---\n# nothing\n---\napiVersion: bluegreen.dev/v1alpha1\nkind: BlueGreenDeployment\nmetadata: {name: shop}\n";
        let manifest = parse(text, Path::new("shop.yaml")).unwrap();
        assert_eq!((manifest.services.len(), manifest.deployments.len()), (1, 1));
        let list = r#"{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment"}]}"#;
        assert_eq!(parse(list, Path::new("-")).unwrap().deployments.len(), 1);
    }

    #[test]
    fn what_can_not_be_checked_is_said_in_a_sentence() {
        let error = |text: &str| parse(text, Path::new("shop.yaml")).unwrap_err();
        assert_eq!(error("kind: ConfigMap\n").to_string(), "shop.yaml has no BlueGreenDeployment");
        assert_eq!(error("").code(), 2);
        let older = error("apiVersion: bluegreen.dev/v1\nkind: BlueGreenDeployment\n").to_string();
        assert_eq!(older, "apiVersion: bluegreen.dev/v1 is not known; write bluegreen.dev/v1alpha1");
        let broken = error("a: [");
        assert!(broken.to_string().starts_with("shop.yaml: no YAML: ") && broken.code() == 1, "{broken}");
        assert!(read(Path::new("/nowhere/shop.yaml")).unwrap_err().to_string().starts_with("/nowhere/shop.yaml: "));
    }
}
