//! The organisation lives: a week of days, sessions, boots; and a machine that idles needs little memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skirmish::activity::{Field, Kind};
use skirmish::config::{Config, Layers};
use skirmish::engine::{Engine, Pool};
use skirmish::plan::{Extra, Knowledge, Planned, plan};
use skirmish::time::{Span, Time};
use skirmish::world::atlas::AccountId;
use skirmish::world::fact::Val;
use skirmish::world::state::{Shared, State, What};

const DAY: Span = Span::s(86_400);

fn planned(hosts: usize, from: &str, policy: &str) -> Planned {
    let set = [
        format!("world.hosts={hosts}"),
        format!("clock={{from: {from}}}"),
        format!("sensors.policy={policy}"),
        "attacks={scenarios: []}".into(),
        "sinks={out: {null: {}}}".into(),
        "streams={sysmon: {source: windows.sysmon, to: [{sink: out, encoding: nxlog}]}, \
          security: {source: windows.security, to: [{sink: out, encoding: nxlog}]}, \
          system: {source: windows.system, to: [{sink: out, encoding: nxlog}]}}"
            .into(),
    ];
    let layers = Layers { set: set.to_vec(), ..Layers::default() }.or_generate();
    let config = Config::load(&layers).unwrap_or_else(|e| panic!("{e}"));
    let knowledge = Knowledge::load(&[]).unwrap_or_else(|e| panic!("{e}"));
    let extra = Extra { run: "test".into(), ..Extra::default() };
    plan(config, &knowledge, &extra).unwrap_or_else(|e| panic!("{e}"))
}

/// One thing somebody could have seen.
struct Seen<'a> {
    time: Time,
    kind: Kind,
    host: u32,
    state: &'a State,
    fact: u32,
}

impl Seen<'_> {
    fn get(&self, field: Field) -> Option<Val> {
        self.state.facts.get(self.fact).find(field)
    }
    fn account(&self) -> AccountId {
        self.state.facts.get(self.fact).proc.account
    }
    fn program(&self) -> &str {
        &self.state.image(self.state.facts.get(self.fact).proc.image).name
    }
}

