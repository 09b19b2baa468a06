//! How two templates differ, as a unified diff.

use similar::{ChangeTag, TextDiff};

use super::{Ink, Page, bold, ink, plain};

/// The page; empty where they are equal. Lines are not broken: a diff is read by programs, too.
pub fn page(old: (&str, &str), new: (&str, &str)) -> Page {
    let mut page = Page::new(usize::MAX);
    let diff = TextDiff::from_lines(old.1, new.1);
    let mut unified = diff.unified_diff();
    let unified = unified.context_radius(3);
    for (index, hunk) in unified.iter_hunks().enumerate() {
        if index == 0 {
            page.line([bold(format!("--- {}", old.0))]);
            page.line([bold(format!("+++ {}", new.0))]);
        }
        page.line([ink(Ink::Blue, hunk.header().to_string())]);
        for change in hunk.iter_changes() {
            let text = change.value().trim_end_matches('\n');
            page.line([match change.tag() {
                ChangeTag::Equal => plain(format!(" {text}")),
                ChangeTag::Delete => ink(Ink::Red, format!("-{text}")),
                ChangeTag::Insert => ink(Ink::Green, format!("+{text}")),
            }]);
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_is_unified_and_coloured() {
        let (old, new) = ("a: 1\nb: 2\nc: 3\n", "a: 1\nb: 4\nc: 3\n");
        let text = "--- one\n+++ two\n@@ -1,3 +1,3 @@\n a: 1\n-b: 2\n+b: 4\n c: 3\n";
        assert_eq!(page(("one", old), ("two", new)).text(false), text);
        assert!(page(("one", old), ("two", new)).text(true).contains("\x1b[32m+b: 4\x1b[0m"));
        assert_eq!(page(("one", old), ("two", old)).len(), 0);
    }
}
