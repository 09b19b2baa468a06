//! What could come next on a command line, for `kubectl bluegreen <TAB>`: kubectl asks a program named `kubectl_complete-bluegreen`,
//! which is this one under another name.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;
use bluegreen::controller::trim;
use clap::{Arg, CommandFactory};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ApiResource;
use serde::Deserialize;
use serde_json::Value;

use crate::args::{Cli, Globals};
use crate::cluster::Cluster;
use crate::failure::Result;
use crate::terminal::Terminal;

/// The name under which kubectl asks.
const ASKED_AS: &str = "kubectl_complete-bluegreen";
/// Nobody waits longer for a completion.
const PATIENCE: Duration = Duration::from_secs(2);
/// The end of an answer: complete nothing else, such as names of files (cobra's ShellCompDirectiveNoFileComp).
const NO_FILES: &str = ":4";
/// The same, but names of files (ShellCompDirectiveDefault).
const FILES: &str = ":0";

/// The words of the command line, where kubectl asks what could come next.
pub fn asked(words: &[OsString]) -> Option<Vec<String>> {
    let (program, words) = words.split_first()?;
    let asks = Path::new(program).file_name().is_some_and(|name| name == ASKED_AS);
    asks.then(|| words.iter().map(|word| word.to_string_lossy().into_owned()).collect())
}

/// Answers. Whatever goes wrong, nothing is said about it: the person is in the middle of a line.
pub async fn answer(words: &[String]) -> Result {
    let terminal = Terminal::new(true, None);
    let (mut found, mut directive) = (vec![], NO_FILES);
    match next(words) {
        Next::These(these) => found = these,
        Next::Files => directive = FILES,
        Next::Names(kind) => found = starting(words, names(&globals(words), kind)).await,
        Next::Revisions(name) => found = starting(words, revisions(&globals(words), &name)).await,
    }
    found.iter().try_for_each(|line| terminal.say(line))?;
    terminal.say(directive)
}

/// Those that begin as the last word does; none where they can't be known in time.
async fn starting(words: &[String], all: impl Future<Output = Result<Vec<String>>>) -> Vec<String> {
    let last = words.last().map(String::as_str).unwrap_or_default();
    let Ok(Ok(all)) = tokio::time::timeout(PATIENCE, all).await else { return vec![] };
    all.into_iter().filter(|name| name.starts_with(last)).collect()
}

/// What could come next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// One of these.
    These(Vec<String>),
    /// A name of an object.
    Names(Kind),
    /// A revision of the BlueGreenDeployment of this name.
    Revisions(String),
    /// A file.
    Files,
}

/// Whose names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// BlueGreenDeployments.
    Ours,
    /// Deployments.
    Theirs,
}

fn next(words: &[String]) -> Next {
    let mut root = Cli::command();
    root.build();
    let (last, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut command = &root;
    let mut positional: Vec<&str> = vec![];
    let mut expects: Option<&Arg> = None;
    for word in before {
        if expects.take().is_some() {
            continue;
        }
        if word.starts_with('-') {
            let flag = command.get_arguments().find(|arg| is_flag(arg, word));
            expects = flag.filter(|arg| arg.get_action().takes_values() && !word.contains('='));
        } else if let Some(sub) = command.find_subcommand(word) {
            command = sub;
        } else {
            positional.push(word);
        }
    }
    // A name may have its kind before it.
    let name = positional.first().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
    let of_revision = |arg: &Arg| ["from", "to", "revision"].contains(&arg.get_id().as_str()) && !name.is_empty();
    let starting = |all: Vec<String>| Next::These(all.into_iter().filter(|word| word.starts_with(last)).collect());
    if let Some(arg) = expects {
        let values = values(arg);
        if of_revision(arg) {
            return Next::Revisions(name.to_owned());
        }
        let file = ["file", "kubeconfig"].contains(&arg.get_id().as_str());
        return if file { Next::Files } else { starting(values) };
    }
    if last.starts_with('-') {
        let long = command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(Arg::get_long);
        return starting(long.map(|long| format!("--{long}")).collect());
    }
    if command.has_subcommands() {
        return starting(command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect());
    }
    match command.get_positionals().nth(positional.len()) {
        Some(arg) if of_revision(arg) => Next::Revisions(name.to_owned()),
        Some(arg) if arg.get_id() == "name" => Next::Names(Kind::Ours),
        Some(arg) if arg.get_id() == "deployment" => Next::Names(Kind::Theirs),
        Some(arg) => starting(values(arg)),
        None => Next::These(vec![]),
    }
}

fn is_flag(arg: &Arg, word: &str) -> bool {
    let word = word.split('=').next().unwrap_or(word);
    let long = arg.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long));
    long || arg.get_short().is_some_and(|short| word.strip_prefix('-') == Some(short.encode_utf8(&mut [0; 4])))
}

