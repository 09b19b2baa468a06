//! Lines of a given width, in any script.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that a text takes on a terminal.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Breaks a text into lines of at most so many columns: between words, and inside those that are longer.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    let mut lines: Vec<String> = vec![];
    for word in text.split_whitespace() {
        if let Some(line) = lines.last_mut()
            && width(line) + 1 + width(word) <= columns
        {
            line.push(' ');
            line.push_str(word);
            continue;
        }
        let mut line = String::new();
        for letter in word.chars() {
            if width(&line) + letter.width().unwrap_or(0) > columns {
                lines.push(std::mem::take(&mut line));
            }
            line.push(letter);
        }
        lines.push(line);
    }
    lines
}

/// A text in at most so many columns; what is too long loses its beginning, as the end of an image or a name tells it apart.
pub fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = vec![];
    let mut room = columns.saturating_sub(1);
    for letter in text.chars().rev() {
        let needed = letter.width().unwrap_or(0);
        if needed > room {
            break;
        }
        room -= needed;
        kept.push(letter);
    }
    std::iter::once('…').take(columns).chain(kept.into_iter().rev()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_break_between_words_and_inside_long_ones() {
        assert_eq!(wrap("a revision waits for you", 10), ["a revision", "waits for", "you"]);
        assert_eq!(wrap("see abcdefghijkl now", 6), ["see", "abcdef", "ghijkl", "now"]);
        assert_eq!(wrap("  ", 10), Vec::<String>::new());
        assert_eq!(wrap("世界世界", 5), ["世界", "世界"]);
    }

    #[test]
    fn what_is_too_long_keeps_its_end() {
        assert_eq!(fit("registry.example.com/shop:v2", 10), "…m/shop:v2");
        assert_eq!(fit("shop:v2", 7), "shop:v2");
        assert_eq!(fit("世界", 3), "…界");
        assert_eq!(fit("abc", 0), "");
    }

    proptest! {
        #[test]
        fn no_line_is_too_wide_and_no_letter_is_lost(text in "\\PC*", columns in 2usize..100) {
            let lines = wrap(&text, columns);
            for line in &lines {
                prop_assert!(width(line) <= columns.max(2) || line.chars().count() == 1, "{line:?}");
            }
            let letters = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
            prop_assert!(width(&fit(&text, columns)) <= columns);
        }
    }
}
