//! All BlueGreenDeployments, a line each, with what holds them up below.

use jiff::Timestamp;

use crate::commands::list::Item;

use super::table::table;
use super::{Ink, Page, ago, bold, faint, ink, of_color, plain};

/// The whole page.
pub fn page(items: &[Item], namespaces: bool, now: Timestamp, columns: usize) -> Page {
    let mut page = Page::new(columns);
    let mut head = vec![faint("NAME"), faint("PHASE"), faint("ACTIVE"), faint("READY"), faint("DRAINING"), faint("AGE")];
    if namespaces {
        head.insert(0, faint("NAMESPACE"));
    }
    let mut rows = vec![head];
    for item in items {
        let phase = item.phase.map_or_else(|| "unseen".to_owned(), |phase| format!("{phase:?}"));
        let paint = match (item.stalled.is_some(), phase.as_str()) {
            (true, _) => Ink::Red,
            (_, "Complete") => Ink::Green,
            (_, "AwaitPromotion" | "Paused") => Ink::Yellow,
            _ => Ink::Plain,
        };
        let draining = item.open_connections.map_or_else(|| if item.draining { "unknown" } else { "" }.to_owned(), |open| open.to_string());
        let active = if item.active.is_empty() { faint("none") } else { ink(of_color(&item.color), format!("{} {}", item.color, item.active)) };
        let age = item.created.map_or_else(String::new, |created| ago(created, now));
        let mut row = vec![bold(&item.name), ink(paint, phase), active, plain(&item.ready), plain(draining), plain(age)];
        if namespaces {
            row.insert(0, plain(&item.namespace));
        }
        rows.push(row);
    }
    table(&mut page, 0, rows);
    let stuck: Vec<&Item> = items.iter().filter(|item| item.stalled.is_some()).collect();
    for item in stuck {
        page.blank();
        let name = if namespaces { format!("{}/{}", item.namespace, item.name) } else { item.name.clone() };
        let why = item.stalled.as_ref().map(|why| format!("{} ({})", why.message, why.reason)).unwrap_or_default();
        page.line([bold(name)]);
        page.wrapped(vec![plain("  ")], Ink::Red, &why);
    }
    page
}

#[cfg(test)]
mod tests {
    use bluegreen::api::PhaseName;

    use super::*;
    use crate::report::Why;

    fn item(name: &str, phase: Option<PhaseName>) -> Item {
        Item {
            namespace: "shops".into(),
            name: name.into(),
            phase,
            active: "pz8km84kr2".into(),
            color: "blue".into(),
            ready: "2/2".into(),
            open_connections: None,
            draining: false,
            stalled: None,
            created: "2026-01-01T00:00:00Z".parse().ok(),
        }
    }

    #[test]
    fn each_has_a_line_and_what_is_stalled_says_why() {
        let now = "2026-01-03T00:00:00Z".parse().unwrap();
        let message = "spec.traffic.services[0]: Service \"cart\" does not exist in this namespace; create it without a selector, or remove it here";
        let stalled = Some(Why { reason: "ServiceMissing".into(), message: message.into() });
        let items = [
            Item { open_connections: Some(3), ..item("shop", Some(PhaseName::Drain)) },
            Item { stalled, active: String::new(), ready: "0/2".into(), ..item("cart", Some(PhaseName::Blocked)) },
            Item { draining: true, ..item("new", None) },
        ];
        let text = page(&items, true, now, 80).text(false);
        assert_eq!(
            text,
            "\
NAMESPACE  NAME  PHASE    ACTIVE           READY  DRAINING  AGE
shops      shop  Drain    blue pz8km84kr2  2/2    3         2d
shops      cart  Blocked  none             0/2              2d
shops      new   unseen   blue pz8km84kr2  2/2    unknown   2d

shops/cart
  spec.traffic.services[0]: Service \"cart\" does not exist in this namespace;
  create it without a selector, or remove it here (ServiceMissing)
"
        );
    }
}
