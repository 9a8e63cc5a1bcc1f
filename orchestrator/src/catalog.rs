//! From what a source offers and what the sync file chooses to the two configured
//! catalogs: the source's, and the destination's with its names.

use std::collections::{HashMap, HashSet};

use protocol::{
    Catalog, ConfiguredCatalog, ConfiguredStream, DestinationSyncMode, FieldPath, Stream, StreamDescriptor,
    SyncMode,
};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::mapping::Mapping;
use crate::pump::StreamPlan;
use crate::store::StoredGeneration;
use crate::suggest;
use crate::sync_file::StreamChoice;

/// A stream that is to be synced.
#[derive(Clone, Debug)]
pub struct Selected {
    /// As the source will see it; generations are set per attempt.
    pub configured: ConfiguredStream,
    /// Its name at the destination.
    pub target: StreamDescriptor,
    /// Top-level fields to keep; `None` keeps all.
    pub fields: Option<Vec<String>>,
}

impl Selected {
    /// Its name at the source.
    #[must_use]
    pub fn descriptor(&self) -> StreamDescriptor {
        self.configured.stream.descriptor()
    }

    /// Whether a further attempt may go on where the last one stopped.
    ///
    /// A stream that is replaced never does: rows can be durable at the destination while
    /// their state never came back, and the source would send them again. Starting over
    /// under a new generation costs time; a doubled row costs trust.
    #[must_use]
    pub fn resumes(&self) -> bool {
        self.configured.destination_sync_mode != DestinationSyncMode::Overwrite
            && (self.configured.sync_mode == SyncMode::Incremental
                || self.configured.stream.is_resumable == Some(true))
    }

    /// What the pump does to it.
    #[must_use]
    pub fn plan(&self) -> StreamPlan {
        StreamPlan {
            source: self.descriptor(),
            target: self.target.clone(),
            fields: self.fields.as_ref().map(|fields| fields.iter().cloned().collect()),
        }
    }
}

/// Chooses streams from a discovered catalog.
///
/// # Errors
/// [`Error::Usage`] naming the stream, the key and what there is instead.
pub fn select(
    catalog: &Catalog,
    choices: Option<&[StreamChoice]>,
    mapping: &Mapping,
    supported: Option<&[DestinationSyncMode]>,
) -> Result<Vec<Selected>, Error> {
    let chosen: Vec<(ConfiguredStream, Option<Vec<String>>)> = match choices {
        None => catalog.streams.iter().map(everything).collect::<Result<_, _>>()?,
        Some(choices) => choices.iter().map(|choice| one(catalog, choice)).collect::<Result<_, _>>()?,
    };
    if chosen.is_empty() {
        return Err(Error::Usage("the source offers no streams, so there is nothing to sync".into()));
    }
    if let Some(supported) = supported.filter(|modes| !modes.is_empty()) {
        for (configured, _) in &chosen {
            if !supported.contains(&configured.destination_sync_mode) {
                let names: Vec<_> = supported.iter().map(|mode| mode_name(*mode)).collect();
                return Err(Error::Usage(format!(
                    "stream {}: the destination cannot {}; it knows {}",
                    configured.stream.descriptor(),
                    mode_name(configured.destination_sync_mode),
                    names.join(", ")
                )));
            }
        }
    }
    let sources: Vec<_> = chosen.iter().map(|(c, _)| c.stream.descriptor()).collect();
    let mut seen = HashSet::new();
    if let Some(twice) = sources.iter().find(|source| !seen.insert(*source)) {
        return Err(Error::Usage(format!(
            "the source offers stream {twice} twice; that is a fault of the connector"
        )));
    }
    let targets = mapping.targets(&sources)?;
    Ok(chosen
        .into_iter()
        .zip(targets)
        .map(|((configured, fields), target)| Selected { configured, target, fields })
        .collect())
}

fn everything(stream: &Stream) -> Result<(ConfiguredStream, Option<Vec<String>>), Error> {
    properties(stream)?;
    Ok((
        ConfiguredStream {
            stream: stream.clone(),
            sync_mode: SyncMode::FullRefresh,
            destination_sync_mode: DestinationSyncMode::Overwrite,
            cursor_field: Vec::new(),
            primary_key: stream.source_defined_primary_key.clone(),
            generation_id: None,
            minimum_generation_id: None,
            sync_id: None,
            extra: Map::new(),
        },
        None,
    ))
}

