//! ConfigMaps and Secrets, as they are read, copied and deleted.

use bluegreen::controller::api::{ApiError, ApiServer, Resource};
use serde_json::json;

use super::{NOWHERE, Play, UID, of};

impl<A: ApiServer> Play<A> {
    pub(super) async fn configs(&mut self) -> Result<(), ApiError> {
        for kind in [Resource::ConfigMap, Resource::Secret] {
            const NAME: &str = "fidelity-config";
            let object = || {
                json!({
                    "apiVersion": "v1", "kind": if kind == Resource::Secret { "Secret" } else { "ConfigMap" },
                    "metadata": {"name": NAME, "labels": {"app": NAME}}, "immutable": true, "data": {"a": "Yg=="},
                })
            };
            let seen = ["/data", "/immutable", "/metadata/labels/app"];
            self.get(kind, NAME, "before there is one", &[]).await?;
            self.create_in(NOWHERE, kind, object(), false, "in a namespace that is gone", &[]).await.ok();
            let made = self.create(kind, object(), false, "made", &seen).await?;
            self.create(kind, object(), false, "a second time", &[]).await.ok();
            self.get(kind, NAME, "as it is", &seen).await?;
            self.list(kind, &format!("app={NAME}"), "by a label").await?;
            let uid = of(&made, UID);
            self.delete(kind, NAME, (&json!("00000000-0000-0000-0000-000000000000"), None), "of another UID").await?;
            self.delete(kind, NAME, (&uid, Some(&json!("1"))), "of an earlier version").await?;
            self.delete(kind, NAME, (&uid, None), "of this UID").await?;
            self.delete(kind, NAME, (&uid, None), "a second time").await?;
        }
        Ok(())
    }
}
