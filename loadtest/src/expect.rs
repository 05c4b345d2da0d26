//! `--expect 'p99<50ms,lost=0'`: thresholds that decide the exit code.

use crate::summary::{Summary, Unit, figures, show};
use crate::units;

/// One threshold.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expectation {
    text: String,
    name: &'static str,
    unit: Unit,
    comparison: Comparison,
    value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
}

/// The longer signs first, so that `<=` is not read as `<`.
const SIGNS: [(&str, Comparison); 6] = [
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("!=", Comparison::NotEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("=", Comparison::Equal),
];

/// Reads thresholds, separated by commas.
pub(crate) fn parse(text: &str) -> Result<Vec<Expectation>, String> {
    text.split(',').map(parse_one).collect()
}

fn parse_one(text: &str) -> Result<Expectation, String> {
    let text = text.trim();
    let sign = text
        .find(['<', '>', '=', '!'])
        .ok_or_else(|| format!("`{text}` compares nothing; write for example p99<50ms"))?;
    let (name, rest) = text.split_at(sign);
    let name = name.trim();
    let (sign, comparison) = SIGNS
        .into_iter()
        .find(|(sign, _)| rest.starts_with(sign))
        .ok_or_else(|| format!("`{text}`: the signs are < <= = != >= >"))?;
    let (name, unit, _) = figures()
        .find(|(known, ..)| *known == name)
        .ok_or_else(|| format!("`{name}` is no figure; the figures are {}", names()))?;
    let value = parse_value(rest[sign.len()..].trim(), unit)
        .map_err(|error| format!("`{text}`: {error}"))?;
    Ok(Expectation {
        text: text.to_owned(),
        name,
        unit,
        comparison,
        value,
    })
}

fn parse_value(text: &str, unit: Unit) -> Result<f64, String> {
    if unit == Unit::Seconds {
        return units::duration(text).map(|duration| duration.as_secs_f64());
    }
    let (number, suffix) = units::split(text)?;
    let factor = match (unit, suffix) {
        (Unit::Part, "%") => 0.01,
        (Unit::Bytes, "B") | (_, "") => 1.0,
        (Unit::Bytes, "kB") | (Unit::Number, "k") => 1e3,
        (Unit::Bytes, "MB") | (Unit::Number, "M") => 1e6,
        (Unit::Bytes, "GB") => 1e9,
        (Unit::Bytes, "KiB") => 1024.0,
        (Unit::Bytes, "MiB") => 1024.0 * 1024.0,
        (Unit::Bytes, "GiB") => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("`{suffix}` is no unit of this figure")),
    };
    let value = number * factor;
    // 99.9 means 99.9 %, and would never hold.
    if unit == Unit::Part && value > 1.0 {
        return Err(format!(
            "a part is at most 1, which is 100%; `{text}` is more"
        ));
    }
    Ok(value)
}

fn names() -> String {
    let names: Vec<_> = figures().map(|(name, ..)| name).collect();
    names.join(", ")
}

impl Expectation {
    /// What was found, if the run meets it; else what is wrong. A figure that the run did not give meets nothing.
    pub(crate) fn check(&self, summary: &Summary) -> Result<String, String> {
        let Some(found) = summary.value(self.name) else {
            return Err(format!("{}: the run gave no `{}`", self.text, self.name));
        };
        let said = format!("{}: it was {}", self.text, show(found, self.unit));
        if self.comparison.holds(found, self.value) {
            Ok(said)
        } else {
            Err(said)
        }
    }
}

impl Comparison {
    fn holds(self, found: f64, wanted: f64) -> bool {
        match self {
            Self::Less => found < wanted,
            Self::LessOrEqual => found <= wanted,
            Self::Equal => found == wanted,
            Self::NotEqual => found != wanted,
            Self::GreaterOrEqual => found >= wanted,
            Self::Greater => found > wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let mut summary = Summary::new("test", String::new());
        summary.add("p99", 0.05);
        summary.add("lost", 0.0);
        summary.add("rate", 1500.0);
        summary.add("lost_part", 0.02);
        summary.add("resident_per_connection", 2048.0);
        summary
    }

    fn failed(text: &str) -> Vec<String> {
        let expectations = parse(text).unwrap();
        expectations
            .iter()
            .filter_map(|one| one.check(&summary()).err())
            .collect()
    }

    #[test]
    fn thresholds_that_hold() {
        assert!(failed("p99<=50ms, lost=0,rate>1000").is_empty());
        assert!(failed("p99<0.1s,lost!=1,rate>=1.5k,rate<1M").is_empty());
        assert!(failed("lost_part<=2%,resident_per_connection<=2KiB").is_empty());
    }

    #[test]
    fn thresholds_that_do_not_hold_are_named_with_what_was_found() {
        assert_eq!(failed("p99<50ms,lost=0"), ["p99<50ms: it was 50.00 ms"]);
        assert_eq!(failed("rate>2000"), ["rate>2000: it was 1,500"]);
    }

    #[test]
    fn a_figure_that_the_run_did_not_give_is_a_failure() {
        assert_eq!(failed("p50<1s"), ["p50<1s: the run gave no `p50`"]);
    }

    #[test]
    fn bad_expressions_are_refused() {
        for text in [
            "",
            "p99",
            "p99<",
            "p99<50",
            "p99<fast",
            "nothing<1",
            "lost==0",
            "lost=0ms",
            "rate=>1",
            "p99<1s,",
            "lost_part<2",
            "recovered>=99.9",
            "recovered>=101%",
        ] {
            assert!(parse(text).is_err(), "`{text}` was accepted");
        }
    }
}