/// Lives without the noise of programs, in steps of a second: mail between cells goes round once a step.
fn live(shared: &Arc<Shared>, start: Time, span: Span, mut see: impl FnMut(Seen<'_>)) {
    let mut states: Vec<State> = (0..shared.atlas.cells).map(|c| State::new(shared.clone(), c, start)).collect();
    for s in &mut states {
        s.queue.retain(|e| !matches!(e.0.what, What::Noise(_)));
    }
    let mut mail = vec![];
    let mut now = start;
    while now < start + span {
        now = now + Span::s(1);
        for m in mail.drain(..) {
            let m: skirmish::world::state::Mail = m;
            states[m.to as usize].receive(m);
        }
        for s in &mut states {
            s.advance(now);
            for fact in s.collect() {
                let f = s.facts.get(fact);
                see(Seen { time: f.time, kind: f.kind, host: f.host + s.first, state: s, fact });
                let State { facts, texts, .. } = s;
                facts.free(fact, texts);
            }
            mail.append(&mut s.mail);
        }
        mail.sort_by_key(|m| (m.time, m.from, m.n));
    }
}

#[test]
fn a_week_has_its_days_sessions_and_boots() {
    // the second Tuesday of the month is the 10th; clocks change in America the day before the week begins
    let p = planned(96, "2026-03-09T05:00:00Z", "verbose_lab");
    let shared = p.plan.shared.clone();
    let mut kinds: BTreeMap<Kind, u32> = BTreeMap::new();
    let mut types: BTreeMap<u64, u32> = BTreeMap::new();
    let mut boots: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
    let mut lsass: BTreeMap<u32, usize> = BTreeMap::new();
    let mut hours = [[0u32; 24]; 7];
    let mut personas: BTreeSet<u16> = BTreeSet::new();
    let mut minutes: BTreeMap<i64, u32> = BTreeMap::new();
    let mut plot = std::env::var_os("ACTIVITY_CSV").map(|f| std::fs::File::create(f).unwrap());
    live(&shared, p.start, Span(DAY.0 * 7), |s| {
        *kinds.entry(s.kind).or_default() += 1;
        if let (Kind::LogonStart, Some(Val::Uint(t))) = (s.kind, s.get(Field::LogonType)) {
            *types.entry(t).or_default() += 1;
        }
        let f = s.state.facts.get(s.fact);
        let id = skirmish::world::atlas::HostId(s.host);
        if s.kind == Kind::ProcessStart {
            boots.entry(s.host).or_default().insert(f.proc.key >> 48);
            if s.program().eq_ignore_ascii_case("lsass.exe") {
                *lsass.entry(s.host).or_default() += 1;
            }
            let account = shared.atlas.account(s.account());
            if let (Some(persona), true) = (account.persona, account.host == Some(id)) {
                personas.insert(persona);
                let local = shared.local_date(id, s.time);
                let midnight = shared.local_time(id, local, 0.0);
                hours[(local + 3).rem_euclid(7) as usize]
                    [((s.time - midnight).0 / 3_600_000_000_000).min(23) as usize] += 1;
                if let Some(f) = &mut plot {
                    use std::io::Write;
                    let h = shared.atlas.host(id);
                    let persona = &shared.atlas.personas[persona as usize].id;
                    writeln!(f, "{},{},{persona}", s.time.second(), shared.atlas.sites[h.site as usize].name).unwrap();
                }
            }
        }
        if s.kind == Kind::SessionUnlock {
            *minutes.entry(s.time.second() / 60).or_default() += 1;
        }
    });
    println!("{kinds:?}\n{types:?}\n{hours:?}");
    for t in [0, 2, 3, 4, 5, 7, 9, 10, 11] {
        assert!(types.contains_key(&t), "no logon of type {t}: {types:?}");
    }
    for k in [
        Kind::SystemBoot,
        Kind::SystemShutdown,
        Kind::SensorStart,
        Kind::SensorStop,
        Kind::SessionLock,
        Kind::SessionUnlock,
        Kind::LogonEnd,
        Kind::LogonFail,
        Kind::ServiceState,
    ] {
        assert!(kinds.contains_key(&k), "no {k}: {kinds:?}");
    }
    assert!(personas.len() >= 9, "{} personas do something", personas.len());
    let of = |host: u32| &shared.atlas.roles[shared.atlas.host(skirmish::world::atlas::HostId(host)).role as usize];
    let servers = boots.iter().filter(|(h, b)| b.len() > 1 && of(**h).ends_with("server")).count();
    let clients = boots.iter().filter(|(h, b)| b.len() > 1 && !of(**h).ends_with("server")).count();
    assert!(servers >= 1 && clients >= 10, "{servers} servers and {clients} other machines started anew");
    assert!(lsass.iter().all(|(h, n)| *n <= boots[h].len()), "one lsass a boot");
    // people: work days against weekends, nights and lunch
    let day = |d: usize| hours[d].iter().sum::<u32>();
    let (work, weekend) = ((0..5).map(day).sum::<u32>() / 5, (day(5) + day(6)) / 2);
    assert!(weekend * 4 < work, "a work day brings {work}, a day of the weekend {weekend}");
    let at = |h: std::ops::Range<usize>| -> u32 {
        let n = h.len() as u32;
        (0..5).map(|d| h.clone().map(|h| hours[d][h]).sum::<u32>()).sum::<u32>() / n
    };
    let (night, morning, noon, afternoon) = (at(0..5), at(9..11), at(12..13), at(14..16));
    // sessions stay open over night, and some of their programs start others
    assert!(night * 4 < morning, "night {night}, morning {morning}");
    // what runs under a person's account without him goes on over lunch
    assert!(noon * 8 < morning * 7 && noon < afternoon, "morning {morning}, noon {noon}, afternoon {afternoon}");
    let most = minutes.values().max().copied().unwrap_or(0);
    assert!(most <= 6, "{most} people unlock their machines in one minute");
}

#[test]
fn days_follow_the_clock_of_their_site() {
    let p = planned(60, "2026-03-25T00:00:00Z", "baseline");
    let shared = &p.plan.shared;
    let mut shifts = BTreeMap::<&str, Vec<i64>>::new();
    for (i, h) in shared.atlas.hosts.iter().enumerate() {
        let (Some(owner), id) = (h.owner, skirmish::world::atlas::HostId(i as u32)) else { continue };
        // Europe changes its clocks on 29 March: the hour of arrival stays where people see it
        for date in [20_539, 20_544] {
            let day = shared.day(owner, date);
            let Some((from, to)) = day.stretches().first().zip(day.stretches().last()).map(|(a, b)| (a.0, b.1)) else {
                continue;
            };
            assert!(from < to && day.stretches().windows(2).all(|w| w[0].1 <= w[1].0), "{day:?}");
            let midnight = shared.local_time(id, date, 0.0);
            let hour = (from - midnight).as_secs_f64() / 3600.0;
            assert!((4.0..23.0).contains(&hour), "{} comes at {hour}", h.name);
            let zone = &*shared.atlas.sites[h.site as usize].tz;
            shifts.entry(zone).or_default().push(midnight.second().rem_euclid(86_400) / 3600);
        }
    }
    let paris: BTreeSet<i64> = shifts["Europe/Paris"].iter().copied().collect();
    assert_eq!(paris, BTreeSet::from([22, 23]), "midnight in Paris, hours of UTC before and after the change");
    assert_eq!(shifts["America/Chicago"].iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([5]));
}

#[test]
fn an_idle_host_needs_at_most_16_kib() {
    let p = planned(320, "2026-03-10T09:00:00Z", "baseline");
    let mut engine = Engine::new(p.plan.clone(), p.start, p.schedules.clone(), Box::new(Pool::new(1).unwrap()));
    let weigh = |e: &Engine| {
        let (mut saved, mut live, mut hosts) = (0, 0, 0);
        for c in &e.cells {
            saved += postcard::to_allocvec(&c.state).unwrap().len();
            live += c.state.bytes();
            hosts += c.state.hosts.len();
        }
        (saved / hosts, live / hosts)
    };
    let (saved, live) = weigh(&engine);
    println!("{saved} bytes a host saved, {live} in memory at the start");
    assert!(saved <= 16 * 1024, "{saved} bytes a host saved");
    assert!(live <= 16 * 1024, "{live} bytes a host in memory");
    for _ in 0..1_500 {
        engine.step();
    }
    let (saved, live) = weigh(&engine);
    println!("{saved} bytes a host saved, {live} in memory after a while of life");
    assert!(saved <= 16 * 1024 && live <= 20 * 1024, "{saved} bytes a host saved, {live} in memory");
}
