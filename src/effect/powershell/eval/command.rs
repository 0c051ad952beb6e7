//! What a command in a pipeline does: keywords that are commands, aliases, functions, cmdlets.

use super::*;

impl<'a> Eval<'a> {
    pub(super) fn command(&mut self, c: &Command, input: Option<Val>, text: &str) -> Val {
        let Some(Word::Value(first)) = c.words.first() else { return Val::Null };
        let head = self.expr_in(first, text);
        if let Val::Script(_, b) = &head {
            let b = b.clone();
            let (v, _) = self.block(&b);
            return v;
        }
        if let Val::Object(_) = head {
            return Val::Unknown;
        }
        let Some(name) = self.known(&head).filter(|n| !n.trim().is_empty()) else { return Val::Unknown };
        let path = name.contains(['\\', '/']);
        let lower = name.to_lowercase();
        let full = ALIASES.iter().find(|(a, _)| *a == lower && !path).map_or(&*name, |(_, n)| n).to_owned();
        let full = full
            .rsplit_once('\\')
            .filter(|(m, n)| n.contains('-') && m.contains("PowerShell"))
            .map_or(full.clone(), |(_, n)| n.to_owned());
        let lower = full.to_lowercase();
        let mut args: Vec<Arg> = vec![];
        let mut blocks: Vec<(Option<String>, Block)> = vec![];
        let mut values: Vec<(Option<String>, Val)> = vec![];
        let mut named: Option<String> = None;
        for w in &c.words[1..] {
            match w {
                Word::Param(n, v) => {
                    args.push(Arg::option(&if v.is_some() { format!("{n}:") } else { n.clone() }));
                    named = Some(n.to_lowercase());
                    if let Some(v) = v {
                        let v = self.expr_in(v, text);
                        args.extend(self.arg(&v));
                        values.push((named.take(), v));
                    }
                }
                Word::Splat(n) => {
                    if let Some(v @ Val::List(_)) = self.vars.get(n).cloned() {
                        for v in items(v) {
                            args.extend(self.arg(&v));
                        }
                    } else if let Some(Val::Table(t)) = self.vars.get(n).cloned() {
                        for (k, v) in t {
                            args.push(Arg::option(&k));
                            if !matches!(v, Val::Truth(_)) {
                                args.extend(self.arg(&v));
                            }
                            values.push((Some(k), v));
                        }
                    }
                }
                Word::Value(e) => {
                    let v = self.expr_in(e, text);
                    if let Val::Script(_, b) = &v {
                        blocks.push((named.clone(), b.clone()));
                    }
                    if let Val::Table(t) = &v {
                        // `-Arguments @{CommandLine = '…'}`: effects take its members like parameters
                        for (k, v) in t.clone() {
                            let from = args.len();
                            args.push(Arg::option(&k));
                            args.extend(self.arg(&v));
                            args[from..].iter_mut().for_each(|a| a.part = true);
                        }
                    } else {
                        args.extend(self.arg(&v));
                    }
                    values.push((named.take(), v));
                }
            }
        }
        let into = c.into.as_ref().map(|e| self.expr(e)).and_then(|v| self.known(&v)).filter(|t| !t.is_empty());
        // functions of the script, and cmdlets that run blocks or give values
        if let Some(f) = self.functions.get(&lower).cloned().filter(|_| !path) {
            self.pending.remove(&lower);
            return self.call_function(&f, &values);
        }
        let get = |names: &[&str], at: usize| -> Option<Val> {
            let by_name =
                values.iter().find(|(n, _)| n.as_ref().is_some_and(|n| names.iter().any(|w| w.starts_with(&**n))));
            by_name.or_else(|| values.iter().filter(|(n, _)| n.is_none()).nth(at)).map(|(_, v)| v.clone())
        };
        // those whose value is known; the rest is told below
        let early = match &*lower {
            "select-object" | "sort-object" | "out-string" | "format-table" | "format-list" | "write-output" => {
                into.is_none()
            }
            w => VALUES.contains(&w),
        };
        if early {
            self.emit(full.clone(), args.clone(), text, None);
        }
        match &*lower {
            "foreach-object" => {
                let from = input.map_or_else(|| vec![Val::Unknown], items);
                let Some((_, b)) = blocks.last().cloned() else { return Val::Unknown };
                let (v, _) = self.rounds(from, |e, v| {
                    e.vars.insert("_".into(), v);
                    e.block(&b)
                });
                return v;
            }
            "where-object" => {
                if let Some((_, b)) = blocks.first().cloned() {
                    self.vars.insert("_".into(), Val::Unknown);
                    self.block(&b);
                }
                return Val::Unknown;
            }
            "select-object" | "sort-object" | "write-output" | "out-string" | "format-table" | "format-list" => {
                let passed = get(&["inputobject"], 0).filter(|_| lower == "write-output").or(input.clone());
                if lower == "select-object"
                    && let Some(p) = get(&["expandproperty", "property"], 0)
                    && let (Some(Val::Object(i)), Some(p)) = (input.clone(), self.known(&p))
                {
                    let v = self.member(Val::Object(i), &p.to_lowercase());
                    return v;
                }
                if early {
                    return passed.unwrap_or(Val::Null);
                }
            }
            "join-path" => {
                let (a, b) = (get(&["path"], 0), get(&["childpath"], 1));
                if let (Some(a), Some(b)) = (a, b) {
                    let (a, b) = (self.text(&a), self.text(&b));
                    return Val::Text(format!("{}\\{}", a.trim_end_matches('\\'), b.trim_start_matches('\\')));
                }
                return Val::Unknown;
            }
            "split-path" => {
                let t = get(&["path", "literalpath"], 0).or(input).map(|v| self.text(&v)).unwrap_or_default();
                let leaf = args.iter().any(|a| a.option && a.value.to_lowercase().starts_with("-l"));
                let (dir, file) = t.rsplit_once('\\').unwrap_or(("", &t));
                return Val::Text(if leaf { file.to_owned() } else { dir.to_owned() });
            }
            "resolve-path" | "convert-path" => return get(&["path", "literalpath"], 0).unwrap_or(Val::Unknown),
            "get-location" => return Val::Text((self.ask)(Ask::Env("CD")).unwrap_or_default()),
            "get-random" => {
                let n = |v: Option<Val>| match v {
                    Some(Val::Number(n)) => Some(n),
                    Some(Val::Text(t)) => t.parse().ok(),
                    _ => None,
                };
                if args.iter().any(|a| a.value.to_lowercase().starts_with("-c")) || input.is_some() {
                    return Val::Unknown;
                }
                let (a, b) =
                    (n(get(&["minimum"], 9)).unwrap_or(0.0), n(get(&["maximum"], 0)).unwrap_or(2_147_483_647.0));
                return (self.ask)(Ask::Random(a as i32, (b - 1.0).max(a) as i32)).map_or(Val::Unknown, Val::Text);
            }
            "new-guid" => return (self.ask)(Ask::Guid).map_or(Val::Unknown, Val::Text),
            "get-date" => {
                let f = get(&["format", "uformat"], 5).map(|v| self.text(&v)).unwrap_or_default();
                return (self.ask)(Ask::Date(&f)).map_or(Val::Unknown, Val::Text);
            }
            "get-variable" => {
                let n = get(&["name"], 0).map(|v| self.text(&v).to_lowercase()).unwrap_or_default();
                let v = self.vars.get(&n).cloned().unwrap_or(Val::Unknown);
                return self.object("variable", None, [("value".to_owned(), v)].into());
            }
            "set-variable" | "new-variable" => {
                if let (Some(n), Some(v)) = (get(&["name"], 0), get(&["value"], 1)) {
                    let n = self.text(&n).to_lowercase();
                    self.vars.insert(n, v);
                }
                return Val::Null;
            }
            "invoke-expression" => {
                let code = get(&["command"], 0).or(input);
                let known = code.as_ref().and_then(|v| self.known(v)).filter(|t| !t.contains(UNKNOWN));
                self.emit(full, args, text, None);
                if let Some(code) = known
                    && self.deep < CALLS_DEEP_MAX
                {
                    self.out.last_mut().into_iter().for_each(|c| c.code = Some(code.clone()));
                    self.deep += 1;
                    let (b, whole) = parse::parse(&code);
                    self.cut |= !whole;
                    let (v, _) = self.block(&b);
                    self.deep -= 1;
                    return v;
                }
                return Val::Unknown;
            }
            _ if early => return Val::Null,
            _ => {}
        }
        // what came down the pipe is an argument like any other
        if let Some(v) = input.filter(|v| !matches!(v, Val::Unknown | Val::Null))
            && !path
            && full.contains('-')
        {
            let more: Vec<Arg> = self.arg(&v).into_iter().filter(|a| !a.value.is_empty()).collect();
            if !more.is_empty() {
                args.push(Arg::option("InputObject"));
                args.extend(more);
            }
        }
        let elsewhere = matches!(
            &*lower,
            "invoke-command"
                | "start-job"
                | "register-scheduledjob"
                | "register-objectevent"
                | "start-threadjob"
                | "register-wmievent"
                | "register-cimindicationevent"
        );
        let target = get(&["path", "literalpath", "name", "filepath"], 0);
        self.emit(full, args, text, into);
        if !elsewhere {
            for (_, b) in blocks {
                self.block(&b);
            }
        }
        match &*lower {
            "new-object" => {
                let com = values
                    .iter()
                    .find(|(n, _)| n.as_ref().is_some_and(|n| "comobject".starts_with(&**n) && n.starts_with('c')));
                let kind = com.or_else(|| values.first()).map(|(_, v)| self.text(v)).unwrap_or_default();
                let kind = if com.is_some() { kind } else { kind.rsplit('.').next().unwrap_or(&kind).to_owned() };
                let kind = kind.split('(').next().unwrap_or(&kind).to_lowercase();
                let arg = get(&["argumentlist"], 1).unwrap_or(Val::Null);
                self.object(&kind, None, [("arg".to_owned(), arg)].into())
            }
            "get-process" => match target.and_then(|v| self.known(&v)) {
                Some(n) if !n.contains('*') => {
                    let pid = (self.ask)(Ask::Pid(&n)).map_or(Val::Unknown, Val::Text);
                    self.object("process", Some(n), [("id".to_owned(), pid)].into())
                }
                _ => Val::Unknown,
            },
            "get-item" | "new-item" | "get-childitem" | "get-service" | "get-scheduledtask" | "get-localuser"
            | "get-aduser" => match target.and_then(|v| self.known(&v)).filter(|t| !t.contains(['*', '?'])) {
                Some(n) if lower != "get-childitem" => {
                    let name = n.rsplit('\\').next().unwrap_or(&n).to_owned();
                    let set = [("fullname", n.clone()), ("name", name)];
                    self.object("item", Some(n), set.map(|(k, v)| (k.to_owned(), Val::Text(v))).into())
                }
                _ => Val::Unknown,
            },
            "new-scheduledtaskaction"
            | "new-scheduledtasktrigger"
            | "new-scheduledtaskprincipal"
            | "new-scheduledtask"
            | "new-scheduledtasksettingsset" => {
                let mut set = BTreeMap::new();
                for (n, v) in &values {
                    match (n, v) {
                        // a task holds what its parts were given
                        (_, Val::Object(i)) => set.extend(self.objects[*i].set.clone()),
                        (Some(n), v) => drop(set.insert(n.clone(), v.clone())),
                        (None, v) => drop(set.entry("execute".into()).or_insert_with(|| v.clone())),
                    }
                }
                self.object("task", None, set)
            }
            _ => Val::Unknown,
        }
    }
}