fn one(catalog: &Catalog, choice: &StreamChoice) -> Result<(ConfiguredStream, Option<Vec<String>>), Error> {
    let stream = find(catalog, choice)?;
    let properties = properties(stream)?;
    let name = stream.descriptor();
    let (mut configured, _) = everything(stream)?;
    configured.sync_mode = choice.sync_mode;
    configured.destination_sync_mode = choice.destination_sync_mode;
    if !stream.supported_sync_modes.is_empty() && !stream.supported_sync_modes.contains(&choice.sync_mode) {
        let (asked, has) = match choice.sync_mode {
            SyncMode::FullRefresh => ("full_refresh", "incremental"),
            SyncMode::Incremental => ("incremental", "full_refresh"),
        };
        return Err(Error::Usage(format!(
            "stream {name}: the source cannot read it {asked}; set sync_mode: {has}"
        )));
    }
    if !choice.primary_key.is_empty() {
        configured.primary_key.clone_from(&choice.primary_key);
    }
    configured.cursor_field = cursor(stream, choice, &name)?;
    let known = |path: &FieldPath, role: &str| match path.first() {
        Some(first) if !properties.contains_key(first) => Err(Error::Usage(format!(
            "stream {name}: {role} {:?} is not one of its fields{}; it has {}",
            path.join("."),
            suggest::hint(first, properties.keys().map(String::as_str)),
            some_of(properties.keys().map(String::as_str))
        ))),
        _ => Ok(()),
    };
    known(&configured.cursor_field, "cursor_field")?;
    configured.primary_key.iter().try_for_each(|path| known(path, "primary_key"))?;
    if choice.destination_sync_mode == DestinationSyncMode::AppendDedup
        && configured.primary_key.iter().all(Vec::is_empty)
    {
        return Err(Error::Usage(format!(
            "stream {name}: append_dedup needs a primary_key and the source names none; add primary_key: [...] or choose append"
        )));
    }
    let Some(fields) = &choice.fields else { return Ok((configured, None)) };
    for field in fields {
        known(&vec![field.clone()], "field")?;
    }
    let needed = configured.primary_key.iter().chain(std::iter::once(&configured.cursor_field));
    for path in needed {
        if let Some(first) = path.first().filter(|first| !fields.contains(first)) {
            return Err(Error::Usage(format!(
                "stream {name}: fields leaves out {first:?}, which is its cursor or part of its primary key; add it"
            )));
        }
    }
    if let Some(Value::Object(properties)) = configured.stream.json_schema.get_mut("properties") {
        properties.retain(|field, _| fields.contains(field));
    }
    if let Some(Value::Array(required)) = configured.stream.json_schema.get_mut("required") {
        required.retain(|field| field.as_str().is_some_and(|f| fields.iter().any(|kept| kept == f)));
    }
    Ok((configured, Some(fields.clone())))
}

fn find<'a>(catalog: &'a Catalog, choice: &StreamChoice) -> Result<&'a Stream, Error> {
    let named: Vec<_> = catalog.streams.iter().filter(|s| s.name == choice.name).collect();
    let wanted = choice.namespace.as_deref();
    let spaces = || named.iter().map(|s| s.namespace.as_deref().unwrap_or("(none)"));
    match (named.as_slice(), wanted) {
        ([], _) => Err(Error::Usage(format!(
            "stream {:?} is not among those that the source offers{}; it offers {}",
            choice.name,
            suggest::hint(&choice.name, catalog.streams.iter().map(|s| s.name.as_str())),
            some_of(catalog.streams.iter().map(|s| s.name.as_str()))
        ))),
        ([only], None) => Ok(only),
        (_, Some(_)) => named.iter().find(|s| s.namespace.as_deref() == wanted).copied().ok_or_else(|| {
            Error::Usage(format!(
                "stream {:?} is not in namespace {:?}; the source has it in {}",
                choice.name,
                wanted.unwrap_or_default(),
                some_of(spaces())
            ))
        }),
        (_, None) => Err(Error::Usage(format!(
            "stream {:?} is in several namespaces ({}); add namespace: to say which",
            choice.name,
            some_of(spaces())
        ))),
    }
}

