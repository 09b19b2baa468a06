//! Configuration that can't be read at present: it is unknown, and not gone.

use std::collections::BTreeSet;

use super::configs::*;
use crate::api::{ConditionStatus, PhaseName, PromotionMode, keys};
use crate::release::config::*;

#[test]
fn what_can_not_be_read_holds_up_a_release_and_no_return() {
    let mut shop = Shop::installed();
    let active = |shop: &Shop| shop.world.status().switch.as_ref().unwrap().to.clone();
    let first = active(&shop);
    shop.hold("two");
    while active(&shop) == first {
        shop.run(1);
    }
    let second = active(&shop);
    // By a process that has not read any of it yet.
    let copies = std::mem::take(&mut shop.world.snapshot.configs.copies);
    shop.world.snapshot.configs.unread.insert(ConfigKind::ConfigMap);
    shop.hold("three");
    shop.world.transcript.clear();
    shop.run(1);
    assert_eq!(shop.stalled(), (ConditionStatus::True, "ConfigUnreadable".into()));
    // The earlier pods are still there.
    shop.world.edit(|spec| spec.paused = true);
    shop.world.command(keys::command::ROLLBACK, format!("{second}-{first}"));
    shop.run(1);
    assert_ne!(shop.stalled().1, "ConfigLost", "what was not read is taken for deleted");
    shop.world.edit(|spec| spec.paused = false);
    shop.run(120);
    assert_eq!(active(&shop), first);
    let written = |shop: &Shop| shop.world.transcript.iter().any(|line| line.starts_with("copy") || line.starts_with("create"));
    assert!(!written(&shop), "{:?}", shop.world.transcript);
    shop.world.snapshot.configs = Configs { copies, unread: BTreeSet::new(), ..std::mem::take(&mut shop.world.snapshot.configs) };
    shop.complete();
    assert!(written(&shop) && shop.needs() == BTreeSet::from([copy("three")]), "{:?}", shop.needs());
}

#[test]
fn a_copy_of_a_kind_that_can_not_be_read_stays() {
    let mut shop = Shop::installed();
    let config = Config { id: secret("keys-old"), uid: "old".into(), ..shop.world.snapshot.configs.copies[0].config.clone() };
    shop.world.snapshot.configs.copies.push(Copy { config, unused_since: None });
    shop.world.snapshot.configs.unread.insert(ConfigKind::Secret);
    shop.run(100);
    assert_eq!((shop.copies().len(), shop.stalled().0), (2, ConditionStatus::False));
    shop.world.snapshot.configs.unread.clear();
    shop.run(1);
    assert_eq!(shop.copies().len(), 1);
}

#[test]
fn a_word_about_the_release_is_kept_until_its_configuration_can_be_read() {
    let mut shop = Shop::installed();
    let active = |shop: &Shop| shop.world.status().switch.as_ref().unwrap().to.clone();
    let first = active(&shop);
    shop.world.edit(|spec| spec.promotion.mode = PromotionMode::Manual);
    shop.hold("two");
    shop.run(30);
    let second = shop.world.status().revision.clone().unwrap();
    assert!(shop.world.phase() == PhaseName::AwaitPromotion && second != first);
    shop.world.snapshot.configs.unread.insert(ConfigKind::ConfigMap);
    shop.read();
    shop.world.command(keys::command::PROMOTE, &second);
    shop.run(30);
    assert_eq!(active(&shop), first);
    shop.world.snapshot.configs.unread.clear();
    shop.read();
    shop.run(30);
    assert_eq!(active(&shop), second, "{:?}", shop.world.notices);
}
