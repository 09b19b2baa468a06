//! `history`: the revisions there are.

use jiff::Timestamp;

use crate::args::Format;
use crate::cluster::Cluster;
use crate::failure::Result;
use crate::history::{entries, sets};
use crate::terminal::Terminal;
use crate::text;

use super::status::replica_sets;

/// Prints them.
pub async fn run(cluster: &Cluster, terminal: Terminal, name: &str, output: Option<Format>) -> Result {
    let (object, all) = tokio::join!(cluster.object(name), replica_sets(cluster, name));
    let object = object?;
    let entries = entries(&object, &sets(&object, &all?));
    match output {
        Some(format) => super::print(terminal, &entries, format),
        None => terminal.print(&text::history::page(&entries, Timestamp::now(), terminal.columns())),
    }
}
