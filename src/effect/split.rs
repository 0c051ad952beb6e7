//! What a variable's alternatives decide is compiled once for each of them: which texts and conditions these are.

use super::condition::Cond;
use super::lower::{Locals, Split, Unit};
use super::template::is_hole;
use crate::world::program::{Piece, Slot};

impl Unit<'_> {
    /// The variable with alternatives that a text's first hole is, if it is one.
    pub fn choice(&self, text: &str) -> Option<u16> {
        text.chars().find_map(|c| self.choice_of(c).map(|(var, _)| var))
    }

    /// The variable with alternatives that a hole is, and whether the hole is nothing but that.
    fn choice_of(&self, c: char) -> Option<(u16, bool)> {
        let several = |i: &u16| self.scope.vars.get(*i as usize).is_some_and(|v| v.arms.len() > 1);
        match self.holes.get(c)? {
            Piece::Slot(Slot::Var(i), formats) => several(i).then_some((*i, formats.is_empty())),
            Piece::Group(t, _) => t.0.iter().find_map(|p| match p {
                Piece::Slot(Slot::Var(i), _) => several(i).then_some((*i, false)),
                _ => None,
            }),
            _ => None,
        }
    }

    /// A condition that a variable's alternatives decide is decided for each alternative; one that comes out alike whichever
    /// it is (`address ~ '^https'` of `https://{c2}/{path}`) is not.
    ///
    /// # Errors
    /// [`Split`] with the variable.
    pub fn split_on(&mut self, c: &Cond, locals: &Locals) -> Result<(), Split> {
        let mut names = vec![];
        c.names(&mut names);
        let text: String = names.iter().filter_map(|n| locals.text.get(n)).map(String::as_str).collect();
        let holes: Vec<char> = text.chars().filter(|h| is_hole(*h) && self.choice_of(*h).is_some()).collect();
        let as_is = c.holds(locals);
        let asked = names.iter().filter_map(|n| Some((n.clone(), locals.text.get(n)?.clone())));
        let mut with = Locals { text: asked.collect(), ..*locals };
        for hole in &holes {
            let Some((var, plain)) = self.choice_of(*hole) else { continue };
            let alike = plain
                && self.scope.vars[var as usize].arms.iter().all(|arm| {
                    // the others as they are, and each as its first alternative
                    [false, true].into_iter().all(|others| {
                        for (name, text) in with.text.iter_mut() {
                            let Some(written) = locals.text.get(name) else { continue };
                            text.clone_from(written);
                            *text = text.replace(*hole, arm);
                            for other in holes.iter().filter(|o| others && *o != hole) {
                                let first = self.choice_of(*other).map(|(v, _)| &*self.scope.vars[v as usize].arms[0]);
                                *text = text.replace(*other, first.unwrap_or_default());
                            }
                        }
                        c.holds(&with) == as_is
                    })
                });
            if !alike {
                return Err(Split(var));
            }
        }
        Ok(())
    }
}
