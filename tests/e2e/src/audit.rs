//! The API server's audit log: who asked for what.

use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use serde::Deserialize;

use crate::failure::{Failure, Result, io};
use crate::world::{RELEASE, SYSTEM, World};

/// A request, as the log has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    stage: String,
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: Option<ObjectRef>,
}

#[derive(Clone, Debug, Deserialize)]
struct User {
    username: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    namespace: String,
    name: String,
    subresource: String,
}

/// The log from a moment on.
pub struct Audit {
    path: PathBuf,
    from: u64,
}

impl Audit {
    /// From now on.
    pub fn now(world: &World) -> Result<Self> {
        let path = world.cluster.audit_log().ok_or_else(|| Failure::Claim("the cluster writes no audit log".into()))?;
        let from = std::fs::metadata(&path).map_err(io("looking at the audit log"))?.len();
        Ok(Self { path, from })
    }

    /// What the controller has asked for in a namespace since: `patch services/shop`.
    pub fn controller(&self, namespace: &str) -> Result<Vec<String>> {
        let mut file = std::fs::File::open(&self.path).map_err(io("opening the audit log"))?;
        file.seek(SeekFrom::Start(self.from)).map_err(io("reading the audit log"))?;
        let controller = format!("system:serviceaccount:{SYSTEM}:{RELEASE}");
        let mut asked = vec![];
        for line in BufReader::new(file).lines().map_while(std::result::Result::ok) {
            // A line may just be being written.
            let Ok(request) = serde_json::from_str::<Request>(&line) else { continue };
            let Request { stage, verb, user, object_ref } = request;
            let ObjectRef { resource, namespace: place, name, subresource } = object_ref.unwrap_or_default();
            if stage == "ResponseComplete" && user.username == controller && place == namespace {
                asked.push(format!("{verb} {resource}/{name} {subresource}").trim_end().to_owned());
            }
        }
        Ok(asked)
    }
}
