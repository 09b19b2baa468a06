use super::*;
use crate::fixtures::{coming, left, now, rejected, released, replica_set, sets as made};
use crate::text;

#[test]
fn only_the_objects_own_sets_count_and_each_revision_once() {
    let mut foreign = replica_set("foreign", "serving@9", 1);
    foreign["metadata"]["ownerReferences"][0]["uid"] = "somebody".into();
    let mut ending = replica_set("ending", "retired@1", 0);
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let mut second = replica_set("new", "", 0);
    second["metadata"]["labels"]["bluegreen.dev/issue"] = "2".into();
    second["metadata"]["uid"] = "second".into();
    let found = sets(&released(), &[second, foreign, ending, replica_set("new", "serving@2", 2), replica_set("old", "retired@1", 0)]);
    assert_eq!(found.iter().map(|set| (set.revision.as_str(), set.issue)).collect::<Vec<_>>(), [("new", 1), ("old", 1)]);
}

fn states(object: &BlueGreenDeployment, all: &[(&str, &str, i32)]) -> Vec<(String, String)> {
    entries(object, &made(all)).into_iter().map(|entry| (entry.revision, entry.state)).collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect()
}

#[test]
fn the_latest_comes_first_with_what_became_of_it() {
    let all = [("oldest", "retired@1", 0), ("old", "retiring@3", 2), ("new", "serving@3", 2)];
    assert_eq!(states(&left(None), &all), pairs(&[("new", "active"), ("old", "draining"), ("oldest", "kept")]));
    let all = [("old", "serving@1", 2), ("new", "", 1)];
    assert_eq!(states(&coming("{}", "Smoke", ""), &all), pairs(&[("new", "incoming"), ("old", "active")]));
    assert_eq!(states(&rejected("SmokeFailed", None), &all), pairs(&[("new", "rejected"), ("old", "active")]));
    // Status is behind for a moment.
    assert_eq!(states(&released(), &[("old", "serving@1", 2), ("new", "serving@2", 2)]), pairs(&[("new", "active"), ("old", "draining")]));
}

#[test]
fn the_page_says_what_the_template_asks_for_where_that_does_not_serve() {
    let object = rejected("SmokeFailed", None);
    let page = text::history::page(&entries(&object, &made(&[("old", "serving@1", 2), ("new", "", 0)])), now(), 80);
    assert_eq!(
        page.text(false),
        "\
REVISION  COLOR  STATE     PODS  AGE  ATTEMPT  IMAGES
new       blue   rejected  0     10m  -        registry.example.com/shop:v2
old       blue   active    2     10m  1        registry.example.com/shop:v2

spec.template asks for new.
"
    );
    assert_eq!(text::history::page(&[], now(), 80).text(false), "There are no revisions yet.\n");
}
