//! New images for a pod template.

use std::str::FromStr;

use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::{Failure, Result};

/// `container=image`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Name of the container; `*` for all.
    pub container: String,
    /// The image.
    pub image: String,
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.split_once('=') {
            Some((container, image)) if !container.is_empty() && !image.is_empty() && !image.contains(char::is_whitespace) => {
                Ok(Self { container: container.into(), image: image.into() })
            }
            _ => Err("write it as CONTAINER=IMAGE, or *=IMAGE for all containers".into()),
        }
    }
}

/// An image that is to be replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replaced {
    /// Where it stands, as a JSON pointer into the object.
    #[serde(skip)]
    pub pointer: String,
    /// Name of the container.
    pub container: String,
    /// The image as it is.
    pub old: Option<String>,
    /// The image to come.
    pub new: String,
}

/// What `changes` mean for a template; those that change nothing are left out.
///
/// # Errors
/// If a container does not exist.
pub fn replace(template: &Value, changes: &[Change]) -> Result<Vec<Replaced>> {
    let containers: Vec<(String, &str, Option<&str>)> = ["initContainers", "containers"]
        .into_iter()
        .flat_map(|list| {
            let found = template.pointer(&format!("/spec/{list}")).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            found.iter().enumerate().filter_map(move |(index, container)| {
                let name = container.get("name")?.as_str()?;
                Some((format!("/spec/template/spec/{list}/{index}/image"), name, container.get("image").and_then(Value::as_str)))
            })
        })
        .collect();
    if let Some(unknown) = changes.iter().find(|change| change.container != "*" && containers.iter().all(|(_, name, _)| *name != change.container)) {
        let names: Vec<&str> = containers.iter().map(|(_, name, _)| *name).collect();
        return Err(Failure::Refused(format!("there is no container \"{}\"; the template has {}", unknown.container, names.join(", "))));
    }
    let wanted = |name: &str| changes.iter().rev().find(|change| change.container == name || change.container == "*");
    Ok(containers
        .into_iter()
        .filter_map(|(pointer, name, old)| {
            let new = &wanted(name)?.image;
            (old != Some(new)).then(|| Replaced { pointer, container: name.into(), old: old.map(str::to_owned), new: new.clone() })
        })
        .collect())
}

/// The JSON patch that replaces them; it fails where anything has changed since the object was read.
pub fn patch(version: &str, replaced: &[Replaced]) -> Value {
    let mut operations = vec![json!({"op": "test", "path": "/metadata/resourceVersion", "value": version})];
    operations.extend(replaced.iter().map(|Replaced { pointer, new, .. }| json!({"op": "add", "path": pointer, "value": new})));
    Value::Array(operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Value {
        json!({"spec": {
            "initContainers": [{"name": "prepare", "image": "tools:1"}],
            "containers": [{"name": "shop", "image": "shop:v1"}, {"name": "proxy", "image": "proxy:3"}],
        }})
    }

    fn change(text: &str) -> Change {
        text.parse().unwrap()
    }

    #[test]
    fn a_change_is_a_container_and_an_image() {
        assert_eq!(change("shop=reg:5000/shop:v2@sha256:ab=="), Change { container: "shop".into(), image: "reg:5000/shop:v2@sha256:ab==".into() });
        for text in ["shop", "=v2", "shop=", "shop=a b"] {
            assert!(text.parse::<Change>().unwrap_err().contains("CONTAINER=IMAGE"), "{text}");
        }
    }

    #[test]
    fn only_what_changes_is_written_and_only_onto_what_was_read() {
        let replaced = replace(&template(), &[change("shop=shop:v2"), change("proxy=proxy:3")]).unwrap();
        assert_eq!(replaced.iter().map(|one| (one.container.as_str(), one.old.as_deref())).collect::<Vec<_>>(), [("shop", Some("shop:v1"))]);
        assert_eq!(
            patch("7", &replaced),
            json!([
                {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
                {"op": "add", "path": "/spec/template/spec/containers/0/image", "value": "shop:v2"},
            ])
        );
    }

    #[test]
    fn a_star_means_all_containers_and_the_last_word_counts() {
        let replaced = replace(&template(), &[change("*=all:1"), change("proxy=proxy:4")]).unwrap();
        let images: Vec<(&str, &str)> = replaced.iter().map(|one| (one.pointer.as_str(), one.new.as_str())).collect();
        assert_eq!(
            images,
            [
                ("/spec/template/spec/initContainers/0/image", "all:1"),
                ("/spec/template/spec/containers/0/image", "all:1"),
                ("/spec/template/spec/containers/1/image", "proxy:4"),
            ]
        );
    }

    #[test]
    fn an_unknown_container_is_refused_with_those_there_are() {
        let error = replace(&template(), &[change("shop=v2"), change("shpo=v2")]).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.code()), ("there is no container \"shpo\"; the template has prepare, shop, proxy", 2));
    }
}
