//! The page as Markdown.

use std::fmt::Write;

use bluegreen::api::PhaseName;

use crate::Error;
use crate::schema::{Default, Field, Kind, Kinds, Section};
use crate::words::{self, Reason};

const HEAD: &str = "\
<!-- Written by `make generate` from src/api and tests/docs; `make docs` finds drift. -->
# API reference

`bluegreen.dev/v1alpha1`, all fields and all words that the operator writes. [Concepts](concepts.md) tells how they play
together. The API is alpha: fields may still change. A field or value that does not work yet is not in the schema.

Times are in seconds unless the name says otherwise. A map or list that is left out is empty.
";

/// The whole page.
pub fn page(main: &Kind, watch: &Kind) -> Result<String, Error> {
    let mut out = HEAD.to_owned();
    kind(&mut out, main);
    phases(&mut out, main)?;
    conditions(&mut out);
    draining(&mut out);
    out.push_str("\n## Commands\n\nAnnotations of the BlueGreenDeployment. Each names the revision it is for, so that a late one never hits a newer\nrelease. The operator removes it when it is done with, or refuses it with an Event.\n\n");
    out.push_str("```sh\nkubectl annotate bgd shop bluegreen.dev/promote=$(kubectl get bgd shop -o jsonpath={.status.revision})\n```\n\n");
    table(
        &mut out,
        ["Annotation", "Value", "Effect"],
        words::COMMANDS.iter().map(|(key, value, effect)| [format!("`{key}`"), (*value).into(), (*effect).into()]),
    );
    out.push_str("\n## Events\n\n");
    table(
        &mut out,
        ["Type", "Reason", "When"],
        words::EVENTS.iter().map(|(kind, reason, when)| [(*kind).into(), format!("`{reason}`"), (*when).into()]),
    );
    out.push_str("\n## Labels and annotations\n\nWritten by the operator only.\n\n");
    table(&mut out, ["Key", "On", "Meaning"], words::KEYS.iter().map(|(key, on, meaning)| [format!("`{key}`"), (*on).into(), (*meaning).into()]));
    kind(&mut out, watch);
    Ok(out)
}

/// Writing to a String can't fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => {{ let _ = writeln!($out, $($text)*); }};
}

fn kind(out: &mut String, kind: &Kind) {
    put!(out, "\n## {}\n\n{}", kind.name, kind.description);
    if !kind.rules.is_empty() {
        put!(out, "");
        for rule in &kind.rules {
            put!(out, "- {rule}");
        }
    }
    if !kind.columns.is_empty() {
        put!(out, "\n`kubectl get` shows:\n");
        let wide = |wide| if wide { "`-o wide`" } else { "always" };
        table(
            out,
            ["Column", "Shown", "Meaning"],
            kind.columns.iter().map(|column| [column.name.clone(), wide(column.wide).into(), column.description.clone()]),
        );
    }
    for section in &kind.sections {
        fields(out, &kind.name, section);
    }
}

fn fields(out: &mut String, kind: &str, section: &Section) {
    let Section { path, description, fields, rules } = section;
    // ConnectionWatch has a spec as well; headings are link targets and must differ.
    let heading = if kind == "ConnectionWatch" { format!("ConnectionWatch {path}") } else { path.clone() };
    put!(out, "\n### {heading}\n\n{description}\n");
    table(out, ["Field", "Type", "Default", "Meaning"], fields.iter().map(|field| row(kind, field)));
    if !rules.is_empty() {
        put!(out, "\nRules:\n");
        for rule in rules {
            put!(out, "- {rule}");
        }
    }
}