fn cursor(stream: &Stream, choice: &StreamChoice, name: &StreamDescriptor) -> Result<FieldPath, Error> {
    if choice.sync_mode == SyncMode::FullRefresh {
        return Ok(choice.cursor_field.clone());
    }
    if stream.source_defined_cursor == Some(true) {
        if !choice.cursor_field.is_empty() && choice.cursor_field != stream.default_cursor_field {
            return Err(Error::Usage(format!(
                "stream {name}: the source chooses the cursor itself ({}); remove cursor_field",
                if stream.default_cursor_field.is_empty() {
                    "internally".to_owned()
                } else {
                    stream.default_cursor_field.join(".")
                }
            )));
        }
        return Ok(stream.default_cursor_field.clone());
    }
    match (choice.cursor_field.is_empty(), stream.default_cursor_field.is_empty()) {
        (false, _) => Ok(choice.cursor_field.clone()),
        (true, false) => Ok(stream.default_cursor_field.clone()),
        (true, true) => Err(Error::Usage(format!(
            "stream {name}: incremental needs a cursor_field; name a field that grows with every change"
        ))),
    }
}

fn properties(stream: &Stream) -> Result<&Map<String, Value>, Error> {
    stream.properties().ok_or_else(|| {
        Error::Usage(format!(
            "stream {}: its json_schema has no properties; that is a fault of the source connector",
            stream.descriptor()
        ))
    })
}

fn some_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    let shown = names.iter().take(12).copied().collect::<Vec<_>>().join(", ");
    if names.len() > 12 { format!("{shown} and {} more", names.len() - 12) } else { shown }
}

/// The mode as the sync file writes it.
#[must_use]
pub fn mode_name(mode: DestinationSyncMode) -> &'static str {
    match mode {
        DestinationSyncMode::Append => "append",
        DestinationSyncMode::Overwrite => "overwrite",
        DestinationSyncMode::AppendDedup => "append_dedup",
        DestinationSyncMode::Update => "update",
        DestinationSyncMode::SoftDelete => "soft_delete",
    }
}

/// The generation that an attempt writes a stream with.
#[must_use]
pub fn generation(stream: &Selected, stored: StoredGeneration, first_attempt: bool) -> StoredGeneration {
    if stream.configured.sync_mode == SyncMode::Incremental {
        return StoredGeneration { minimum: 0, ..stored };
    }
    if !first_attempt && stream.resumes() {
        return stored;
    }
    let generation = stored.generation + 1;
    let truncates = stream.configured.destination_sync_mode == DestinationSyncMode::Overwrite;
    StoredGeneration { generation, minimum: if truncates { generation } else { 0 } }
}

/// The two catalogs of an attempt: the source's and the destination's.
#[must_use]
pub fn configured(
    streams: &[&Selected],
    generations: &HashMap<StreamDescriptor, StoredGeneration>,
    job: i64,
) -> (ConfiguredCatalog, ConfiguredCatalog) {
    let mut source = ConfiguredCatalog::default();
    let mut destination = ConfiguredCatalog::default();
    for selected in streams {
        let mut configured = selected.configured.clone();
        let generation = generations.get(&selected.descriptor()).copied().unwrap_or_default();
        configured.generation_id = Some(generation.generation);
        configured.minimum_generation_id = Some(generation.minimum);
        configured.sync_id = Some(job);
        source.streams.push(configured.clone());
        configured.stream.name.clone_from(&selected.target.name);
        configured.stream.namespace.clone_from(&selected.target.namespace);
        destination.streams.push(configured);
    }
    (source, destination)
}

#[cfg(test)]
mod tests {
    use super::{Selected, configured, generation, select};
    use crate::mapping::Mapping;
    use crate::store::StoredGeneration;
    use crate::sync_file::{NamespaceRule, StreamChoice};
    use protocol::{Catalog, DestinationSyncMode, Stream, SyncMode};
    use serde_json::json;
    use std::collections::HashMap;

    fn catalog() -> Catalog {
        let schema = json!({"type": "object", "properties": {"id": {}, "updated_at": {}, "note": {}}});
        let mut orders = Stream::new("orders", schema.clone());
        orders.namespace = Some("public".into());
        orders.supported_sync_modes = vec![SyncMode::FullRefresh, SyncMode::Incremental];
        let users = Stream::new("users", schema);
        Catalog { streams: vec![orders, users], ..Catalog::default() }
    }

