//! Durations, counts and ranges as written.

use super::template::Template;
use crate::time::Span;
use crate::world::program::{Count, Dur};
use crate::yaml::{Node, Problems, parse_span};

/// A duration that may use captures of an effect.
#[derive(Clone, Debug)]
pub enum Wait {
    /// Known.
    Known(Dur),
    /// Known once references are filled in.
    Text(Template),
}

/// Reads `3s`, `2s..9s` or `{lognormal: {median: 4m, p99: 40m}}`.
pub fn dur(node: &Node, p: &mut Problems, what: &str) -> Option<Dur> {
    if let Some(inner) = node.get("lognormal") {
        let f = node.fields(p, what)?;
        f.take("lognormal");
        f.finish(p);
        let f = inner.fields(p, "a log-normal duration")?;
        let median = f.need(p, "median").and_then(|n| n.span(p, "`median`"));
        let p99 = f.need(p, "p99").and_then(|n| n.span(p, "`p99`"));
        f.finish(p);
        let (median, p99) = (median?, p99?);
        if median.0 <= 0 || p99 < median {
            p.at(inner, "a log-normal needs 0 < `median` <= `p99`");
            return None;
        }
        return Some(Dur::LogNormal { median, p99 });
    }
    match node.as_str().map(parse_dur) {
        Some(Some(d)) => Some(d),
        _ => {
            p.at(
                node,
                format!(
                    "{what} must be a duration such as `3s`, `2s..9s` or `{{lognormal: {{median: 4m, p99: 40m}}}}`, not {}",
                    node.describe()
                ),
            );
            None
        }
    }
}

/// A duration without references: `3s`, `2s..9s`; negative or backward ones are none.
pub fn parse_dur(text: &str) -> Option<Dur> {
    let positive = |t: &str| parse_span(t).filter(|s| s.0 >= 0);
    match text.split_once("..") {
        Some((a, b)) => {
            let b = positive(b)?;
            // `2..9s`: the unit of the second counts for both
            let a = a.trim();
            let a = match a.ends_with(|c: char| c.is_ascii_digit()) {
                true => positive(&format!("{a}{}", &text[unit_start(text)..]))?,
                false => positive(a)?,
            };
            (a <= b).then_some(Dur::Range(a, b))
        }
        None => positive(text).map(Dur::Fixed),
    }
}

fn unit_start(text: &str) -> usize {
    text.rfind(|c: char| c.is_ascii_digit()).map_or(text.len(), |i| i + 1)
}

/// Reads a duration that may use captures.
pub fn wait(node: &Node, p: &mut Problems, what: &str) -> Option<Wait> {
    if node.as_str().is_some_and(|t| t.contains('{')) {
        return Template::read(node, p, what).map(Wait::Text);
    }
    dur(node, p, what).map(Wait::Known)
}

/// Reads `3`, `2..4` or `{lognormal: {median: 5, p99: 60}}`.
pub fn count(node: &Node, p: &mut Problems, what: &str) -> Option<Count> {
    if let Some(inner) = node.get("lognormal") {
        let f = node.fields(p, what)?;
        f.take("lognormal");
        f.finish(p);
        let f = inner.fields(p, "a log-normal count")?;
        let median = f.need(p, "median").and_then(|n| n.number::<f64>(p, "`median`"));
        let p99 = f.need(p, "p99").and_then(|n| n.number::<f64>(p, "`p99`"));
        f.finish(p);
        let (median, p99) = (median?, p99?);
        if !(median > 0.0 && p99 >= median && p99 < 1e9) {
            p.at(inner, "a log-normal needs 0 < `median` <= `p99`");
            return None;
        }
        return Some(Count::LogNormal { median, p99 });
    }
    match node.as_str().and_then(range) {
        Some((a, b)) if a == b => Some(Count::Fixed(a)),
        Some((a, b)) => Some(Count::Range(a, b)),
        None => {
            p.at(
                node,
                format!("{what} must be a number such as `3` or a range such as `2..4`, not {}", node.describe()),
            );
            None
        }
    }
}

/// `3` or `2..4` with the first not above the second.
pub fn range<T: std::str::FromStr + PartialOrd + Copy>(text: &str) -> Option<(T, T)> {
    let number = |t: &str| t.trim().replace('_', "").parse::<T>().ok();
    let (a, b) = match text.split_once("..") {
        Some((a, b)) => (number(a)?, number(b)?),
        None => (number(text)?, number(text)?),
    };
    (a <= b).then_some((a, b))
}

/// Mean of a count.
pub fn mean_count(c: Count) -> f64 {
    match c {
        Count::Fixed(n) => f64::from(n),
        Count::Range(a, b) => (f64::from(a) + f64::from(b)) / 2.0,
        Count::LogNormal { median, p99 } => {
            let sigma = libm::log(p99 / median) / 2.326_347_874_040_841;
            (median * libm::exp(sigma * sigma / 2.0)).max(1.0)
        }
    }
}

/// Range of milliseconds, for the engine's own defaults.
pub const fn ms(a: i64, b: i64) -> Dur {
    Dur::Range(Span::ms(a), Span::ms(b))
}

/// No pause.
pub const NONE: Dur = Dur::Fixed(Span::ZERO);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_dur("3s"), Some(Dur::Fixed(Span::s(3))));
        assert_eq!(parse_dur("2s..9s"), Some(Dur::Range(Span::s(2), Span::s(9))));
        assert_eq!(parse_dur("2..9s"), Some(Dur::Range(Span::s(2), Span::s(9))));
        assert_eq!(parse_dur("1.5s..2m"), Some(Dur::Range(Span::ms(1500), Span::s(120))));
        for bad in ["9s..2s", "-3s", "s", "..", "3", "3s..", "ü..3s", "..3s"] {
            assert_eq!(parse_dur(bad), None, "{bad}");
        }
        assert_eq!(range::<u32>("2..4"), Some((2, 4)));
        assert_eq!(range::<u32>("4..2"), None);
    }

    #[test]
    fn mean_of_a_lognormal_lies_above_its_median() {
        let m = mean_count(Count::LogNormal { median: 10.0, p99: 100.0 });
        assert!((15.0..18.0).contains(&m), "{m}");
    }
}