fn values(arg: &Arg) -> Vec<String> {
    arg.get_possible_values().into_iter().map(|value| value.get_name().to_owned()).collect()
}

/// The flags that lead to a cluster, as far as the line has them.
fn globals(words: &[String]) -> Globals {
    let value = |names: [&str; 2]| {
        let at = words.iter().position(|word| names.contains(&word.as_str()));
        let apart = at.and_then(|at| words.get(at + 1)).cloned();
        apart.or_else(|| words.iter().find_map(|word| names.iter().find_map(|name| word.strip_prefix(&format!("{name}=")).map(str::to_owned))))
    };
    Globals {
        namespace: value(["--namespace", "-n"]),
        context: value(["--context", "--context"]),
        kubeconfig: value(["--kubeconfig", "--kubeconfig"]).map(Into::into),
        no_color: true,
    }
}

#[derive(Deserialize)]
struct Named {
    metadata: Name,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

async fn names(globals: &Globals, kind: Kind) -> Result<Vec<String>> {
    let cluster = Cluster::connect(globals).await?;
    let kind = match kind {
        Kind::Ours => Resource::BlueGreenDeployment.api_resource(),
        Kind::Theirs => ApiResource::erase::<Deployment>(&()),
    };
    let found: Vec<Named> = cluster.list_kind(&kind, Some(&cluster.namespace), None).await?;
    Ok(found.into_iter().map(|found| found.metadata.name).collect())
}

async fn revisions(globals: &Globals, name: &str) -> Result<Vec<String>> {
    let cluster = Cluster::connect(globals).await?;
    let sets: Vec<Value> = cluster.list(Resource::ReplicaSet, Some(&cluster.namespace), Some(&format!("{}={name}", keys::NAME))).await?;
    let all: BTreeSet<String> = sets.iter().filter_map(trim::set).map(|set| set.revision).collect();
    Ok(all.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next_of(line: &str) -> Next {
        next(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    fn these(words: &[&str]) -> Next {
        Next::These(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn kubectl_asks_under_another_name() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(asked(&words("/usr/bin/kubectl_complete-bluegreen status sh")), Some(vec!["status".into(), "sh".into()]));
        assert_eq!(asked(&words("kubectl-bluegreen status sh")), None);
    }

    #[test]
    fn commands_flags_values_and_names_are_completed() {
        assert_eq!(next_of("re"), these(&["retry", "restart", "resume"]));
        assert_eq!(next_of("status --w"), these(&["--watch"]));
        assert_eq!(next_of("status sh"), Next::Names(Kind::Ours));
        assert_eq!(next_of("-n shops status "), Next::Names(Kind::Ours));
        assert_eq!(next_of("adopt "), Next::Names(Kind::Theirs));
        assert_eq!(next_of("status shop "), these(&[]));
        assert_eq!(next_of("wait shop --for "), these(&["ready", "switched", "drained"]));
        assert_eq!(next_of("wait --for ready "), Next::Names(Kind::Ours));
        assert_eq!(next_of("completion b"), these(&["bash"]));
        assert_eq!(next_of("check -f "), Next::Files);
        assert_eq!(next_of("promote shop -o "), these(&["json", "yaml"]));
        let revisions = || Next::Revisions("shop".into());
        for line in ["diff shop ", "diff bgd/shop a", "diff shop a b", "rollback shop --to ", "drain shop --finish "] {
            assert_eq!(next_of(line), revisions(), "{line}");
        }
        // Of which object is not known yet.
        assert_eq!(next_of("rollback --to "), these(&[]));
        assert!(matches!(next(&[]), Next::These(all) if all.contains(&"promote".to_owned())));
    }

    #[test]
    fn names_are_those_of_the_namespace_on_the_line() {
        let words: Vec<String> = "status -n shops --context=c ".split(' ').map(str::to_owned).collect();
        let found = globals(&words);
        assert_eq!((found.namespace.as_deref(), found.context.as_deref()), (Some("shops"), Some("c")));
    }
}
