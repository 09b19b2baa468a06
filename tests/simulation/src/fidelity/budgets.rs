//! PodDisruptionBudgets, as they are made, changed and deleted.

use bluegreen::controller::api::{ApiError, ApiServer, Resource};
use serde_json::{Value, json};

use super::{NOWHERE, Play, UID, VERSION, guarded, of};

impl<A: ApiServer> Play<A> {
    pub(super) async fn budgets(&mut self) -> Result<(), ApiError> {
        const KIND: Resource = Resource::PodDisruptionBudget;
        const NAME: &str = "fidelity-budget";
        let object = || {
            json!({
                "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": NAME, "labels": {"app": NAME}},
                "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": NAME, "revision": "one"}}},
            })
        };
        let seen = ["/spec/minAvailable", "/spec/maxUnavailable", "/spec/selector/matchLabels/revision"];
        self.create_in(NOWHERE, KIND, object(), false, "in a namespace that is gone", &[]).await.ok();
        let made = self.create(KIND, object(), false, "made", &seen).await?;
        self.create(KIND, object(), false, "a second time", &[]).await.ok();
        let (uid, version) = (of(&made, UID), of(&made, VERSION));
        let moved =
            |to: Value| json!({"metadata": {}, "spec": {"minAvailable": null, "maxUnavailable": 1, "selector": {"matchLabels": {"revision": to}}}});
        self.patch((KIND, NAME), false, guarded(&version, &uid, moved(json!("two"))), "to another revision", &seen).await?;
        self.patch((KIND, NAME), false, guarded(&version, &uid, moved(json!("three"))), "at an earlier version", &[]).await.ok();
        self.delete(KIND, NAME, (&json!("00000000-0000-0000-0000-000000000000"), None), "of another UID").await?;
        self.delete(KIND, NAME, (&uid, None), "of this UID").await?;
        self.delete(KIND, NAME, (&uid, None), "a second time").await
    }
}
