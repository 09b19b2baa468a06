//! The operator and the images, put on a cluster.

use std::path::{Path, PathBuf};

use cluster::image::Image;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::task::block_in_place;

use crate::failure::{Failure, Result};
use crate::place::Place;
use crate::programs::{beside, run, source, tag};

/// Namespace of the operator.
pub const SYSTEM: &str = "bluegreen-system";
/// Helm release; by the chart's rules also the name of the Deployment, the Lease and the controller's ServiceAccount.
pub const RELEASE: &str = "bluegreen-operator";

/// The images' names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Of the operator: repository and tag.
    pub operator: (String, String),
    /// Of the sample app, which also holds the load generator.
    pub app: String,
}

impl Images {
    /// Makes both images out of the programs beside this one and puts them on the nodes.
    ///
    /// # Errors
    /// If a program is not built, or the cluster refuses an image.
    pub fn made(place: &Place) -> Result<Self> {
        let (names, images) = Self::built()?;
        for (index, image) in images.iter().enumerate() {
            let archive = Archive(place.scratch().join(format!("demo-{}-{index}.tar", std::process::id())));
            block_in_place(|| image.write(&archive.0))?;
            place.load_image(&archive.0)?;
        }
        Ok(names)
    }

    /// Writes both images as docker archives, and returns their paths.
    ///
    /// # Errors
    /// If a program is not built, or an archive can't be written.
    pub fn save(directory: &Path) -> Result<[PathBuf; 2]> {
        let (_, [operator, app]) = Self::built()?;
        let paths = [directory.join("operator.tar"), directory.join("app.tar")];
        for (image, path) in [operator, app].iter().zip(&paths) {
            image.write(path)?;
        }
        Ok(paths)
    }

    fn built() -> Result<(Self, [Image; 2])> {
        let [operator, app, load] = [beside("bluegreen")?, beside("app")?, beside("load")?];
        let names = Self {
            operator: ("localhost/bluegreen-operator".into(), tag(&[&operator])?),
            app: format!("localhost/bluegreen-demo:{}", tag(&[&app, &load])?),
        };
        let (repository, operator_tag) = &names.operator;
        let images = [
            Image::new(format!("{repository}:{operator_tag}")).file(&operator, "/bluegreen").entrypoint(["/bluegreen"]).user("64320:64320"),
            Image::new(&names.app).file(&app, "/app").file(&load, "/load").entrypoint(["/app"]).user("65532:65532"),
        ];
        Ok((names, images))
    }

    /// Images that the cluster can pull, as the user names them.
    ///
    /// # Errors
    /// If the operator's has no tag.
    pub fn named(operator: &str, app: &str) -> Result<Self> {
        match operator.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => Ok(Self { operator: (repository.into(), tag.into()), app: app.into() }),
            _ => Err(Failure::Said(format!("IMAGE={operator} has no tag: write it as registry/name:tag"))),
        }
    }
}

/// A file that goes when it is done with.
struct Archive(PathBuf);

impl Drop for Archive {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Installs the operator with its chart, or upgrades it, and waits until it is ready.
///
/// # Errors
/// As Helm says.
pub async fn operator(place: &Place, client: &Client, images: &Images, values: &[&str]) -> Result {
    // The agent needs hostPID, which clusters that enforce pod security must be told about.
    namespace(client, SYSTEM, json!({"pod-security.kubernetes.io/enforce": "privileged"})).await?;
    let (repository, tag) = &images.operator;
    let mut command = place.helm();
    command.args(["upgrade", "--install", RELEASE]).arg(source("charts/bluegreen-operator"));
    command.args(["--namespace", SYSTEM, "--wait", "--timeout", "120s"]);
    command.args(["--set", &format!("image.repository={repository}"), "--set-string", &format!("image.tag={tag}")]);
    for value in values {
        command.args(["--set", value]);
    }
    run(&mut command).map(drop)
}

/// Makes sure of a namespace with these labels.
///
/// # Errors
/// As the API server says.
pub async fn namespace(client: &Client, name: &str, labels: serde_json::Value) -> Result {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    Api::<Namespace>::all(client.clone()).patch(name, &PatchParams::apply("demo").force(), &Patch::Apply(&object)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn an_image_is_taken_apart_at_its_tag() {
        let images = Images::named("registry.example:5000/team/bluegreen:1.2", "app").unwrap();
        assert_eq!(images.operator, ("registry.example:5000/team/bluegreen".into(), "1.2".into()));
        assert!(Images::named("registry.example:5000/team/bluegreen", "app").is_err());
        assert!(Images::named("bluegreen", "app").is_err());
    }
}
