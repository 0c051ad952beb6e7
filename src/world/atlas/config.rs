//! What a user may choose about the world; the rest follows from the seed and the data folders.

use crate::time::{Span, Time};

use super::Text;

/// What to build.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Seed of every draw.
    pub seed: u64,
    /// When the world starts; machines booted and people joined before.
    pub start: Time,
    /// Hosts of all roles together.
    pub hosts: usize,
    /// Cells, at least [`CELLS_MIN`].
    pub cells: u16,
    /// DNS name of the forest; `corp.example` when none.
    pub forest: Option<Text>,
    /// NetBIOS name of the domain; first label of the forest's name in upper case when none.
    pub netbios: Option<Text>,
    /// SID of the domain, `S-1-5-21-a-b-c`; from the seed when none.
    pub domain_sid: Option<Text>,
    /// Entra tenant id, a lower-case GUID; from the seed when none.
    pub tenant: Option<Text>,
    /// Sites; those of the data folder marked `default` when empty.
    pub sites: Vec<SiteConfig>,
    /// Changes to roles of the data folder.
    pub roles: Vec<RoleConfig>,
}

/// A site as a user writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteConfig {
    /// Its name: `Lyon`. Cultures of names come from the data folder's site of that name, else from its time zone.
    pub name: Text,
    /// IANA time zone.
    pub tz: Text,
    /// Part of the hosts that are there, against the other sites' parts.
    pub share: u32,
}

/// A role as a user changes it.
#[derive(Clone, Debug, PartialEq)]
pub struct RoleConfig {
    /// Its name in the data folder: `laptop`.
    pub role: Text,
    /// Part of the hosts that have it, against the other roles' parts.
    pub share: Option<f64>,
    /// Naming pattern: `LT-{n:04}`, `{site}-FS{n:02}`.
    pub name: Option<Text>,
}

/// Fewest cells: so many that a world can be divided over threads and machines.
pub const CELLS_MIN: u16 = 16;
/// Most hosts.
pub const HOSTS_MAX: usize = 50_000;

impl Default for Config {
    /// 300 hosts in 16 cells from 2026-03-02T08:00:00Z on, seed 1.
    fn default() -> Config {
        Config {
            seed: 1,
            start: Time(0) + Span::s(1_772_438_400),
            hosts: 300,
            cells: CELLS_MIN,
            forest: None,
            netbios: None,
            domain_sid: None,
            tenant: None,
            sites: vec![],
            roles: vec![],
        }
    }
}

/// Longest name of a computer.
pub const NAME_MAX: usize = 15;

/// Checks a naming pattern: text with `{n}` or `{n:04}`, `{site}`, `{serial:7}`.
///
/// # Errors
/// What is wrong, as a message.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    let mut rest = pattern;
    let mut counts = false;
    while let Some(i) = rest.find(['{', '}']) {
        let end = rest[i..].find('}').map(|e| i + e);
        let slot = match end {
            Some(e) if rest[i..].starts_with('{') => &rest[i + 1..e],
            _ => return Err(format!("naming pattern `{pattern}` has an unpaired brace")),
        };
        let (word, width) = slot.split_once(':').unwrap_or((slot, "1"));
        let width: Option<usize> = width.parse().ok();
        match (word, width) {
            ("n", Some(1..=9)) | ("serial", Some(4..=12)) => counts = true,
            ("site", Some(1)) => {}
            _ => {
                return Err(format!(
                    "naming pattern `{pattern}` has an unknown slot `{{{slot}}}`; known are `{{n}}`, `{{n:04}}`, `{{site}}`, `{{serial:7}}`"
                ));
            }
        }
        rest = &rest[end.unwrap_or(i) + 1..];
    }
    if !counts {
        return Err(format!("naming pattern `{pattern}` needs `{{n}}` or `{{serial:7}}`, or all hosts have one name"));
    }
    Ok(())
}