    fn choice(name: &str) -> StreamChoice {
        StreamChoice {
            name: name.into(),
            namespace: None,
            sync_mode: SyncMode::FullRefresh,
            destination_sync_mode: DestinationSyncMode::Overwrite,
            cursor_field: vec![],
            primary_key: vec![],
            fields: None,
        }
    }

    fn mapping() -> Mapping {
        Mapping::new(NamespaceRule::Source, "p_")
    }

    fn chosen(choice: StreamChoice) -> Result<Vec<Selected>, String> {
        select(&catalog(), Some(&[choice]), &mapping(), None).map_err(|e| e.to_string())
    }

    #[test]
    fn takes_every_stream_full_refresh_to_overwrite_by_default() {
        let streams = select(&catalog(), None, &mapping(), None).unwrap();
        assert_eq!(streams.len(), 2);
        assert_eq!(streams[0].configured.destination_sync_mode, DestinationSyncMode::Overwrite);
        let (source, destination) = configured(&[&streams[0]], &HashMap::new(), 7);
        assert_eq!(source.streams[0].stream.name, "orders");
        assert_eq!(destination.streams[0].stream.name, "p_orders");
        assert_eq!(destination.streams[0].sync_id, Some(7));
    }

    #[test]
    fn names_what_is_wrong_with_a_choice() {
        let incremental = |c: StreamChoice| StreamChoice {
            sync_mode: SyncMode::Incremental,
            destination_sync_mode: DestinationSyncMode::Append,
            ..c
        };
        let cases = [
            (choice("order"), "did you mean \"orders\"?"),
            (StreamChoice { namespace: Some("x".into()), ..choice("orders") }, "the source has it in public"),
            (incremental(choice("users")), "cannot read it incremental"),
            (incremental(choice("orders")), "needs a cursor_field"),
            (
                StreamChoice { cursor_field: vec!["updated".into()], ..incremental(choice("orders")) },
                "cursor_field \"updated\" is not one of its fields",
            ),
            (
                StreamChoice { destination_sync_mode: DestinationSyncMode::AppendDedup, ..choice("users") },
                "append_dedup needs a primary_key",
            ),
            (StreamChoice { fields: Some(vec!["idd".into()]), ..choice("users") }, "did you mean \"id\"?"),
            (
                StreamChoice {
                    fields: Some(vec!["note".into()]),
                    primary_key: vec![vec!["id".into()]],
                    ..choice("users")
                },
                "leaves out \"id\"",
            ),
        ];
        for (choice, expected) in cases {
            let error = chosen(choice).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let modes = [DestinationSyncMode::Append];
        let error = select(&catalog(), None, &mapping(), Some(&modes)).unwrap_err().to_string();
        assert!(error.contains("cannot overwrite; it knows append"), "{error}");
    }

    #[test]
    fn a_field_selection_narrows_the_schema() {
        let streams = chosen(StreamChoice { fields: Some(vec!["id".into()]), ..choice("users") }).unwrap();
        assert_eq!(streams[0].configured.stream.json_schema["properties"], json!({"id": {}}));
    }

    #[test]
    fn generations_follow_mode_and_attempt() {
        let mut stream = chosen(choice("orders")).unwrap().remove(0);
        let stored = StoredGeneration { generation: 4, minimum: 4 };
        let g = |generation, minimum| StoredGeneration { generation, minimum };
        assert_eq!(generation(&stream, stored, true), g(5, 5));
        assert_eq!(generation(&stream, stored, false), g(5, 5));
        stream.configured.stream.is_resumable = Some(true);
        assert_eq!(generation(&stream, stored, false), g(5, 5), "what is replaced starts over");
        stream.configured.destination_sync_mode = DestinationSyncMode::Append;
        assert_eq!(generation(&stream, g(4, 0), false), g(4, 0));
        assert_eq!(generation(&stream, stored, true), g(5, 0));
        stream.configured.sync_mode = SyncMode::Incremental;
        assert_eq!(generation(&stream, stored, true), g(4, 0));
    }
}
