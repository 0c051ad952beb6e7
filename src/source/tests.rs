//! Tests of the language and of the built-in sources, with a view that is a map.

use std::collections::BTreeMap;

use super::*;
use crate::activity::Value;
use crate::yaml;

mod docs;

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
