//! Services that start and stop: the process that goes with the state.

use super::lower::{Frame, Split, Unit, push};
use super::matching::{Args, captures};
use super::run::{End, Exec};
use crate::activity::{Field, Kind};
use crate::world::program::{AccountSel, Dur, Op, Part, Script, ScriptId, Who};
use crate::yaml::Node;

impl Unit<'_> {
    /// A service enters a state. One that the world has, and that has a process of its own, starts that process, with what
    /// its program does, or ends it; of any other only the state is told.
    ///
    /// # Errors
    /// [`Split`] when a variable's alternatives compile differently.
    pub(super) fn service_state(
        &mut self,
        f: &Frame,
        by: Who,
        args: Vec<(Field, String)>,
        after: Dur,
        node: &Node,
        out: &mut Script,
    ) -> Result<(), Split> {
        let of = |field| args.iter().find(|(k, _)| *k == field).map_or("", |(_, v)| &**v);
        let names = self.names;
        let known = names.services.get(&*of(Field::ServiceName).to_lowercase());
        let running = match of(Field::ServiceState) {
            "running" => true,
            "stopped" => false,
            _ => {
                self.emit(f, by, Kind::ServiceState, args, after, out);
                return Ok(());
            }
        };
        let Some(service) = known else {
            self.emit(f, by, Kind::ServiceState, args, after, out);
            return Ok(());
        };
        let name = self.library.name(&service.key);
        let mut fact = vec![];
        self.emit(f, by, Kind::ServiceState, args, super::value::ms(4, 60), &mut fact);
        let fact = self.library.script(fact);
        let again = self.starting.contains(&name);
        let start = match (running && !again, service.account) {
            (true, Some(account)) => {
                self.starting.push(name);
                let start = self.service_start(f, name, &service.command, account, node);
                self.starting.pop();
                Some(start?)
            }
            _ => None,
        };
        push(out, after, f.part, Op::Service { name, running, own: false, start, fact });
        Ok(())
    }

    /// The script that starts a service's process: below services.exe, with what its program does, and, where that ends
    /// by itself, its stop.
    fn service_start(
        &mut self,
        f: &Frame,
        name: u16,
        command: &str,
        account: AccountSel,
        node: &Node,
    ) -> Result<ScriptId, Split> {
        let parent = Who::Image(self.library.name("services.exe"));
        let frame = Frame { me: parent, ..self.away_frame(f, account) };
        let mut script = vec![];
        let started = self.start(&frame, Exec::of(command), None, node, &mut script)?;
        if let Some(Op::Spawn(s)) = script.last_mut().map(|t| &mut t.op) {
            s.service = Some(name);
        }
        // what nobody has described stays until it is told to stop
        let given = Args::native(&started.exec.rest);
        if self.effects.of_image(&started.image).any(|e| captures(e, &given).is_some()) {
            let mut work = vec![];
            let end = self.play(&started, node, &mut work)?;
            if let End::Exits(_, after) = end {
                let key = self.library.names[name as usize].to_string();
                let state = [(Field::ServiceName, key), (Field::ServiceState, "stopped".to_owned())];
                let mut fact = vec![];
                self.emit(&started.frame, parent, Kind::ServiceState, state.into(), super::value::NONE, &mut fact);
                let fact = self.library.script(fact);
                push(
                    &mut work,
                    after,
                    Part::Effect,
                    Op::Service { name, running: false, own: true, start: None, fact },
                );
            }
            let script_id = self.library.script(work);
            push(&mut script, super::value::NONE, Part::Effect, Op::Fork { script: script_id });
        }
        self.free(started.reg);
        Ok(self.library.script(script))
    }
}
