//! Operators and comparisons.

use super::*;

impl<'a> Eval<'a> {
    pub(super) fn binary(&mut self, op: &str, a: Val, b: Val) -> Val {
        let op = if level_of(op).is_none() { op.trim_start_matches(['c', 'i']) } else { op };
        match (op, a, b) {
            ("+", Val::Number(a), Val::Number(b)) => Val::Number(a + b),
            ("+", Val::List(mut a), b) => {
                a.extend(items(b));
                a.truncate(LIST_MAX);
                self.checked(Val::List(a))
            }
            ("+", Val::Table(mut a), Val::Table(b)) => {
                a.extend(b);
                self.checked(Val::Table(a))
            }
            ("+", a, b) => {
                if matches!(a, Val::Null) {
                    return b;
                }
                let t = self.text(&a) + &self.text(&b);
                self.text_value(t)
            }
            ("-", Val::Number(a), Val::Number(b)) => Val::Number(a - b),
            ("*", Val::Number(a), Val::Number(b)) => Val::Number(a * b),
            ("*", Val::Text(t), Val::Number(n)) => {
                let n = n.max(0.0) as usize;
                if t.len().saturating_mul(n) > VALUE_MAX {
                    self.cut = true;
                    return Val::Unknown;
                }
                Val::Text(t.repeat(n))
            }
            ("/", Val::Number(a), Val::Number(b)) if b != 0.0 => Val::Number(a / b),
            ("%", Val::Number(a), Val::Number(b)) if b != 0.0 => Val::Number(a % b),
            ("bxor", Val::Number(a), Val::Number(b)) => Val::Number(((a as i64) ^ (b as i64)) as f64),
            ("..", a, b) => match (num(&a), num(&b)) {
                (Some(a), Some(b)) => {
                    let n = (b - a).abs().min(LIST_MAX as f64 - 1.0) as usize;
                    let by = if b < a { -1.0 } else { 1.0 };
                    Val::List((0..=n).map(|i| Val::Number(a + by * i as f64)).collect())
                }
                _ => Val::Unknown,
            },
            ("f", f, args) => {
                let mut t = self.text(&f);
                for (i, v) in items(args).iter().enumerate().take(64) {
                    let v = self.text(v);
                    let plain = format!("{{{i}}}");
                    if t.len() + v.len() * t.matches(&plain).count() > VALUE_MAX {
                        self.cut = true;
                        return Val::Unknown;
                    }
                    t = t.replace(&plain, &v);
                }
                Val::Text(t)
            }
            ("join", a, b) => {
                let by = self.text(&b);
                let t: Vec<String> = items(a).iter().map(|v| self.text(v)).collect();
                self.text_value(t.join(&by))
            }
            ("split", Val::Text(t), b) => {
                let by = self.text(&b);
                match self.regex(&by) {
                    Some(re) => Val::List(re.split(&t).take(LIST_MAX).map(|t| Val::Text(t.to_owned())).collect()),
                    None => Val::Unknown,
                }
            }
            ("replace", Val::Text(t), b) => {
                let parts = items(b);
                let (a, b) = (parts.first().map(|v| self.text(v)), parts.get(1).map(|v| self.text(v)));
                match self.regex(&a.unwrap_or_default()) {
                    Some(re) if t.len() * (b.as_ref().map_or(0, String::len) + 1) < VALUE_MAX * 8 => {
                        let t = re.replace_all(&t, b.unwrap_or_default()).into_owned();
                        self.text_value(t)
                    }
                    _ => Val::Unknown,
                }
            }
            ("eq" | "ne" | "like" | "notlike" | "lt" | "le" | "gt" | "ge" | "match" | "notmatch", a, b) => {
                self.compare(op, &a, &b)
            }
            ("and", a, b) => match (truth(&a), truth(&b)) {
                (Some(false), _) | (_, Some(false)) => Val::Truth(false),
                (Some(true), Some(true)) => Val::Truth(true),
                _ => Val::Unknown,
            },
            ("or", a, b) => match (truth(&a), truth(&b)) {
                (Some(true), _) | (_, Some(true)) => Val::Truth(true),
                (Some(false), Some(false)) => Val::Truth(false),
                _ => Val::Unknown,
            },
            ("as", a, _) => a,
            _ => Val::Unknown,
        }
    }

    pub(super) fn regex(&mut self, pattern: &str) -> Option<regex::Regex> {
        self.steps += PATTERN_MAX;
        if pattern.len() > PATTERN_MAX {
            return None;
        }
        regex::RegexBuilder::new(pattern).case_insensitive(true).size_limit(1 << 20).build().ok()
    }

    pub(super) fn compare(&mut self, op: &str, a: &Val, b: &Val) -> Val {
        if let (Some(x), Some(y)) = (num(a), num(b)) {
            return Val::Truth(match op {
                "eq" | "like" => x == y,
                "ne" | "notlike" => x != y,
                "lt" => x < y,
                "le" => x <= y,
                "gt" => x > y,
                "ge" => x >= y,
                _ => return Val::Unknown,
            });
        }
        let (Some(x), Some(y)) = (self.known(a), self.known(b)) else { return Val::Unknown };
        // a value that is filled in later compares with nothing
        if [&x, &y].iter().any(|t| crate::effect::template::has_hole(t) || t.contains(UNKNOWN)) {
            return Val::Unknown;
        }
        let same = match op {
            "eq" | "ne" => x.eq_ignore_ascii_case(&y),
            "like" | "notlike" => crate::effect::matching::glob(&y, &x),
            _ => return Val::Unknown,
        };
        Val::Truth(same != matches!(op, "ne" | "notlike"))
    }
}
