//! Members, methods and types of .NET, as far as scripts use them.

use super::*;

impl<'a> Eval<'a> {
    pub(super) fn member(&mut self, v: Val, name: &str) -> Val {
        match v {
            Val::Object(i) => match self.objects[i].set.get(name).cloned() {
                Some(v) => v,
                None => {
                    // a part of an object is one itself
                    let kind = name.to_owned();
                    self.object(&kind, None, BTreeMap::new())
                }
            },
            Val::Table(t) => t.get(name).cloned().unwrap_or(Val::Null),
            Val::Text(t) if name == "length" => Val::Number(t.chars().count() as f64),
            Val::List(l) if matches!(name, "count" | "length") => Val::Number(l.len() as f64),
            _ => Val::Unknown,
        }
    }

    pub(super) fn method(&mut self, v: Val, name: &str, args: Vec<Val>, text: &str) -> Val {
        let lower = name.to_lowercase();
        let arg = |e: &Self, i: usize| args.get(i).and_then(|v| e.known(v));
        if let Val::Text(t) = &v {
            let n = |i: usize| if let Some(Val::Number(n)) = args.get(i) { Some(n.max(0.0) as usize) } else { None };
            match &*lower {
                "tostring" => return v,
                "tolower" | "tolowerinvariant" => return Val::Text(t.to_lowercase()),
                "toupper" | "toupperinvariant" => return Val::Text(t.to_uppercase()),
                "trim" => return Val::Text(t.trim().to_owned()),
                "trimstart" | "trimend" => {
                    let set: Vec<char> = arg(self, 0).unwrap_or_else(|| " ".into()).chars().collect();
                    let t = if lower == "trimstart" {
                        t.trim_start_matches(&set[..])
                    } else {
                        t.trim_end_matches(&set[..])
                    };
                    return Val::Text(t.to_owned());
                }
                "replace" => {
                    if let (Some(a), Some(b)) = (arg(self, 0).filter(|a| !a.is_empty()), arg(self, 1))
                        && t.len() * (b.len() + 1) < VALUE_MAX * 8
                    {
                        return self.text_value(t.replace(&a, &b));
                    }
                    return Val::Unknown;
                }
                "substring" => {
                    let start = n(0).unwrap_or(0);
                    let len = n(1).unwrap_or(usize::MAX);
                    return Val::Text(t.chars().skip(start).take(len).collect());
                }
                "split" => {
                    let by: Vec<char> = arg(self, 0).unwrap_or_else(|| " ".into()).chars().collect();
                    return Val::List(t.split(&by[..]).take(LIST_MAX).map(|t| Val::Text(t.to_owned())).collect());
                }
                "tochararray" => return Val::List(t.chars().take(LIST_MAX).map(|c| Val::Text(c.into())).collect()),
                _ => {}
            }
        }
        if matches!(v, Val::List(_) | Val::Number(_) | Val::Truth(_) | Val::Table(_))
            && matches!(&*lower, "tostring" | "add" | "contains" | "containskey")
        {
            return if lower == "tostring" { Val::Text(self.text(&v)) } else { Val::Null };
        }
        if let Val::Script(_, b) = &v {
            let b = b.clone();
            return self.block(&b).0;
        }
        if let Val::Object(i) = &v
            && let Some(encoding) = self.objects[*i].kind.strip_prefix("encoding ").map(str::to_owned)
        {
            return match &*lower {
                "getbytes" => {
                    match arg(self, 0).filter(|t| !crate::effect::template::has_hole(t) && !t.contains(UNKNOWN)) {
                        Some(t) if encoding == "unicode" => {
                            let b: Vec<u8> = t.encode_utf16().flat_map(u16::to_le_bytes).collect();
                            self.numbers(&b)
                        }
                        Some(t) => self.numbers(t.as_bytes()),
                        None => Val::Unknown,
                    }
                }
                "getstring" => match args.first().and_then(bytes) {
                    Some(b) if encoding == "unicode" => {
                        let units: Vec<u16> = b.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
                        self.text_value(String::from_utf16_lossy(&units))
                    }
                    Some(b) => self.text_value(String::from_utf8_lossy(&b).into_owned()),
                    None => Val::Unknown,
                },
                _ => Val::Unknown,
            };
        }
        let (kind, mut list) = match &v {
            Val::Object(i) => {
                let o = self.objects[*i].clone();
                let mut list: Vec<Arg> = vec![];
                for (k, v) in o.set.iter().filter(|(_, v)| !matches!(v, Val::Object(_) | Val::Null)) {
                    list.push(Arg::option(k));
                    list.push(Arg { value: self.text(v), literal: true, ..Arg::default() });
                }
                (o.kind, list)
            }
            _ => (String::new(), vec![]),
        };
        let mut plain: Vec<Arg> = vec![];
        for a in &args {
            plain.extend(self.arg(a).into_iter().take(1));
        }
        let first = args.first().cloned();
        plain.append(&mut list);
        self.emit(format!("{kind}.{name}"), plain, text, None);
        let block = args.iter().find_map(|a| if let Val::Script(_, b) = a { Some(b.clone()) } else { None });
        if let Some(b) = block {
            self.block(&b);
        }
        // `CreateShortcut(…)` gives a shortcut: what a method makes is known by the method's name
        let made =
            ["create", "get", "new", "open"].iter().find_map(|p| lower.strip_prefix(p)).unwrap_or(&lower).to_owned();
        let set = first.filter(|v| !matches!(v, Val::Unknown | Val::Object(_))).map(|v| ("arg".to_owned(), v));
        match v {
            Val::Object(_) => self.object(&made, None, set.into_iter().collect()),
            _ => Val::Unknown,
        }
    }

