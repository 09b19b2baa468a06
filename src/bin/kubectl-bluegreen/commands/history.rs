//! `history`: the revisions there are.

use jiff::Timestamp;

use crate::cluster::Cluster;
use crate::failure::Result;
use crate::history::{entries, sets};
use crate::terminal::Terminal;
use crate::text;

use super::status::replica_sets;

/// Prints them.
pub async fn run(cluster: &Cluster, terminal: Terminal, name: &str) -> Result {
    let (object, all) = tokio::join!(cluster.object(name), replica_sets(cluster, name));
    let object = object?;
    let entries = entries(&object, &sets(&object, &all?));
    if terminal.output.is_some() {
        return terminal.answer(&entries);
    }
    terminal.print(&text::history::page(&entries, Timestamp::now(), terminal.columns()))
}
