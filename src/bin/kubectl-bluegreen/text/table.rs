//! Tables: each column as wide as it must be, and the last one whatever is left.

use super::{Page, Span, fit, ink, plain};

/// Adds rows as a table. Cells of the last column are shortened to what is left.
pub fn table(page: &mut Page, indent: usize, rows: Vec<Vec<Span>>) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(|at| rows.iter().filter_map(|row| row.get(at)).map(Span::width).max().unwrap_or(0)).collect();
    for row in rows {
        let mut line = vec![plain(" ".repeat(indent))];
        let mut used = indent;
        let last = row.len().saturating_sub(1);
        for (at, cell) in row.into_iter().enumerate() {
            let room = page.columns().saturating_sub(used);
            if at == last || cell.width() > room {
                line.push(ink(cell.ink(), fit(cell.text(), room)));
                break;
            }
            let width = widths.get(at).copied().unwrap_or(0);
            let gap = width.saturating_sub(cell.width()) + 2;
            line.push(cell);
            line.push(plain(" ".repeat(gap)));
            used += width + 2;
        }
        page.line(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_last_one_gives_way() {
        let mut page = Page::new(24);
        let row = |cells: [&str; 3]| cells.map(plain).to_vec();
        table(&mut page, 2, vec![row(["NAME", "READY", "IMAGES"]), row(["shop", "2/2", "registry/shop:v1"]), row(["世界", "10/10", "a"])]);
        assert_eq!(page.text(false), "  NAME  READY  IMAGES\n  shop  2/2    …/shop:v1\n  世界  10/10  a\n");
    }
}