    /// `[Type]::Name`
    pub(super) fn constant(&mut self, ty: &str, name: &str) -> Val {
        let env = match (ty, name) {
            ("environment", "username") => "USERNAME",
            ("environment", "machinename") => "COMPUTERNAME",
            ("environment", "userdomainname") => "USERDOMAIN",
            ("environment", "currentdirectory") => "CD",
            ("environment", "newline") => return Val::Text("\n".into()),
            ("string", "empty") => return Val::Text(String::new()),
            ("path", "directoryseparatorchar") => return Val::Text("\\".into()),
            ("encoding", _) => return self.object(&format!("encoding {name}"), None, BTreeMap::new()),
            _ => return self.object(name, Some(name.to_owned()), BTreeMap::new()),
        };
        (self.ask)(Ask::Env(env)).map_or(Val::Unknown, Val::Text)
    }

    /// `[Type]::Name(…)`
    pub(super) fn static_call(&mut self, ty: &str, name: &str, args: Vec<Val>, text: &str) -> Val {
        let lower = name.to_lowercase();
        let known = |e: &Self, i: usize| args.get(i).and_then(|v| e.known(v));
        match (ty, &*lower) {
            ("path", "combine") => {
                let parts: Vec<String> = args.iter().map(|v| self.text(v)).collect();
                return self.text_value(parts.iter().map(|p| p.trim_matches('\\')).collect::<Vec<_>>().join("\\"));
            }
            ("path", "gettemppath") => {
                return (self.ask)(Ask::Env("TEMP")).map_or(Val::Unknown, |t| Val::Text(t + "\\"));
            }
            ("path", "getfilename") => {
                return known(self, 0)
                    .map_or(Val::Unknown, |t| Val::Text(t.rsplit('\\').next().unwrap_or(&t).to_owned()));
            }
            ("path", "getfullpath") => return args.into_iter().next().unwrap_or(Val::Unknown),
            ("path", "getrandomfilename") => return Val::Unknown,
            ("guid", "newguid") => return (self.ask)(Ask::Guid).map_or(Val::Unknown, Val::Text),
            ("environment", "getenvironmentvariable") => {
                let n = known(self, 0).unwrap_or_default();
                return (self.ask)(Ask::Env(&n)).map_or(Val::Unknown, Val::Text);
            }
            ("environment", "getfolderpath") => {
                let base = (self.ask)(Ask::Env("USERPROFILE")).unwrap_or_default();
                let rest = match &*known(self, 0).unwrap_or_default().to_lowercase() {
                    "applicationdata" => r"\AppData\Roaming",
                    "localapplicationdata" => r"\AppData\Local",
                    "startup" => r"\AppData\Roaming\Microsoft\Windows\Start Menu\Programs\Startup",
                    "desktop" | "desktopdirectory" => r"\Desktop",
                    "mydocuments" | "personal" => r"\Documents",
                    "userprofile" => "",
                    "system" => return Val::Text(r"C:\Windows\System32".into()),
                    "windows" => return Val::Text(r"C:\Windows".into()),
                    "commonapplicationdata" => return Val::Text(r"C:\ProgramData".into()),
                    "commonstartup" => {
                        return Val::Text(r"C:\ProgramData\Microsoft\Windows\Start Menu\Programs\StartUp".into());
                    }
                    _ => return Val::Unknown,
                };
                return Val::Text(base + rest);
            }
            ("convert", "frombase64string") => {
                let bytes = known(self, 0).and_then(|t| base64::prelude::BASE64_STANDARD.decode(t.trim()).ok());
                return bytes.map_or(Val::Unknown, |b| self.numbers(&b));
            }
            ("convert", "tobase64string") => {
                let Some(b) = args.first().and_then(bytes) else { return Val::Unknown };
                return self.text_value(base64::prelude::BASE64_STANDARD.encode(b));
            }
            ("convert", "toint32" | "tobyte" | "toint16") => {
                let base = if let Some(Val::Number(n)) = args.get(1) { *n as u32 } else { 10 };
                let n = known(self, 0)
                    .filter(|_| (2..=36).contains(&base))
                    .and_then(|t| i64::from_str_radix(t.trim_start_matches("0x"), base).ok());
                return n.map_or(Val::Unknown, |n| Val::Number(n as f64));
            }
            ("string", "join") => {
                let by = known(self, 0).unwrap_or_default();
                let list = args.get(1).cloned().map(items).unwrap_or_default();
                let t: Vec<String> = list.iter().map(|v| self.text(v)).collect();
                return self.text_value(t.join(&by));
            }
            ("string", "concat") => {
                let t: String = args.iter().map(|v| self.text(v)).collect();
                return self.text_value(t);
            }
            ("string", "format") => {
                let f = args.first().cloned().unwrap_or(Val::Unknown);
                let rest = args[1.min(args.len())..].to_vec();
                return self.binary("f", f, Val::List(rest));
            }
            ("regex", "replace") => return Val::Unknown,
            ("type", "gettypefromprogid" | "gettypefromclsid") => {
                let kind = known(self, 0).unwrap_or_default().to_lowercase();
                let server = args.get(1).cloned().unwrap_or(Val::Null);
                return self.object(&kind, None, [("server".to_owned(), server)].into());
            }
            ("activator", "createinstance") => {
                if let Some(Val::Object(i)) = args.first() {
                    let (kind, server) = (self.objects[*i].kind.clone(), self.objects[*i].set.get("server").cloned());
                    let mut list = vec![Arg::option("ComObject"), Arg { value: kind, literal: true, ..Arg::default() }];
                    if let Some(s) = server.and_then(|v| self.known(&v)).filter(|s| !s.is_empty()) {
                        list.extend([Arg::option("Server"), Arg { value: s, literal: true, ..Arg::default() }]);
                    }
                    self.emit("New-Object".into(), list, text, None);
                    return args[0].clone();
                }
                return Val::Unknown;
            }
            ("scriptblock", "create") => {
                let Some(code) = known(self, 0) else { return Val::Unknown };
                let (b, whole) = parse::parse(&code);
                self.cut |= !whole;
                return Val::Script(code, b);
            }
            (_, "new") => {
                let mut list = vec![Arg { value: ty.to_owned(), literal: true, ..Arg::default() }];
                let first = args.first().cloned().unwrap_or(Val::Null);
                list.extend(args.iter().flat_map(|a| self.arg(a)).take(8));
                self.emit("New-Object".into(), list, text, None);
                return self.object(ty, None, [("arg".to_owned(), first)].into());
            }
            _ => {}
        }
        let mut list: Vec<Arg> = vec![];
        for a in &args {
            list.extend(self.arg(a).into_iter().take(1));
        }
        self.emit(format!("[{ty}]::{name}"), list, text, None);
        let first = args.into_iter().next().unwrap_or(Val::Null);
        let made =
            ["create", "get", "new", "open"].iter().find_map(|p| lower.strip_prefix(p)).unwrap_or(&lower).to_owned();
        self.object(&made, None, [("arg".to_owned(), first)].into())
    }

