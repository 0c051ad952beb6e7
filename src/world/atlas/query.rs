//! Questions the atlas answers.

use std::borrow::Cow;
use std::ops::Range;

use super::*;

impl Atlas {
    /// A host.
    pub fn host(&self, id: HostId) -> &Host {
        &self.hosts[id.0 as usize]
    }
    /// An account.
    pub fn account(&self, id: AccountId) -> &Account {
        &self.accounts[id.0 as usize]
    }
    /// The accounts of a name, whatever its case.
    pub fn accounts_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = AccountId> + 'a {
        let key = name_key(name);
        let from = self.account_names.partition_point(|a| a.0 < key);
        let same = self.account_names[from..].iter().take_while(move |a| a.0 == key).map(|a| a.1);
        same.filter(move |id| self.account(*id).name.eq_ignore_ascii_case(name))
    }
    /// Whether a group makes an account a local administrator of a host.
    pub fn administers(&self, account: &Account, host: HostId) -> bool {
        let role = self.host(host).role;
        let of = |g: &&Group| g.administers.contains(&role);
        self.groups.iter().filter(of).any(|g| account.groups.contains(&g.sid))
    }
    /// An image.
    pub fn image(&self, id: ImageId) -> &Image {
        &self.images[id.0 as usize]
    }
    /// A module.
    pub fn module(&self, id: ModuleId) -> &Module {
        &self.modules[id.0 as usize]
    }
    /// The image a host has for a program (index into the library's names).
    pub fn program(&self, host: HostId, program: u16) -> Option<ImageId> {
        let set = &self.software[self.host(host).software as usize];
        let find = |t: &[(u16, ImageId)]| t.binary_search_by_key(&program, |e| e.0).ok().map(|i| t[i].1);
        find(&set.extra).or_else(|| find(&self.bases[set.base as usize]))
    }
    /// Whether a program of a host comes from a package, not from its operating system.
    pub fn is_packaged(&self, host: HostId, program: u16) -> bool {
        let set = &self.software[self.host(host).software as usize];
        set.extra.binary_search_by_key(&program, |e| e.0).is_ok()
    }
    /// The image a host has at a full path, whatever its case; a per-user program matches in any profile.
    pub fn image_at(&self, host: HostId, path: &str) -> Option<ImageId> {
        let set = &self.software[self.host(host).software as usize];
        let at = |i: &ImageId| {
            let known = &*self.image(*i).path;
            match known.strip_prefix("{profile}") {
                Some(tail) => path
                    .len()
                    .checked_sub(tail.len())
                    .is_some_and(|n| path.is_char_boundary(n) && path[n..].eq_ignore_ascii_case(tail)),
                None => known.eq_ignore_ascii_case(path),
            }
        };
        set.extra.iter().chain(&self.bases[set.base as usize]).map(|e| e.1).find(at)
    }
    /// The module a host has under a file name, whatever its case: its packages' own first, then the system's.
    pub fn module_named(&self, host: HostId, name: &str) -> Option<ModuleId> {
        let h = self.host(host);
        self.named_among(&self.software[h.software as usize].modules, name).or_else(|| self.system_module(h.os, name))
    }
    /// The first of some modules that has a file name, whatever its case.
    pub fn named_among(&self, modules: &[ModuleId], name: &str) -> Option<ModuleId> {
        let key = name_key(name);
        modules.iter().copied().find(|id| self.module_files[id.0 as usize] == key && self.is_named(*id, name))
    }
    fn is_named(&self, id: ModuleId, name: &str) -> bool {
        self.module(id).file().eq_ignore_ascii_case(name)
    }
    /// The module of an operating system's servicing level under a file name, whatever its case.
    pub fn system_module(&self, os: u16, name: &str) -> Option<ModuleId> {
        let list = self.system_modules.get(os as usize)?;
        let key = name_key(name);
        // keys are spread evenly: where one should be is never far from where it is
        let mut from = (key as usize * list.len()) >> 32;
        while from > 0 && list[from - 1].0 >= key {
            from -= 1;
        }
        while list.get(from).is_some_and(|m| m.0 < key) {
            from += 1;
        }
        list[from..].iter().take_while(|m| m.0 == key).map(|m| m.1).find(|id| self.is_named(*id, name))
    }
    /// Every image a host has: a program of a package goes before the system's of the same name.
    pub fn images_of(&self, host: HostId) -> impl Iterator<Item = (u16, ImageId)> + '_ {
        let set = &self.software[self.host(host).software as usize];
        set.extra.iter().chain(&self.bases[set.base as usize]).copied()
    }
    /// The hosts of a cell: they stand together.
    pub fn hosts_of_cell(&self, cell: u16) -> Range<u32> {
        let lo = self.hosts.partition_point(|h| h.cell < cell) as u32;
        let hi = self.hosts.partition_point(|h| h.cell <= cell) as u32;
        lo..hi
    }
    /// A service by its name (index into the names of the library).
    pub fn service(&self, name: u16) -> Option<&Service> {
        self.services.binary_search_by_key(&name, |s| s.name).ok().map(|i| &self.services[i])
    }
    /// The full path of an image for an account that runs it.
    pub fn path_of<'a>(&'a self, image: &'a Image, account: AccountId) -> Cow<'a, str> {
        match image.path.strip_prefix("{profile}") {
            Some(tail) => Cow::Owned(format!("{}{tail}", self.account(account).profile)),
            None => Cow::Borrowed(&image.path),
        }
    }
    /// The command line of a boot process with its image on a host: the image's path and the profile filled in.
    pub fn boot_command_line<'a>(
        &'a self,
        process: &'a BootProcess,
        image: Option<ImageId>,
        account: AccountId,
    ) -> Cow<'a, str> {
        if !process.command_line.contains('{') {
            return Cow::Borrowed(&process.command_line);
        }
        let path = image.map_or(Cow::Borrowed(""), |i| self.path_of(self.image(i), account));
        let text = process.command_line.replace("{image}", &path);
        Cow::Owned(match text.contains('{') {
            true => text.replace("{profile}", &self.account(account).profile),
            false => text,
        })
    }
    /// Index of a role.
    pub fn role(&self, name: &str) -> Option<u16> {
        self.roles.iter().position(|r| **r == *name).map(|i| i as u16)
    }
    /// A fact about a host as text.
    pub fn host_attr(&self, id: HostId, attr: Attr) -> &str {
        let h = self.host(id);
        match attr {
            Attr::Name => &h.name,
            Attr::Full => &h.fqdn,
            Attr::Domain => &self.forest.dns,
            Attr::Netbios => &self.forest.netbios,
            Attr::Sid => &h.sid,
            Attr::Given => &self.sites[h.site as usize].name,
            Attr::Department => &self.roles[h.role as usize],
            Attr::Dc => &self.host(h.dc).name,
            Attr::FileServer => &self.host(h.file_server).name,
            Attr::MachineGuid => &h.machine_guid,
            Attr::Temp => r"C:\Windows\Temp",
            _ => "",
        }
    }
}

impl Boot {
    /// When a process starts after boot or logon: never before its parent of the same session.
    pub fn start_of(&self, slot: u16) -> Span {
        let p = &self.processes[slot as usize];
        let parent = &self.processes[p.parent as usize];
        if p.parent == slot || (parent.session == BootSession::Owner) != (p.session == BootSession::Owner) {
            return p.after;
        }
        Span(p.after.0.max(self.start_of(p.parent).0))
    }
}
