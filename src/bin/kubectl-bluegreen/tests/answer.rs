use serde_json::json;

use super::*;
use crate::fixtures::released;

fn answer(outcome: Option<Outcome>) -> Answer {
    Answer {
        name: "shop".into(),
        namespace: "shops".into(),
        command: "promote",
        revision: Some("new".into()),
        changed: true,
        images: vec![],
        message: "revision new takes the traffic now".into(),
        outcome,
    }
}

#[test]
fn a_command_answers_with_what_it_came_to_once_that_was_waited_for() {
    let short = json!({"name": "shop", "namespace": "shops", "command": "promote", "revision": "new", "changed": true,
        "message": "revision new takes the traffic now"});
    assert_eq!(serde_json::to_value(answer(None)).unwrap(), short);
    let outcome = Outcome::of(&released(), "revision new has the traffic".into());
    let told = serde_json::to_value(answer(Some(outcome))).unwrap();
    let expected = json!({"phase": "Complete", "revision": "new", "active": "new", "message": "revision new has the traffic"});
    assert_eq!(told["outcome"], expected);
}

#[test]
fn images_are_told_without_where_they_stand() {
    let images = vec![Replaced { pointer: "/spec".into(), container: "shop".into(), old: Some("shop:v1".into()), new: "shop:v2".into() }];
    let told = serde_json::to_value(Answer { images, ..answer(None) }).unwrap();
    assert_eq!(told["images"], json!([{"container": "shop", "old": "shop:v1", "new": "shop:v2"}]));
}

#[test]
fn both_forms_hold_the_same_and_end_with_one_end_of_line() {
    let outcome = Outcome::of(&released(), "it serves".into());
    let waited = Waited { name: "shop".into(), namespace: "shops".into(), goal: Goal::Drained, outcome };
    let (json, yaml) = (Format::Json.text(&waited).unwrap(), Format::Yaml.text(&waited).unwrap());
    assert!([&json, &yaml].iter().all(|text| text.ends_with('\n') && !text.ends_with("\n\n")), "{json}{yaml}");
    let read: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((read["for"].as_str(), read["outcome"]["phase"].as_str()), (Some("drained"), Some("Complete")));
    assert_eq!(serde_saphyr::from_str::<serde_json::Value>(&yaml).unwrap(), read);
}

#[test]
fn the_page_shows_an_answer_as_it_is() {
    let outcome = Some(Outcome::of(&released(), "revision new has the traffic".into()));
    let page = include_str!("../../../../docs/kubectl.md");
    let told = Format::Json.text(&answer(outcome)).unwrap();
    assert!(page.contains(&told), "{told}");
}
