//! What the cluster saw, where a case failed.

use std::fmt::Write;

use crate::stage::Stage;
use crate::world::{RELEASE, SYSTEM, World};

/// Longest answer of one question, in lines.
const LINES: usize = 120;

/// Everything that may explain why a case failed.
pub fn of(stage: &Stage) -> String {
    let namespace = stage.namespace.as_str();
    let questions: [(&str, Vec<&str>); 5] = [
        ("status", vec!["get", "bgd", "-n", namespace, "-o", "yaml"]),
        ("Events", vec!["get", "events", "-n", namespace, "--sort-by=.lastTimestamp"]),
        ("objects", vec!["get", "rs,pods,svc,endpointslices", "-n", namespace, "-o", "wide", "--show-labels"]),
        ("ConnectionWatches", vec!["get", "connectionwatches", "-n", SYSTEM, "-o", "yaml"]),
        ("operator", vec!["get", "pods", "-n", SYSTEM, "-o", "wide"]),
    ];
    let mut text = String::new();
    for (title, words) in questions {
        section(&mut text, title, &ask(&stage.world, &words));
    }
    let log = ask(&stage.world, &["logs", "-n", SYSTEM, &format!("deployment/{RELEASE}"), "--tail=4000"]);
    let about: Vec<&str> = log.lines().filter(|line| line.contains(namespace)).collect();
    section(&mut text, "controller's log", &about.join("\n"));
    text
}

/// What may explain why the operator does not start.
pub fn of_operator(world: &World) -> String {
    let questions: [(&str, Vec<&str>); 3] = [
        ("nodes", vec!["get", "nodes", "-o", "wide"]),
        ("pods", vec!["describe", "pods", "-n", SYSTEM]),
        ("log", vec!["logs", "-n", SYSTEM, "-l", "app.kubernetes.io/component", "--all-containers", "--prefix", "--tail=40"]),
    ];
    let mut text = String::new();
    for (title, words) in questions {
        section(&mut text, title, &ask(world, &words));
    }
    text
}

fn ask(world: &World, words: &[&str]) -> String {
    match world.kubectl_output(words) {
        Ok(output) => String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        Err(error) => error.to_string(),
    }
}

fn section(text: &mut String, title: &str, content: &str) {
    let lines: Vec<&str> = content.lines().filter(|line| !line.trim_start().starts_with("f:")).collect();
    let skipped = lines.len().saturating_sub(LINES);
    // A String never refuses.
    let _ = writeln!(text, "    --- {title}");
    for line in lines.iter().skip(skipped) {
        let _ = writeln!(text, "    {line}");
    }
}
