//! `completion`: scripts for shells.

use clap::CommandFactory;
use clap_complete::generate;

use crate::args::{Cli, Shell};
use crate::failure::Result;
use crate::terminal::Terminal;

/// Prints the script.
pub fn print(terminal: Terminal, shell: Shell) -> Result {
    terminal.write(&script(shell))
}

fn script(shell: Shell) -> String {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut command = Cli::command();
    // A shell completes the program, not the two words by which kubectl calls it.
    command.set_bin_name("kubectl-bluegreen");
    let mut script = vec![];
    generate(shell, &mut command, "kubectl-bluegreen", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    // For bash the generator looks for a command under another spelling than that by which it knows it, where a program has a hyphen in its name.
    script.replace("kubectl__subcmd__bluegreen__subcmd__", "kubectl__bluegreen__subcmd__")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// What a shell says to a script on its standard input; `None` where this machine has no such shell.
    fn told(shell: &[&str], script: &str) -> Option<String> {
        let (program, flags) = shell.split_first().unwrap();
        let child = Command::new(program).args(flags).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let Ok(mut child) = child else {
            println!("{program} is not installed: its script was not tried");
            return None;
        };
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success() && output.stderr.is_empty(), "{program}: {}", text(&output.stderr));
        Some(text(&output.stdout))
    }

    /// What bash completes after these words.
    fn completed(words: &[&str]) -> Vec<String> {
        let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        // As bash does it: by the function that was registered for the program.
        let call = format!(
            "words=({}); COMP_WORDS=(\"${{words[@]}}\"); COMP_CWORD=$((${{#words[@]}} - 1))\n\
             registered=$(complete -p kubectl-bluegreen); function=${{registered#*-F }}; function=${{function%% *}}\n\
             \"$function\" kubectl-bluegreen \"${{words[-1]}}\" \"${{words[-2]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
            quoted.join(" ")
        );
        let all = told(&["bash", "--norc"], &format!("{}\n{call}", script(Shell::Bash))).expect("bash is needed here");
        all.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn every_shell_takes_its_script_which_knows_the_commands() {
        for (shell, check) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
            let script = script(shell);
            assert!(script.contains("set-image") && script.contains("kubectl-bluegreen"), "{shell:?}");
            told(&[check, "-n"], &script);
        }
    }

    #[test]
    fn bash_completes_commands_flags_and_values() {
        assert_eq!(completed(&["kubectl-bluegreen", "set-i"]), ["set-image"]);
        assert_eq!(completed(&["kubectl-bluegreen", "res"]), ["restart", "resume"]);
        assert_eq!(completed(&["kubectl-bluegreen", "promote", "--ti"]), ["--timeout"]);
        assert_eq!(completed(&["kubectl-bluegreen", "wait", "shop", "--for", "sw"]), ["switched"]);
        assert_eq!(completed(&["kubectl-bluegreen", "promote", "shop", "-o", ""]), ["json", "yaml"]);
    }
}
