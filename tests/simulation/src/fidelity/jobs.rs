//! Jobs of hooks, as they are asked about, made, looked at and deleted.

use bluegreen::controller::api::{ApiError, ApiServer, Resource};
use serde_json::{Value, json};

use super::{NOWHERE, Play, UID, of};

impl<A: ApiServer> Play<A> {
    pub(super) async fn jobs(&mut self) -> Result<(), ApiError> {
        const KIND: Resource = Resource::Job;
        const NAME: &str = "fidelity-job";
        // Nobody makes a pod of it.
        let with = |containers: Value, more: Option<(&str, Value)>| {
            let mut job = json!({
                "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": NAME, "labels": {"app": NAME}},
                "spec": {
                    "activeDeadlineSeconds": 600, "parallelism": 0,
                    "template": {"spec": {"restartPolicy": "Never", "containers": containers}},
                },
            });
            if let (Some((key, value)), Some(spec)) = (more, job.get_mut("spec").and_then(Value::as_object_mut)) {
                spec.insert(key.into(), value);
            }
            job
        };
        let good = || with(json!([{"name": "app", "image": "app:1"}]), None);
        let seen = ["/spec/activeDeadlineSeconds", "/metadata/labels/app", "/metadata/deletionTimestamp"];
        self.get(KIND, NAME, "before there is one", &[]).await?;
        self.create(KIND, good(), true, "only asked", &seen).await?;
        self.create_in(NOWHERE, KIND, good(), true, "only asked, in a namespace that is gone", &[]).await.ok();
        self.create_in(NOWHERE, KIND, good(), false, "in a namespace that is gone", &[]).await.ok();
        self.get(KIND, NAME, "after it was only asked", &[]).await?;
        self.create(KIND, with(json!([]), None), true, "without containers", &[]).await.ok();
        self.create(KIND, with(json!([{"name": "app", "image": "app:1"}]), Some(("misspelt", json!(1)))), false, "a misspelt field", &[]).await.ok();
        let made = self.create(KIND, good(), false, "made", &seen).await?;
        self.create(KIND, good(), false, "a second time", &[]).await.ok();
        self.get(KIND, NAME, "as it is", &seen).await?;
        let uid = of(&made, UID);
        let other = json!("00000000-0000-0000-0000-000000000000");
        self.delete(KIND, NAME, (&other, None), "of another UID").await?;
        self.delete(KIND, NAME, (&uid, Some(&json!("1"))), "of an earlier version").await?;
        self.delete(KIND, NAME, (&uid, None), "of this UID").await?;
        self.delete(KIND, NAME, (&uid, None), "a second time").await
    }
}
