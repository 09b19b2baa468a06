//! Writes where there is nothing to write.

use bluegreen::controller::api::{ApiError, ApiServer, Change, Resource};
use serde_json::json;

use super::Play;

impl<A: ApiServer> Play<A> {
    /// Everything that one may write can have been deleted by somebody else a moment before, whether a test happens to meet that or not.
    pub(super) async fn nothing_there(&mut self) -> Result<(), ApiError> {
        const NAME: &str = "fidelity-nothing";
        let other = json!("00000000-0000-0000-0000-000000000000");
        let written =
            [Resource::Service, Resource::ReplicaSet, Resource::Pod, Resource::BlueGreenDeployment, Resource::ConnectionWatch, Resource::Lease];
        for resource in written {
            let change = json!({"metadata": {"annotations": {"a": "b"}}});
            self.patch((resource, NAME), false, Change::Merge(change), "which is not there", &[]).await.ok();
            let change = json!([{"op": "test", "path": "/metadata/uid", "value": other}]);
            self.patch((resource, NAME), false, Change::Json(change), "which is not there, with a test", &[]).await.ok();
            self.delete(resource, NAME, (&other, None), "which is not there").await?;
        }
        for resource in [Resource::BlueGreenDeployment, Resource::ConnectionWatch] {
            self.patch((resource, NAME), true, Change::Merge(json!({"status": {}})), "which is not there", &[]).await.ok();
        }
        Ok(())
    }
}
