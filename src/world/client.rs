//! Services that act for somebody: the security log names the one who asked.

use crate::activity::Kind;
use crate::world::atlas::AccountId;
use crate::world::host::{Luid, Snap};
use crate::world::state::{State, Task};

/// What a service does under its client's token, and audits with the client as subject. Recorded: 4698 and 4697 of a
/// remote caller (SDWIN-200918145959), 4720, 4662 and 5136 on a controller, 1102 (SDWIN-201026235835).
const IMPERSONATED: &[Kind] = &[
    Kind::ServiceCreate,
    Kind::ServiceChange,
    Kind::TaskCreate,
    Kind::TaskUpdate,
    Kind::TaskDelete,
    Kind::TaskEnable,
    Kind::TaskDisable,
    Kind::LogClear,
    Kind::AccountCreate,
    Kind::AccountChange,
    Kind::AccountDelete,
    Kind::AccountEnable,
    Kind::AccountDisable,
    Kind::PasswordReset,
    Kind::PasswordChange,
    Kind::GroupAdd,
    Kind::GroupRemove,
    Kind::GroupEnumerate,
    Kind::UserEnumerate,
    Kind::DirectoryAccess,
    Kind::DirectoryChange,
    Kind::HandleRequest,
    Kind::CredentialRead,
];

impl State {
    /// Account and session of the client for whom a service does something; none when it acts for itself.
    pub(super) fn client(&self, t: &Task, kind: Kind, by: &Snap) -> Option<(AccountId, Luid)> {
        let service = by.account.0 < AccountId::FIRST && t.account.0 >= AccountId::FIRST;
        if !service || !IMPERSONATED.contains(&kind) {
            return None;
        }
        // the caller is the process of the task that started last, with its token's session
        let own = t.regs.iter().filter(|r| r.host == t.host).filter_map(|r| self.proc(*r));
        let caller = own.map(|p| p.snap).filter(|s| s.account.0 >= AccountId::FIRST).max_by_key(|s| s.key);
        Some(caller.map_or((self.token_of(t), t.luid), |s| (s.account, s.luid)))
    }
}
