use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("kubectl-bluegreen").chain(line.split(' ')))
}

fn error(line: &str) -> ErrorKind {
    parse(line).unwrap_err().kind()
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn flags_of_every_command_stand_anywhere() {
    for line in ["-n shops --context c status shop", "status shop -n shops --context c", "status -n=shops shop --context=c"] {
        let globals = parse(line).unwrap().globals;
        assert_eq!((globals.namespace.as_deref(), globals.context.as_deref()), (Some("shops"), Some("c")), "{line}");
    }
    assert!(parse("list --no-color").unwrap().globals.no_color);
}

#[test]
fn a_name_may_have_its_kind() {
    for line in ["pause shop", "pause bgd/shop", "pause bluegreendeployments.bluegreen.dev/shop"] {
        assert!(matches!(parse(line).unwrap().command, Command::Pause { name, .. } if name == "shop"), "{line}");
    }
    assert!(parse("pause deployment/shop").unwrap_err().to_string().contains("deployment is another kind"));
    assert_eq!(error("pause Shop"), ErrorKind::ValueValidation);
    assert_eq!(error("pause bgd/"), ErrorKind::ValueValidation);
    assert_eq!(error("pause ../pods"), ErrorKind::ValueValidation);
}

#[test]
fn what_makes_no_sense_is_refused_as_usage() {
    assert_eq!(error("status"), ErrorKind::MissingRequiredArgument);
    assert_eq!(error("status shop --watch -o json"), ErrorKind::ArgumentConflict);
    assert_eq!(error("list -A -n shops"), ErrorKind::ArgumentConflict);
    assert_eq!(error("drain shop"), ErrorKind::MissingRequiredArgument);
    assert_eq!(error("set-image shop"), ErrorKind::MissingRequiredArgument);
    assert_eq!(error("logs shop --active --draining"), ErrorKind::ArgumentConflict);
    assert_eq!(error("promote shop --timeout 5s"), ErrorKind::MissingRequiredArgument);
    assert_eq!(error("open shop 70000"), ErrorKind::ValueValidation);
    assert_eq!(error("status shop -o xml"), ErrorKind::InvalidValue);
    // clap ends with 2 for all of these.
    assert_eq!(parse("status").unwrap_err().exit_code(), 2);
}

#[test]
fn durations_are_written_as_for_kubectl() {
    let timeout = |text: &str| match parse(&format!("wait shop --timeout {text}")).map(|cli| cli.command) {
        Ok(Command::Wait { timeout, goal, .. }) => Some((timeout.as_secs(), goal)),
        _ => None,
    };
    assert_eq!([timeout("90s"), timeout("10m"), timeout("1h30m"), timeout("0s")], [90, 600, 5400, 0].map(|seconds| Some((seconds, Goal::Ready))));
    assert_eq!([timeout("ten"), timeout("-5s"), timeout("5")], [None, None, None]);
}

#[test]
fn what_is_for_kubectl_is_left_as_it_is() {
    let Command::Logs { more, whose, .. } = parse("logs shop --draining -- -f --tail=5").unwrap().command else { panic!() };
    assert_eq!((more, whose.draining), (vec!["-f".to_owned(), "--tail=5".to_owned()], true));
}

#[test]
fn a_rollback_and_a_drain_take_revisions() {
    let Command::Rollback { to, said } = parse("rollback shop --to abc --wait --timeout 5m").unwrap().command else { panic!() };
    assert_eq!((to.as_deref(), said.wait, said.timeout.as_secs()), (Some("abc"), true, 300));
    let Command::Drain { revision, said, .. } = parse("drain shop --finish abc").unwrap().command else { panic!() };
    assert_eq!((revision.as_deref(), said.wait), (Some("abc"), false));
}

#[test]
fn whatever_answers_something_answers_programs_too() {
    let all = "status shop,list,history shop,diff shop,promote shop,abort shop,retry shop,rollback shop,restart shop,drain shop --finish,pause shop,\
        resume shop,set-image shop a=b,wait shop,adopt shop,eject shop,check -f shop.yaml";
    for line in all.split(',') {
        assert_eq!(parse(&format!("{line} -o json")).unwrap().command.output(), Some(Format::Json), "{line}");
        assert_eq!(parse(&format!("{line} --output yaml")).unwrap().command.output(), Some(Format::Yaml), "{line}");
        assert_eq!(parse(line).unwrap().command.output(), None, "{line}");
    }
    for line in ["logs shop", "open shop", "completion bash"] {
        assert_eq!(error(&format!("{line} -o json")), ErrorKind::UnknownArgument, "{line}");
    }
}

#[test]
fn help_fits_eighty_columns() {
    let mut root = Cli::command();
    root.build();
    let mut pages = vec![root.render_help().to_string()];
    pages.extend(root.get_subcommands_mut().map(|command| command.render_help().to_string()));
    for line in pages.iter().flat_map(|page| page.lines()) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}
