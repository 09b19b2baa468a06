//! Pods, as they are marked, taken over and deleted one by one.

use bluegreen::api::keys;
use bluegreen::controller::api::{ApiError, ApiServer, Change, Resource};
use serde_json::json;

use super::{Play, UID, VERSION, guarded, of};

impl<A: ApiServer> Play<A> {
    pub(super) async fn pods(&mut self) -> Result<(), ApiError> {
        const KIND: Resource = Resource::Pod;
        const NAME: &str = "fidelity-pod";
        const OWNER: &str = "fidelity-owner";
        // For no node at all, so that nobody else writes it.
        let new = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME, "labels": {"app": NAME, keys::REVISION: "a"}},
            "spec": {"nodeSelector": {"fidelity": "none"}, "terminationGracePeriodSeconds": 0, "containers": [{"name": "app", "image": "app:1"}]},
        });
        let seen = ["/metadata/labels", "/metadata/annotations", "/metadata/deletionTimestamp"];
        self.get(KIND, NAME, "before there is one", &[]).await?;
        self.patch((KIND, NAME), false, Change::Merge(json!({"metadata": {"annotations": {"a": "b"}}})), "before there is one", &seen).await.ok();
        let made = self.create(KIND, new, false, "made", &seen).await?;
        let uid = of(&made, UID);
        // One that is there: the garbage collector would delete it otherwise.
        let owner = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": OWNER}, "spec": {"ports": [{"name": "http", "port": 80}]}});
        let owner = of(&self.create(Resource::Service, owner, false, "an owner", &[]).await?, UID);
        let owner = json!({"apiVersion": "v1", "kind": "Service", "name": OWNER, "uid": owner, "controller": false, "blockOwnerDeletion": false});
        let owned = json!({"metadata": {"uid": uid, "annotations": {keys::LEFT: "{}"}, "ownerReferences": [owner]}});
        self.patch((KIND, NAME), false, Change::Merge(owned), "an owner that does not control", &seen).await?;
        let away = json!({"metadata": {"labels": {keys::REVISION: "left.a"}, "ownerReferences": []}});
        self.patch((KIND, NAME), false, guarded(&of(&made, VERSION), &uid, away.clone()), "as of an earlier version", &seen).await.ok();
        let other = json!("00000000-0000-0000-0000-000000000000");
        self.patch((KIND, NAME), false, Change::Merge(away), "another label, and no owner", &seen).await?;
        self.get(KIND, NAME, "as it is", &seen).await?;
        self.delete(KIND, NAME, (&uid, Some(&of(&made, VERSION))), "of an earlier version").await?;
        self.delete(KIND, NAME, (&other, None), "of another UID").await?;
        self.delete(KIND, NAME, (&uid, None), "of this UID").await?;
        self.get(KIND, NAME, "after it was deleted", &[]).await?;
        self.delete(KIND, NAME, (&uid, None), "a second time").await
    }
}
