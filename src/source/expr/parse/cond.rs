//! The grammar of conditions.

use super::super::cond::{Cond, Orders, Switch, TextTest, anchor};
use super::{Parser, Tok, Wrong, field, kind_of, wrong};
use crate::activity::{Field, Kind, Type};
use crate::source::switch::{PowerShellLog, Subcategory, SysmonRule};
use crate::yaml::suggest;

impl Parser<'_> {
    /// A condition.
    pub(super) fn cond(&mut self) -> Result<Cond, Wrong> {
        self.deeper(|p| {
            let mut any = vec![p.all()?];
            while p.word("or") {
                any.push(p.all()?);
            }
            Ok(if any.len() == 1 { any.remove(0) } else { Cond::Any(any) })
        })
    }

    fn all(&mut self) -> Result<Cond, Wrong> {
        let mut all = vec![self.not()?];
        while self.word("and") {
            all.push(self.not()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Cond::All(all) })
    }

    fn not(&mut self) -> Result<Cond, Wrong> {
        if self.word("not") {
            return self.deeper(|p| Ok(Cond::Not(Box::new(p.not()?))));
        }
        if self.sign("(") {
            let c = self.cond()?;
            return if self.sign(")") { Ok(c) } else { Err("a bracket is not closed".to_string().into()) };
        }
        if self.word("has") {
            let Tok::Word(w) = self.next("a field")? else {
                return wrong("`has` needs a field", "write `has file.path`");
            };
            return Ok(Cond::Has(field(&w)?));
        }
        let w = match self.next("a condition")? {
            Tok::Word(w) => w,
            t => return wrong(format!("{t} is not a condition"), "a condition begins with a field or a policy"),
        };
        if let Some(switch) = w.strip_prefix("policy.") {
            return self.switch(switch).map(Cond::Switch);
        }
        self.test(&w)
    }

    fn switch(&mut self, name: &str) -> Result<Switch, Wrong> {
        match name {
            "sysmon" if self.word("installed") => Ok(Switch::SysmonInstalled),
            "sysmon" => {
                self.expect("selects")?;
                let w = self.plain_word("a Sysmon rule")?;
                SysmonRule::parse(&w).map(Switch::Sysmon).ok_or_else(|| Wrong {
                    message: format!("unknown Sysmon rule `{w}`"),
                    help: Some(suggest(&w, SysmonRule::ALL.iter().map(|r| r.name()))),
                })
            }
            "audit" if self.word("command_line") => Ok(Switch::CommandLine),
            "audit" => {
                self.expect("logs")?;
                let Tok::Text(t) = self.next("a subcategory")? else {
                    return wrong("the subcategory is quoted", "write `policy.audit logs 'Process Creation' success`");
                };
                let Some(s) = Subcategory::parse(&t) else {
                    return wrong(
                        format!("unknown audit subcategory `{t}`"),
                        suggest(&t, Subcategory::ALL.iter().map(|s| s.name())),
                    );
                };
                match self.plain_word("`success` or `failure`")?.as_str() {
                    "success" => Ok(Switch::Audit(s, true)),
                    "failure" => Ok(Switch::Audit(s, false)),
                    w => wrong(format!("unknown outcome `{w}`"), "`success` or `failure`"),
                }
            }
            "sacl" => {
                self.expect("covers")?;
                self.expect("object")?;
                Ok(Switch::Sacl)
            }
            "powershell" => {
                self.expect("logs")?;
                let w = self.plain_word("a PowerShell log")?;
                PowerShellLog::parse(&w).map(Switch::PowerShell).ok_or_else(|| Wrong {
                    message: format!("unknown PowerShell log `{w}`"),
                    help: Some(suggest(&w, PowerShellLog::ALL.iter().map(|r| r.name()))),
                })
            }
            _ => wrong(
                format!("unknown policy `policy.{name}`"),
                suggest(name, ["sysmon", "audit", "sacl", "powershell"]),
            ),
        }
    }

    fn expect(&mut self, w: &str) -> Result<(), Wrong> {
        if self.word(w) { Ok(()) } else { Err(format!("`{w}` is missing behind the policy").into()) }
    }

    fn plain_word(&mut self, what: &str) -> Result<String, Wrong> {
        match self.next(what)? {
            Tok::Word(w) => Ok(w),
            t => Err(format!("{t} stands where {what} belongs").into()),
        }
    }

    fn test(&mut self, name: &str) -> Result<Cond, Wrong> {
        const SIGNS: [&str; 6] = ["==", "!=", "<", "<=", ">", ">="];
        if name == "kind" {
            let equal = self.sign("==");
            if !equal && !self.sign("!=") {
                return wrong("`kind` is compared with `==` or `!=`", "write `kind == process.start`");
            }
            let w = self.plain_word("a kind of activity")?;
            let Some(k) = Kind::parse(&w) else {
                return wrong(
                    format!("unknown kind of activity `{w}`"),
                    suggest(&w, Kind::ALL.iter().map(|k| k.name())),
                );
            };
            return Ok(if equal { Cond::Kind(k) } else { Cond::Not(Box::new(Cond::Kind(k))) });
        }
        let f = field(name)?;
        for (word, test) in [("begins", TextTest::Begins), ("ends", TextTest::Ends)] {
            if self.word(word) {
                return Ok(Cond::Text(f, test, self.literal_text(f)?));
            }
        }
        if self.word("contains") {
            let what = self.literal_text(f)?;
            return Ok(Cond::Text(f, TextTest::Contains { anchor: anchor(&what) }, what));
        }
        if self.word("in") {
            return self.list(f);
        }
        let Some(sign) = SIGNS.iter().find(|s| self.sign(s)) else {
            return match f.ty() {
                Type::Bool => Ok(Cond::True(f)),
                t => wrong(
                    format!("`{f}` is {}, not a condition", kind_of(t)),
                    format!("compare it (`{f} == ...`) or ask `has {f}`"),
                ),
            };
        };
        let negate = *sign == "!=";
        let c = match (f.ty(), self.next("a literal")?) {
            (Type::Uint, Tok::Number(n)) => {
                let (less, equal, greater) = match *sign {
                    "<" => (true, false, false),
                    "<=" => (true, true, false),
                    ">" => (false, false, true),
                    ">=" => (false, true, true),
                    _ => (false, true, false),
                };
                Cond::Number(f, n, Orders { less, equal, greater })
            }
            (Type::Text, Tok::Text(t)) if matches!(*sign, "==" | "!=") => Cond::Text(f, TextTest::Is, t),
            (Type::Bool, Tok::Word(w)) if matches!(w.as_str(), "true" | "false") && matches!(*sign, "==" | "!=") => {
                let c = Cond::True(f);
                if w == "true" { c } else { Cond::All(vec![Cond::Has(f), Cond::Not(Box::new(c))]) }
            }
            (t, Tok::Word(w)) if matches!(*sign, "==" | "!=") && Field::parse(&w).is_some_and(|o| o.ty() == t) => {
                Cond::Same(f, Field::parse(&w).expect("just found"))
            }
            (t, tok) => {
                return wrong(
                    format!("`{f}` is {} and cannot be compared with {tok} by `{sign}`", kind_of(t)),
                    "texts compare by == and != with quoted text, numbers also by order",
                );
            }
        };
        Ok(if negate { Cond::Not(Box::new(c)) } else { c })
    }

    fn list(&mut self, f: Field) -> Result<Cond, Wrong> {
        if !self.sign("[") {
            return wrong("`in` needs a list", "write `field in ['a', 'b']`");
        }
        let (mut words, mut numbers) = (vec![], vec![]);
        while !self.sign("]") {
            match (f.ty(), self.next("`]`")?) {
                (Type::Text, Tok::Text(t)) => words.push(t),
                (Type::Uint, Tok::Number(n)) => {
                    numbers.push(Cond::Number(f, n, Orders { less: false, equal: true, greater: false }));
                }
                (t, tok) => return Err(format!("`{f}` is {} and cannot be {tok}", kind_of(t)).into()),
            }
            self.sign(",");
        }
        Ok(if f.ty() == Type::Text { Cond::In(f, words) } else { Cond::Any(numbers) })
    }

    fn literal_text(&mut self, f: Field) -> Result<String, Wrong> {
        if f.ty() != Type::Text {
            return Err(format!("`{f}` is {}, not text", kind_of(f.ty())).into());
        }
        match self.next("a text")? {
            Tok::Text(t) => Ok(t),
            t => wrong(format!("{t} is not a text"), "literals are quoted"),
        }
    }
}
