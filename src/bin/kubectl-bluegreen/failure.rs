//! Why a command ends badly, and with which exit code.

use std::path::PathBuf;

/// Why a command ends badly.
#[derive(thiserror::Error, Debug)]
pub enum Failure {
    /// The command makes no sense as things are.
    #[error("{0}")]
    Refused(String),
    /// It can't come to the wanted end by itself.
    #[error("{0}")]
    Stuck(String),
    /// The wanted end did not come in time.
    #[error("{0}")]
    Late(String),
    /// `check` found mistakes, which are told already.
    #[error("{}", mistakes(*.0))]
    Mistakes(usize),
    /// There is no such object.
    #[error("there is no BlueGreenDeployment \"{name}\" in namespace {namespace}; kubectl bluegreen list shows those there are")]
    NoObject {
        /// Its name.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// The kubeconfig can't be used.
    #[error("the kubeconfig can't be used: {0}")]
    Kubeconfig(String),
    /// The API server refused, or did not answer.
    #[error("{doing}: {words}")]
    Api {
        /// What was being done.
        doing: String,
        /// The API server's words.
        words: String,
    },
    /// An object that can't be read.
    #[error("{what} can't be read: {error}; is this plugin of the operator's version?")]
    Unreadable {
        /// Which.
        what: String,
        /// Why.
        error: String,
    },
    /// Somebody else keeps changing the object.
    #[error("{0} was changed by somebody else at each try; try again")]
    Contended(String),
    /// A file.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// kubectl could not be started.
    #[error("kubectl could not be started: {0}; it must be in PATH")]
    Kubectl(std::io::Error),
    /// The output could not be written.
    #[error("the output could not be written: {0}")]
    Output(#[from] std::io::Error),
}

impl Failure {
    /// 2 where trying again changes nothing, else 1.
    pub fn code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Stuck(_) => 2,
            _ => 1,
        }
    }
}

fn mistakes(number: usize) -> String {
    if number == 1 { "1 mistake was found".into() } else { format!("{number} mistakes were found") }
}

/// The result of everything here.
pub type Result<T = ()> = std::result::Result<T, Failure>;
