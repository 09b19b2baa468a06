//! What a command answers to programs.

use bluegreen::api::{BlueGreenDeployment, PhaseName};
use serde::Serialize;

use crate::args::{Format, Goal};
use crate::failure::{Failure, Result};
use crate::image::Replaced;

impl Format {
    /// Something in this form, with an end of line.
    ///
    /// # Errors
    /// If it can't be written so.
    pub fn text<T: Serialize>(self, what: &T) -> Result<String> {
        let text = match self {
            Self::Json => serde_json::to_string_pretty(what).map_err(|error| error.to_string()),
            Self::Yaml => serde_saphyr::to_string(what).map_err(|error| error.to_string()),
        };
        let text = text.map_err(|error| Failure::Unreadable { what: "the answer".into(), error })?;
        Ok(format!("{}\n", text.trim_end()))
    }
}

/// What a command that changes something came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Name of the object.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The command, as it is typed.
    pub command: &'static str,
    /// The revision that it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Whether anything was written.
    pub changed: bool,
    /// The images that were replaced, by `set-image`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Replaced>,
    /// What people are told.
    pub message: String,
    /// What it came to, where that was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// What was waited for and has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Where the release stands now.
    pub phase: Option<PhaseName>,
    /// The revision of the spec.
    pub revision: Option<String>,
    /// The revision that has the traffic, or is getting it.
    pub active: Option<String>,
    /// What people are told.
    pub message: String,
}

impl Outcome {
    /// Of an object that has got there.
    pub fn of(object: &BlueGreenDeployment, message: String) -> Self {
        let status = object.status.as_ref();
        Self {
            phase: status.and_then(|status| status.phase),
            revision: status.and_then(|status| status.revision.clone()),
            active: status.and_then(|status| status.switch.as_ref()).map(|switch| switch.to.clone()),
            message,
        }
    }
}

/// What `wait` has waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waited {
    /// Name of the object.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// What it was to be.
    #[serde(rename = "for")]
    pub goal: Goal,
    /// What it is.
    pub outcome: Outcome,
}

#[cfg(test)]
#[path = "tests/answer.rs"]
mod tests;
