//! Series of the Prometheus text format, and of OpenMetrics, which says the same of what is looked for here: a name, labels, a value.

/// Which series of a text count: all of a name that have these labels, whatever others they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    name: String,
    labels: Vec<(String, String)>,
}

impl Series {
    /// Reads what a spec says, such as `sessions{kind="live"}`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let example = r#"write a name, with labels if need be, such as sessions{kind="live"}"#;
        let (series, rest) = head(text.trim()).ok_or_else(|| format!("it is no name of a series; {example}"))?;
        if !rest.trim().is_empty() {
            return Err(format!("there is more behind the series; {example}"));
        }
        Ok(series)
    }

    /// The value of a label; to Prometheus none is the same as an empty one.
    fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }

    /// What the values of all that fit come to.
    ///
    /// # Errors
    /// Why they don't tell a number.
    pub(super) fn sum(&self, text: &str) -> Result<f64, &'static str> {
        // One that breaks off may show the beginning of a number.
        if !text.ends_with('\n') && !text.ends_with("# EOF") {
            return Err("the answer does not end with a line feed, as one that was cut off");
        }
        let mut sum = None;
        for line in text.lines().map(str::trim_start) {
            // Most lines are about others: only what has the name is looked at closely.
            if word(line, true).is_none_or(|(name, _)| name != self.name) {
                continue;
            }
            let Some((series, rest)) = head(line) else { return Err("the answer is not in the Prometheus text format") };
            if !self.labels.iter().all(|(label, value)| series.label(label) == value) {
                continue;
            }
            let value = rest.split_ascii_whitespace().next().and_then(|value| value.parse::<f64>().ok());
            let value = value.filter(|value| !value.is_nan()).ok_or("the value of that series is no number")?;
            // It would make up for what another one has.
            if value < 0.0 {
                return Err("a value of that series is below zero");
            }
            sum = Some(sum.unwrap_or(0.0) + value);
        }
        sum.ok_or("the answer has no such series, which does not mean zero; let the application show a 0")
    }
}

/// Name and labels of a line, and what is behind them.
fn head(line: &str) -> Option<(Series, &str)> {
    let (name, rest) = word(line, true)?;
    let mut series = Series { name: name.to_owned(), labels: vec![] };
    let Some(mut rest) = rest.trim_start().strip_prefix('{') else {
        return Some((series, rest));
    };
    loop {
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((series, rest));
        }
        // Names of other characters stand in quotes.
        let (label, after) = if rest.starts_with('"') { quoted(rest)? } else { word(rest, false).map(|(label, rest)| (label.to_owned(), rest))? };
        let (value, after) = quoted(after.trim_start().strip_prefix('=')?.trim_start())?;
        series.labels.push((label, value));
        rest = after.trim_start();
        // A comma may stand behind the last one, too.
        rest = match rest.strip_prefix(',') {
            Some(rest) => rest,
            None if rest.starts_with('}') => rest,
            None => return None,
        };
    }
}

/// The name at the beginning: letters, digits and underscores, those of series colons, too.
fn word(text: &str, colons: bool) -> Option<(&str, &str)> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (colons && byte == b':');
    let end = text.bytes().position(|byte| !fits(byte)).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end)?;
    (!word.is_empty() && !word.starts_with(|first: char| first.is_ascii_digit())).then_some((word, rest))
}

/// The text in quotes at the beginning; a backslash stands before a quote, another one, and the n of a new line.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.strip_prefix('"')?.chars();
    loop {
        match characters.next()? {
            '"' => return Some((value, characters.as_str())),
            '\\' => value.push(match characters.next()? {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    const TEXT: &str = r#"
# HELP sessions Open sessions.
# TYPE sessions gauge
sessions{kind="live",zone="a"} 3 1395066363000
sessions{kind="live", zone="b",} 2
sessions{kind="old \"x\"\\"} 1e1
sessions_total 99
up 1
broken{kind="live" 7
minus -1
missing NaN
many +Inf
odd{a="}"} 4 # {trace="x"} 1
upstream{"service.name"="x", zone="a"} 6
{"my.metric"} 1
"#;

    fn sum(series: &str) -> Result<f64, &'static str> {
        Series::parse(series).unwrap().sum(TEXT)
    }

    #[test]
    fn all_that_have_the_labels_are_added_up() {
        assert_eq!(sum("sessions"), Ok(15.0));
        assert_eq!(sum(r#"sessions{kind="live"}"#), Ok(5.0));
        assert_eq!(sum(r#" sessions{ zone = "b" , kind="live", } "#), Ok(2.0));
        assert_eq!(sum(r#"sessions{kind="old \"x\"\\"}"#), Ok(10.0));
        assert_eq!(sum("up"), Ok(1.0));
        assert_eq!(sum(r#"odd{a="}"}"#), Ok(4.0));
        assert_eq!(sum("many"), Ok(f64::INFINITY));
        assert_eq!(sum(r#"upstream{"service.name"="x"}"#), Ok(6.0));
        // None is the same as an empty one.
        assert_eq!(sum(r#"sessions{zone=""}"#), Ok(10.0));
    }

    #[test]
    fn what_is_missing_or_no_number_is_not_zero() {
        assert!(sum("session").unwrap_err().starts_with("the answer has no such series"));
        assert!(sum(r#"sessions{kind="none"}"#).is_err());
        assert_eq!(sum("minus"), Err("a value of that series is below zero"));
        assert_eq!(sum("missing"), Err("the value of that series is no number"));
        assert_eq!(sum("broken"), Err("the answer is not in the Prometheus text format"));
        let up = |text: &str| Series::parse("up").unwrap().sum(text);
        assert!(up("").is_err() && up("up\n").is_err());
        assert!(up("up 12").unwrap_err().contains("cut off"));
        assert_eq!((up("up 12\n"), up("up 12\n# EOF")), (Ok(12.0), Ok(12.0)));
    }

    #[test]
    fn what_is_no_series_is_refused() {
        for text in ["", "{a=\"b\"}", "1up", "up 3", "up{a}", "up{a=b}", "up{a=\"b\"", "up{a=\"b\" c=\"d\"}", "sum(up)", "größe"] {
            assert!(Series::parse(text).is_err(), "{text}");
        }
    }
}
