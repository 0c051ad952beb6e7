//! Tests of the language and of the built-in sources, with a view that is a map.

use std::collections::BTreeMap;

use super::*;
use crate::activity::Value;
use crate::yaml;

mod docs;
mod errors;
mod golden;
mod render;
mod sample;

/// An activity that is a map.
#[derive(Clone, Debug)]
pub struct MapView {
    pub kind: Kind,
    pub fields: BTreeMap<Field, Value<'static>>,
}

impl View for MapView {
    fn kind(&self) -> Kind {
        self.kind
    }
    fn get(&self, field: Field) -> Value<'_> {
        self.fields.get(&field).copied().unwrap_or(Value::None)
    }
}

pub fn load(text: &str) -> Result<Catalogue, Problems> {
    Catalogue::load(&yaml::parse("test.yaml", text)?)
}

/// The sources this repository ships.
pub fn built_in() -> &'static Catalogue {
    static ALL: std::sync::OnceLock<Catalogue> = std::sync::OnceLock::new();
    ALL.get_or_init(read_built_in)
}

fn read_built_in() -> Catalogue {
    let mut docs = vec![];
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/sources")).unwrap() {
        docs.extend(yaml::read(&entry.unwrap().path()).unwrap_or_else(|p| panic!("{p}")));
    }
    Catalogue::load(&docs).unwrap_or_else(|p| panic!("{p}"))
}
