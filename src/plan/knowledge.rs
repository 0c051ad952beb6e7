//! What the data folders hold, understood: sources, policies, effects, scenarios, personas, the world's data.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{Config, Layers};
use crate::data::Data;
use crate::effect::Effects;
use crate::policy::Policies;
use crate::scenario;
use crate::source::Catalogue;
use crate::technique::Techniques;
use crate::time::Time;
use crate::world::atlas::build::Base;
use crate::world::atlas::{self, Atlas, Persona, WorldData};
use crate::world::program::{Library, Scenario, ScenarioId};
use crate::yaml::{Node, Problems};

/// Everything that data says.
pub struct Knowledge {
    /// Sources.
    pub catalogue: Catalogue,
    /// Sensor policies.
    pub policies: Policies,
    /// Effects.
    pub effects: Effects,
    /// The world's data.
    pub world: Arc<WorldData>,
    /// The programs of all its systems.
    pub base: Base,
    /// Personas.
    pub personas: Vec<Persona>,
    /// ATT&CK.
    pub techniques: Techniques,
    /// Scenarios, habits and background, compiled.
    pub library: Library,
    /// Things that are allowed and look wrong.
    pub notes: Problems,
    /// Digest of all data.
    pub digest: String,
}

/// A configuration, and the knowledge of its data folders and of others. What is wrong with either is told at once.
///
/// # Errors
/// Everything wrong in any file of the configuration and of the folders.
pub fn load(layers: &Layers, folders: &[PathBuf]) -> Result<(Config, Knowledge), Problems> {
    let mut p = Problems::new();
    let mut take = |e: Problems| p.0.extend(e.0);
    let tree = layers.merge().map_err(&mut take).ok();
    // the folders are looked at even where the rest of the configuration is wrong
    let named = tree.as_ref().and_then(|t| t.get("data")).map_or(&[][..], Node::items);
    let mut all: Vec<PathBuf> = named.iter().filter_map(Node::as_str).map(PathBuf::from).collect();
    all.extend(folders.iter().cloned());
    let config = tree.and_then(|t| Config::from_node(t).map_err(&mut take).ok());
    let knowledge = Knowledge::load(&all).map_err(&mut take).ok();
    config.zip(knowledge).ok_or(p)
}

impl Knowledge {
    /// Loads what is built in and the given folders.
    ///
    /// # Errors
    /// Everything wrong in any file of any folder.
    pub fn load(folders: &[PathBuf]) -> Result<Knowledge, Problems> {
        let (data, mut p) = Data::read(folders);
        let mut take = |e: Problems| p.0.extend(e.0);
        // the folder holds the world's tables and what runs in it by itself
        let runs = |n: &Node| n.get("background").is_some() || n.get("script").is_some();
        let (background, world): (Vec<Node>, Vec<Node>) = data.world.iter().cloned().partition(runs);
        let ((catalogue, policies), (effects, world)) = rayon::join(
            || rayon::join(|| Catalogue::load(&data.sources), || Policies::load(&data.policies)),
            || rayon::join(|| Effects::load(&data.effects), || WorldData::load(&world)),
        );
        let catalogue = catalogue.map_err(&mut take).ok();
        let policies = policies.map_err(&mut take).ok();
        // with the user's effects wrong, scenarios are still looked at, with the built-in ones
        let effects = effects.or_else(|e| {
            take(e);
            Effects::load(&Data::read(&[]).0.effects)
        });
        let effects = effects.map_err(&mut take).ok();
        let world = world.map_err(&mut take).ok().map(Arc::new);
        let nodes: Vec<_> = [&data.scenarios, &data.personas, &background].into_iter().flatten().cloned().collect();
        let compile = |(effects, world): (&Effects, &Arc<WorldData>)| {
            scenario::compile(&nodes, &data.techniques, effects, world).map_err(&mut take).ok()
        };
        let (compiled, base) =
            rayon::join(|| effects.as_ref().zip(world.as_ref()).and_then(compile), || world.as_ref().map(Base::new));
        let (Some(catalogue), Some(policies), Some(effects), Some(world), Some(base), Some(compiled), true) =
            (catalogue, policies, effects, world, base, compiled, p.is_empty())
        else {
            return Err(p);
        };
        let digest = data.digest();
        Ok(Knowledge {
            catalogue,
            policies,
            effects,
            world,
            base,
            personas: compiled.personas,
            techniques: compiled.techniques,
            library: compiled.library,
            notes: compiled.notes,
            digest,
        })
    }

    /// Scenarios that are attacks.
    pub fn attacks(&self) -> impl Iterator<Item = (ScenarioId, &Scenario)> {
        self.library.scenarios.iter().enumerate().filter(|(_, s)| s.attack).map(|(i, s)| (ScenarioId(i as u16), s))
    }

    /// An atlas, and the library that knows what is in it.
    ///
    /// # Errors
    /// A world that cannot be built.
    pub fn build(&self, config: &atlas::Config) -> Result<(Atlas, Library), Problems> {
        atlas::build::build(config, &self.world, &self.personas, &self.base, &self.library)
    }

    /// The atlas that a configuration asks for.
    pub fn atlas_config(&self, config: &Config, hosts: u32, start: Time) -> atlas::Config {
        let w = &config.world;
        let total: f64 = w.sites.iter().map(|s| s.share).sum();
        atlas::Config {
            seed: config.seed,
            start,
            hosts: hosts as usize,
            cells: w.cells,
            forest: Some(w.forest.as_str().into()),
            netbios: Some(w.netbios.as_str().into()),
            domain_sid: w.domain_sid.as_deref().map(Into::into),
            tenant: w.tenant.as_deref().map(Into::into),
            sites: w
                .sites
                .iter()
                .map(|s| atlas::SiteConfig {
                    name: s.name.as_str().into(),
                    tz: s.tz.as_str().into(),
                    share: (s.share / total.max(1e-9) * 1000.0).round().max(1.0) as u32,
                })
                .collect(),
            roles: w
                .roles
                .iter()
                .map(|r| atlas::RoleConfig {
                    role: r.role.text.as_str().into(),
                    // the data folder's parts are in hundredths
                    share: r.share.map(|s| s * 100.0),
                    name: r.name.as_ref().map(|n| n.text.as_str().into()),
                })
                .collect(),
        }
    }
}
