//! Trials of `discover`, and whether records are what the catalog says.

use std::collections::{HashMap, HashSet};

use protocol::{StreamDescriptor, SyncMode};
use serde_json::Value;

use super::SourceSuite;
use crate::folder::Folder;
use crate::output::descriptor;

pub fn discover_keeps_to_what_platforms_can_use(suite: &SourceSuite) {
    let folder = Folder::new();
    let catalog = suite.discover(&folder, &suite.config);
    assert!(!catalog.streams.is_empty(), "the catalog has no streams");
    let mut names = HashSet::new();
    for stream in &catalog.streams {
        let name = stream.descriptor();
        assert!(names.insert(name.clone()), "{name} stands twice in the catalog");
        assert!(!stream.supported_sync_modes.is_empty(), "{name} has no sync modes");
        let is_object = match &stream.json_schema["type"] {
            Value::String(one) => one == "object",
            Value::Array(types) => types.contains(&"object".into()),
            _ => false,
        };
        assert!(is_object, "{name}: the schema's type is not object: {}", stream.json_schema);
        let properties =
            stream.properties().unwrap_or_else(|| panic!("{name}: the schema has no properties"));
        assert!(!properties.is_empty(), "{name}: the schema's properties are empty");
        let text = stream.json_schema.to_string();
        for forbidden in ["\"$ref\"", "\"allOf\"", "\"not\"", "\"additionalProperties\":false"] {
            assert!(!text.contains(forbidden), "{name}: {forbidden} in the schema");
        }
        jsonschema::draft7::new(&stream.json_schema)
            .unwrap_or_else(|e| panic!("{name}: not a JSON Schema: {e}"));
        let paths =
            stream.source_defined_primary_key.iter().chain(std::iter::once(&stream.default_cursor_field));
        for field in paths.filter_map(|path| path.first()) {
            assert!(properties.contains_key(field), "{name}: {field} is a key or cursor but no property");
        }
    }
}

pub fn discover_says_the_same_twice(suite: &SourceSuite) {
    let folder = Folder::new();
    let (first, second) = (suite.discover(&folder, &suite.config), suite.discover(&folder, &suite.config));
    assert_eq!(first, second);
}

pub fn every_record_fits_its_schema(suite: &SourceSuite) {
    let folder = Folder::new();
    let catalog = suite.discover(&folder, &suite.config);
    let validators: HashMap<StreamDescriptor, _> = catalog
        .streams
        .iter()
        .map(|stream| {
            let validator = jsonschema::options()
                .with_draft(jsonschema::Draft::Draft7)
                .should_validate_formats(true)
                .build(&stream.json_schema);
            (stream.descriptor(), (validator.expect("a JSON Schema"), stream.properties().cloned()))
        })
        .collect();
    let output = suite.read(&folder, &suite.config, SyncMode::FullRefresh, None).succeeded();
    let mut seen = HashSet::new();
    for record in output.records() {
        let name = descriptor(record);
        let Some((validator, properties)) = validators.get(&name) else {
            panic!("a record of {name}, which the catalog does not have");
        };
        let data: Value = serde_json::from_str(record.data.get()).expect("data is JSON");
        let faults: Vec<_> =
            validator.iter_errors(&data).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(faults.is_empty(), "{name}: {faults:?} in {data}");
        let known = properties.as_ref().expect("checked above");
        let members = data.as_object().expect("data is an object");
        assert!(!members.is_empty(), "{name}: platforms drop a record without members");
        for member in members.keys() {
            assert!(known.contains_key(member), "{name}: {member} is not in the schema");
        }
        assert!(record.emitted_at > 1_500_000_000_000, "{name}: emitted_at is not in milliseconds");
        seen.insert(name);
    }
    assert_eq!(seen.len(), catalog.streams.len(), "the trial's config must give every stream rows");
}
