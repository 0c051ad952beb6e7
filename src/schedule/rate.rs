//! A rate as people write it, kept without rounding.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Events or rows.
    Records,
    /// Payload bytes of the stream's first delivery, uncompressed.
    Bytes,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Records => "records per second",
            Unit::Bytes => "bytes per second",
        })
    }
}

/// A rate in thousandths of a record or byte per day: every rate per second, minute, hour or day with three
/// decimals is whole in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rate {
    /// Thousandths per day.
    pub per_day_milli: u64,
    /// Of what.
    pub unit: Unit,
}

impl Rate {
    /// 10^11 per second.
    pub const MAX_PER_DAY_MILLI: u64 = 100_000_000_000 * 86_400_000;

    /// Whole records per second.
    ///
    /// # Panics
    /// Above 10^11 per second.
    pub const fn records_per_second(n: u64) -> Rate {
        assert!(n <= 100_000_000_000);
        Rate { per_day_milli: n * 86_400_000, unit: Unit::Records }
    }
    /// Per second, for sizing and print-outs.
    pub fn per_second(self) -> f64 {
        self.per_day_milli as f64 / 86_400_000.0
    }
    /// The rate times a factor, rounded; never above the maximum.
    pub fn times(self, factor: f64) -> Rate {
        let n = libm::round(self.per_day_milli as f64 * factor.max(0.0));
        Rate { per_day_milli: (n as u64).min(Rate::MAX_PER_DAY_MILLI), ..self }
    }
    /// Reads `3k/s`, `1.5/s`, `90/min`, `40MB/s`, `200GB/d`.
    ///
    /// # Errors
    /// What is wrong with the text, to be put after "rate".
    pub fn parse(text: &str) -> Result<Rate, String> {
        let text = text.trim();
        let like = "such as `3k/s`, `90/min`, `40MB/s` or `200GB/d`";
        let Some((amount, per)) = text.split_once('/') else {
            return Err(format!("must say per what, {like}, not `{}`", short(text)));
        };
        let per_day: u128 = match per.trim() {
            "s" | "sec" | "second" => 86_400,
            "m" | "min" | "minute" => 1_440,
            "h" | "hour" => 24,
            "d" | "day" => 1,
            other => return Err(format!("must be per `s`, `min`, `h` or `d`, not per `{}`", short(other))),
        };
        let amount = amount.trim();
        let split = amount.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '_'))).unwrap_or(amount.len());
        if split == 0 {
            return Err(format!("must begin with a number, {like}, not `{}`", short(text)));
        }
        let (number, unit) = (amount[..split].replace('_', ""), amount[split..].trim());
        let (multiplier, unit) = match unit {
            "" => (1u128, Unit::Records),
            "k" | "K" => (1_000, Unit::Records),
            "M" => (1_000_000, Unit::Records),
            "B" => (1, Unit::Bytes),
            "kB" | "KB" => (1_000, Unit::Bytes),
            "MB" => (1_000_000, Unit::Bytes),
            "GB" => (1_000_000_000, Unit::Bytes),
            "TB" => (1_000_000_000_000, Unit::Bytes),
            "KiB" => (1 << 10, Unit::Bytes),
            "MiB" => (1 << 20, Unit::Bytes),
            "GiB" => (1 << 30, Unit::Bytes),
            "TiB" => (1 << 40, Unit::Bytes),
            other => {
                let units = "`k`, `M` for records, `B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB`, `TiB` for bytes";
                return Err(format!("has the unknown unit `{}`, expected one of {units}", short(other)));
            }
        };
        let (whole, part) = number.split_once('.').unwrap_or((&number, ""));
        let digits = format!("{whole}{part}");
        if digits.is_empty() || part.contains('.') || digits.len() > 18 {
            return Err(format!("must be a number, {like}, not `{}`", short(text)));
        }
        let scaled = digits.parse::<u128>().map_err(|e| e.to_string())? * multiplier * per_day * 1_000;
        let divisor = 10u128.pow(part.len() as u32);
        let n = (scaled + divisor / 2) / divisor;
        if n == 0 && scaled > 0 {
            return Err(format!("`{}` is below one in a thousand days", short(text)));
        }
        match u64::try_from(n) {
            Ok(n) if n <= Rate::MAX_PER_DAY_MILLI => Ok(Rate { per_day_milli: n, unit }),
            _ => Err(format!("`{}` is above 100 thousand million per second", short(text))),
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

impl fmt::Display for Rate {
    /// The shortest text that reads back as the same rate, or per second with three digits where none is short.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffixes: &[(u64, &str)] = match self.unit {
            Unit::Records => &[(1_000_000, "M"), (1_000, "k"), (1, "")],
            Unit::Bytes => &[(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB"), (1, "B")],
        };
        let mut best: Option<String> = None;
        for (per_day, per) in [(86_400u64, "s"), (1_440, "min"), (24, "h"), (1, "d")] {
            for (multiplier, suffix) in suffixes {
                let one = per_day as u128 * *multiplier as u128; // thousandths per day that make 0.001 of this
                let n = self.per_day_milli as u128;
                if !n.is_multiple_of(one) || (n < one * 100 && *multiplier > 1) {
                    continue;
                }
                let milli = n / one;
                let text = format!("{}.{:03}", milli / 1_000, milli % 1_000);
                let text = format!("{}{suffix}/{per}", text.trim_end_matches('0').trim_end_matches('.'));
                if best.as_ref().is_none_or(|b| text.len() < b.len()) {
                    best = Some(text);
                }
            }
            if best.is_some() {
                break;
            }
        }
        if let Some(text) = best {
            return f.write_str(&text);
        }
        let n = self.per_second();
        let (m, suffix) = *suffixes.iter().find(|(m, _)| n >= *m as f64).unwrap_or(&(1, suffixes.last().unwrap().1));
        write!(f, "{:.3}{suffix}/s", n / m as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_read_and_print() {
        let show =
            |t: &str| Rate::parse(t).map_or_else(|e| format!("rate {e}"), |r| format!("{} {r}", r.per_day_milli));
        let all = [
            "3k/s",
            "20k/s",
            "1.5/s",
            "90/min",
            "40MB/s",
            "200GB/d",
            "1/d",
            "0/s",
            "1_000/s",
            "0.25k/s",
            "7/h",
            "1GiB/h",
            "3000",
            "3k/y",
            "3x/s",
            "/s",
            "1.2.3/s",
            "-3/s",
            "0.0000001/d",
            "1000TB/s",
            "1e3/s",
        ]
        .map(|t| format!("{t}: {}", show(t)));
        insta::assert_snapshot!(all.join("\n"), @"
        3k/s: 259200000000 3k/s
        20k/s: 1728000000000 20k/s
        1.5/s: 129600000 1.5/s
        90/min: 129600000 1.5/s
        40MB/s: 3456000000000000 40MB/s
        200GB/d: 200000000000000 200GB/d
        1/d: 1000 1/d
        0/s: 0 0/s
        1_000/s: 86400000000 1k/s
        0.25k/s: 21600000000 250/s
        7/h: 168000 7/h
        1GiB/h: 25769803776000 1073741824B/h
        3000: rate must say per what, such as `3k/s`, `90/min`, `40MB/s` or `200GB/d`, not `3000`
        3k/y: rate must be per `s`, `min`, `h` or `d`, not per `y`
        3x/s: rate has the unknown unit `x`, expected one of `k`, `M` for records, `B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB`, `TiB` for bytes
        /s: rate must begin with a number, such as `3k/s`, `90/min`, `40MB/s` or `200GB/d`, not `/s`
        1.2.3/s: rate must be a number, such as `3k/s`, `90/min`, `40MB/s` or `200GB/d`, not `1.2.3/s`
        -3/s: rate must begin with a number, such as `3k/s`, `90/min`, `40MB/s` or `200GB/d`, not `-3/s`
        0.0000001/d: rate `0.0000001/d` is below one in a thousand days
        1000TB/s: rate `1000TB/s` is above 100 thousand million per second
        1e3/s: rate has the unknown unit `e3`, expected one of `k`, `M` for records, `B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB`, `TiB` for bytes
        ");
    }

    proptest! {
        #[test]
        fn what_is_written_with_three_decimals_reads_back(n in 0u64..10_000_000, per in 0usize..4, unit in 0usize..5) {
            let per = ["s", "min", "h", "d"][per];
            let unit = ["", "k", "B", "kB", "MB"][unit];
            let r = Rate::parse(&format!("{}.{:03}{unit}/{per}", n / 1_000, n % 1_000)).unwrap();
            prop_assert_eq!(Rate::parse(&r.to_string()), Ok(r));
        }
        #[test]
        fn no_panic_on_any_text(s in "\\PC{0,40}", t in "[0-9._kMGTB/sdhmin ]{0,30}") {
            let _ = (Rate::parse(&s), Rate::parse(&t));
        }
    }
}