    pub(super) fn cast(&mut self, ty: &str, v: Val) -> Val {
        match (ty, v) {
            ("char", Val::Number(n)) => char::from_u32(n as u32).map_or(Val::Unknown, |c| Val::Text(c.into())),
            ("char[]", Val::List(l)) => Val::List(l.into_iter().map(|v| self.cast("char", v)).collect()),
            ("char[]", Val::Text(t)) => Val::List(t.chars().take(LIST_MAX).map(|c| Val::Text(c.into())).collect()),
            ("string", v) => Val::Text(self.text(&v)),
            ("int" | "int32" | "long" | "byte" | "double", Val::Text(t)) => {
                number(t.trim()).map_or(Val::Text(t), Val::Number)
            }
            ("scriptblock", Val::Text(t)) => {
                let (b, _) = parse::parse(&t);
                Val::Script(t, b)
            }
            ("type", Val::Text(t)) => Val::Text(t),
            ("wmiclass" | "wmi" | "adsi" | "adsisearcher" | "uri" | "xml" | "wmisearcher", v) => {
                let text = self.known(&v);
                self.emit(
                    format!("[{ty}]"),
                    vec![Arg { value: self.text(&v), literal: true, ..Arg::default() }],
                    "",
                    None,
                );
                self.object(ty, text, [("arg".to_owned(), v)].into())
            }
            (_, v) => v,
        }
    }
}
