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
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            assert!(script.contains("set-image") && script.contains("kubectl-bluegreen"), "{shell:?}");
        }
    }
}
