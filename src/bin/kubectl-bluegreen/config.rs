//! The template that refers to copies of configuration, as the operator makes it, by what the person may read.

use std::collections::BTreeMap;

use bluegreen::api::BlueGreenDeployment;
use bluegreen::controller::api::Resource;
use bluegreen::controller::trim;
use bluegreen::release::config::{Config, ConfigKind, ConfigName, Configs, Snapshots};

use crate::cluster::Cluster;

/// An object with that template.
pub struct Found {
    /// The object; as it was where its configuration is not all known.
    pub object: BlueGreenDeployment,
    /// What is wrong with `spec.configSnapshots`.
    pub wrong: Option<String>,
    /// What could not be read.
    pub unread: Vec<String>,
}

/// Reads what `spec.configSnapshots` names.
pub async fn effective(cluster: &Cluster, object: BlueGreenDeployment) -> Found {
    let spec = &object.spec.config_snapshots;
    let mut held: BTreeMap<ConfigName, Config> = BTreeMap::new();
    let mut unread = vec![];
    for kind in ConfigKind::ALL {
        for name in kind.named(spec) {
            match cluster.get(Resource::from(kind), name).await {
                Ok(found) => held.extend(found.and_then(|found| trim::config(kind, &found)).map(|config| (config.id.clone(), config))),
                Err(error) => unread.push(format!("{error}; the template is taken as it is written, without copies")),
            }
        }
    }
    with(object, &held, unread)
}

/// The same, of what was read.
fn with(mut object: BlueGreenDeployment, held: &BTreeMap<ConfigName, Config>, unread: Vec<String>) -> Found {
    if !unread.is_empty() {
        return Found { object, wrong: None, unread };
    }
    let name = object.metadata.name.clone().unwrap_or_default();
    let (spec, template) = (&object.spec.config_snapshots, &object.spec.template);
    // What this operator may is not known here.
    let configs = Configs::new(Some(Snapshots::ConfigMapsAndSecrets), &name, spec, template, |id| held.get(id));
    match configs.problem() {
        Some(block) => Found { object, wrong: Some(format!("{} ({})", block.message, block.reason)), unread },
        None => {
            configs.put_copies(&mut object.spec.template);
            Found { object, wrong: None, unread }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::released;

    #[test]
    fn the_template_refers_to_copies_only_if_all_is_known() {
        let mut object = released();
        object.spec.config_snapshots.config_maps = vec!["c".into()];
        object.spec.template["spec"]["volumes"] = json!([{"name": "c", "configMap": {"name": "c"}}]);
        let at = |found: &Found| found.object.spec.template["spec"]["volumes"][0]["configMap"]["name"].as_str().unwrap().to_owned();
        let map = json!({"metadata": {"name": "c", "uid": "u", "resourceVersion": "1"}, "data": {"a": "b"}});
        let config = trim::config(ConfigKind::ConfigMap, &map).unwrap();
        let held = BTreeMap::from([(config.id.clone(), config)]);
        let found = with(object.clone(), &held, vec![]);
        assert!(at(&found).starts_with("c-") && found.wrong.is_none(), "{}", at(&found));
        let found = with(object.clone(), &held, vec!["no right".into()]);
        assert_eq!((at(&found).as_str(), found.unread.len()), ("c", 1));
        let found = with(object, &BTreeMap::new(), vec![]);
        assert_eq!(at(&found), "c");
        assert!(found.wrong.unwrap().ends_with("(ConfigMissing)"));
    }
}