fn row(of: &str, field: &Field) -> [String; 4] {
    let Field { name, kind, default, description, bounds } = field;
    let link = |path: &str| {
        let heading = if of == "ConnectionWatch" { format!("connectionwatch-{path}") } else { path.to_owned() };
        format!("[{path}](#{})", heading.to_lowercase().replace(['.', '[', ']'], ""))
    };
    let kind = match kind {
        Kinds::Words(words) => words.clone(),
        Kinds::Object(path) => link(path),
        Kinds::List(path) => format!("list of {}", link(path)),
    };
    let default = match default {
        Default::Required => "required".into(),
        // The defaults of an object are those of its fields.
        Default::Value(value) if value.starts_with('{') => "its fields'".into(),
        Default::Value(value) => format!("`{value}`"),
        Default::None => String::new(),
    };
    let mut meaning = description.clone();
    // Words that the text explains anyway need not be listed.
    let said = |bound: &String| bound.starts_with("One of ") && bound.split('`').skip(1).step_by(2).all(|word| description.contains(word));
    for bound in bounds.iter().filter(|bound| !said(bound)) {
        meaning.push(' ');
        meaning.push_str(bound);
    }
    [format!("`{name}`"), kind, default, meaning]
}

fn phases(out: &mut String, main: &Kind) -> Result<(), Error> {
    put!(out, "\n## Phases\n\n`status.phase`, for people. Programs should read conditions.\n");
    let status = main.sections.iter().find(|section| section.path == "status").ok_or(Error::Missing("status"))?;
    let phase = status.fields.iter().find(|field| field.name == "phase").ok_or(Error::Missing("status.phase"))?;
    let names = phase.bounds.first().ok_or(Error::Missing("list of phases"))?;
    let names: Vec<&str> = names.split('`').skip(1).step_by(2).collect();
    let mut rows = vec![];
    for name in names {
        let phase: PhaseName = serde_json::from_value(name.into()).map_err(|_| Error::Missing("phase of that name"))?;
        rows.push([format!("`{name}`"), words::phase(phase).to_owned()]);
    }
    table(out, ["Phase", "Meaning"], rows);
    Ok(())
}

fn conditions(out: &mut String) {
    put!(out, "\n## Conditions\n\nCompatible with kstatus, by which Helm 4 and Flux wait. `kubectl wait --for=condition=Ready` works as well.");
    for meaning in words::CONDITIONS {
        put!(out, "\n### {}\n\n{}\n", meaning.kind.name(), meaning.about);
        let mut rows = vec![];
        for (status, reasons) in [("True", meaning.yes), ("False", meaning.no), ("Unknown", meaning.unknown)] {
            rows.extend(reasons.iter().map(|(reason, about)| [status.to_owned(), format!("`{reason}`"), (*about).to_owned()]));
        }
        table(out, ["Status", "Reason", "Meaning"], rows);
        if !meaning.more.is_empty() {
            put!(out, "\n{}", meaning.more);
        }
    }
}

fn draining(out: &mut String) {
    put!(
        out,
        "\n## Reasons of a drain\n\n`status.draining[].reason`, and the reason of `Drained` = False: that of the least certain pod. [Drain](drain.md) explains them.\n"
    );
    reasons(out, words::DRAINING);
    put!(out, "\nA pod that can't be measured at all leaves by `spec.drain.fallbackSeconds`, with `source: Timer` and one of these reasons:\n");
    reasons(out, words::NOT_MEASURED);
    let rejected: Vec<String> = words::REJECTED.iter().map(|reason| format!("`{reason}`")).collect();
    put!(out, "\n`status.rejected.reason` is one of {}; they mean what they mean in `Stalled`.", rejected.join(", "));
}

fn reasons(out: &mut String, reasons: &[Reason]) {
    table(out, ["Reason", "Meaning"], reasons.iter().map(|(reason, about)| [format!("`{reason}`"), (*about).to_owned()]));
}

fn table<const N: usize>(out: &mut String, head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    put!(out, "| {} |", head.join(" | "));
    put!(out, "|{}", " --- |".repeat(N));
    for row in rows {
        put!(out, "| {} |", row.map(|cell| cell.replace('|', "\\|").replace('\n', " ")).join(" | "));
    }
}
