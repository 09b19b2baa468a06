//! Whether the pages say what the code says: every reason, every link, every example.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bluegreen::api::keys::command;
use bluegreen::api::{BlueGreenDeploymentSpec, ConditionType};
use serde_json::Value;

use crate::words::{self, Reason};

/// Words of the code that begin like a reason and are none: Kubernetes' own words, an unused row of the Events' names, and
/// reasons to wait of which only the message is shown.
const NOT_REASONS: &[&str] = &[
    // Operators of a label selector.
    "NotIn",
    "Exists",
    "DoesNotExist",
    "Adopting",
    "Always",
    "Available",
    "ConfigMap",
    "ConfigMaps",
    "ConfigMapsAndSecrets",
    "CopyingConfig",
    "DrainingFirst",
    "EndingFirst",
    "ExternalName",
    "Failed",
    "None",
    "PartingFirst",
    "Secret",
    "Succeeded",
    "TCP",
    "TooManyDraining",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Sources in which reasons are written, without their tests and comments.
fn sources() -> String {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join("src/release")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.extend(["apply.rs", "peers.rs", "pod_metadata.rs", "reconcile.rs", "status.rs"].map(|name| root().join("src/controller").join(name)));
    let mut all = String::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs") && !file.ends_with("tests.rs")) {
        let text = std::fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            all.push_str(line);
            all.push('\n');
        }
    }
    all
}

/// Text literals of one word that begins with a capital letter.
fn capital_words(code: &str) -> BTreeSet<String> {
    let word = |text: &&str| {
        text.len() > 2 && text.starts_with(|letter: char| letter.is_ascii_uppercase()) && text.chars().all(|letter| letter.is_ascii_alphabetic())
    };
    code.lines().flat_map(|line| line.split('"').skip(1).step_by(2)).filter(word).map(str::to_owned).collect()
}

fn names(reasons: &'static [Reason]) -> impl Iterator<Item = &'static str> {
    reasons.iter().map(|(name, _)| *name)
}

fn documented() -> BTreeSet<String> {
    let mut all: BTreeSet<&str> = BTreeSet::new();
    for meaning in words::CONDITIONS {
        all.extend(names(meaning.yes).chain(names(meaning.no)).chain(names(meaning.unknown)));
    }
    all.extend(names(words::DRAINING).chain(names(words::NOT_MEASURED)));
    all.extend(words::EVENTS.iter().map(|(_, reason, _)| *reason));
    all.extend(words::REJECTED);
    all.into_iter().map(str::to_owned).collect()
}

#[test]
fn every_reason_in_the_code_is_documented() {
    let known = documented();
    let missing: Vec<String> =
        capital_words(&sources()).into_iter().filter(|word| !known.contains(word) && !NOT_REASONS.contains(&word.as_str())).collect();
    assert!(missing.is_empty(), "not in words.rs: {missing:?}; add them there, or to NOT_REASONS if they are no reasons");
}

#[test]
fn every_documented_reason_is_in_the_code() {
    let code = capital_words(&sources());
    // The reason of Reconciling is the phase's own name.
    let phase = |word: &str| serde_json::from_value::<bluegreen::api::PhaseName>(word.into()).is_ok();
    let gone: Vec<String> = documented().into_iter().filter(|word| !code.contains(word) && !phase(word)).collect();
    assert!(gone.is_empty(), "in words.rs, but nowhere in the code: {gone:?}");
}

#[test]
fn every_condition_and_command_is_documented() {
    let kinds: Vec<ConditionType> = words::CONDITIONS.iter().map(|meaning| meaning.kind).collect();
    assert_eq!(kinds, ConditionType::ALL);
    let commands: BTreeSet<&str> = words::COMMANDS.iter().map(|(key, ..)| *key).collect();
    assert_eq!(commands, BTreeSet::from(command::ALL));
    let code = std::fs::read_to_string(root().join("src/api/keys.rs")).unwrap();
    let code = code.split("pub mod command").next().unwrap().to_owned();
    for key in code.split('"').skip(1).step_by(2).filter(|key| key.starts_with("bluegreen.dev/") && *key != "bluegreen.dev/") {
        assert!(words::KEYS.iter().any(|(known, ..)| *known == key), "{key} is not in words.rs");
    }
}

#[test]
fn a_difference_is_named_by_its_line() {
    let path = Path::new("page.md");
    assert!(crate::compare(path, "a\nb\n", "a\nb\n").is_ok());
    let error = crate::compare(path, "a\nb\n", "a\nc\n").unwrap_err().to_string();
    assert!(error.starts_with("page.md is not up to date at line 2: it has \"b\", the kinds say \"c\""), "{error}");
    assert!(crate::compare(path, "a\n", "a\nc\n").unwrap_err().to_string().contains("it has \"nothing\""));
}

/// README and docs, with their folder.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")).chain([root().join("README.md")]);
    pages.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// The anchor that a heading gets on the usual forges.
fn anchor(heading: &str) -> String {
    let letters = heading.trim_start_matches('#').trim().to_lowercase();
    letters.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_')).collect::<String>().replace(' ', "-")
}

#[test]
fn links_lead_somewhere() {
    for (path, text) in pages() {
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} does not exist", path.display());
            if !heading.is_empty() {
                let target = std::fs::read_to_string(&target).unwrap();
                let found = target.lines().any(|line| line.starts_with('#') && anchor(line) == heading);
                assert!(found, "{}: there is no heading for {link}", path.display());
            }
        }
    }
}

/// Fields of `value` that the schema does not have.
fn unknown_fields(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let Some(properties) = schema.get("properties") else { return };
            for (name, inner) in fields {
                let path = format!("{path}.{name}");
                match properties.get(name) {
                    Some(schema) => unknown_fields(schema, inner, &path, found),
                    None => found.push(path),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| unknown_fields(&schema["items"], item, &format!("{path}[]"), found)),
        _ => {}
    }
}

#[test]
fn examples_fit_the_schema() {
    let crd = bluegreen::api::crds().unwrap().remove(0);
    let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap();
    let mut whole = 0;
    for (path, text) in pages() {
        for block in text.split("```yaml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()) {
            for document in block.split("\n---\n") {
                let value: Value = serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{}: {error}\n{document}", path.display()));
                let ours = value["kind"] == "BlueGreenDeployment";
                // A part of an example stands alone, such as `spec: {drain: ...}`.
                if !ours && (value.get("kind").is_some() || (value.get("spec").is_none() && value.get("status").is_none())) {
                    continue;
                }
                let mut found = vec![];
                for part in ["spec", "status"] {
                    unknown_fields(&schema["properties"][part], value.get(part).unwrap_or(&Value::Null), part, &mut found);
                }
                assert!(found.is_empty(), "{}: the schema has no {found:?}", path.display());
                if ours {
                    let spec: BlueGreenDeploymentSpec = serde_json::from_value(value["spec"].clone()).unwrap();
                    assert!(!spec.selector.match_labels.is_empty());
                    whole += 1;
                }
            }
        }
    }
    assert!(whole > 0, "no page shows a whole BlueGreenDeployment");
}

#[test]
fn make_targets_that_are_named_exist() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    for (path, text) in pages() {
        for code in text.split('`').skip(1).step_by(2).filter_map(|code| code.strip_prefix("make ")) {
            let target = code.split_whitespace().next().unwrap();
            assert!(makefile.lines().any(|line| line.starts_with(&format!("{target}:"))), "{}: make {target} does not exist", path.display());
        }
    }
}
