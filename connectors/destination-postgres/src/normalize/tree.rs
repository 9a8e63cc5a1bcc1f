//! What a stream's JSON Schema becomes: a table, and tables for what is nested in it.

use connector_kit::{Column, FieldType};
use serde_json::{Map, Value};

use super::identifiers::{Columns, Limits, Tables, plain};
use crate::config::NestedObjects;

/// The columns that tables of normalization have besides the stream's.
pub(crate) const AB_ID: &str = "_airbyte_ab_id";
pub(crate) const EMITTED_AT: &str = "_airbyte_emitted_at";
pub(crate) const NORMALIZED_AT: &str = "_airbyte_normalized_at";
pub(crate) const UNIQUE_KEY: &str = "_airbyte_unique_key";
pub(crate) const UNIQUE_KEY_SCD: &str = "_airbyte_unique_key_scd";
pub(crate) const START_AT: &str = "_airbyte_start_at";
pub(crate) const END_AT: &str = "_airbyte_end_at";
pub(crate) const ACTIVE_ROW: &str = "_airbyte_active_row";

/// What a value is cast to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    Text,
    Bigint,
    Numeric,
    Double,
    Boolean,
    Date,
    Time,
    TimeWithZone,
    Timestamp,
    TimestampWithZone,
    Bytes,
    Json,
}

/// A column of a normalized table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) column: String,
    /// The keys that lead to it.
    pub(crate) path: Vec<String>,
    pub(crate) cast: Cast,
}

/// A part of what a row's hash is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hashed {
    /// The text of a column, by its index.
    Field(usize),
    /// The text of a value that has no column.
    Json(Vec<String>),
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) table: String,
    pub(crate) fields: Vec<Field>,
    pub(crate) hashed: Vec<Hashed>,
    /// The objects whose fields are columns.
    pub(crate) objects: Vec<Vec<String>>,
    /// The column that holds the hash of the row around; the stream's own table has none.
    pub(crate) parent_hash: Option<String>,
    /// The column of a row's own hash. Every table has it that others refer to.
    pub(crate) own_hash: Option<String>,
    pub(crate) children: Vec<Child>,
}

/// A table inside a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Child {
    /// The keys that lead to it.
    pub(crate) path: Vec<String>,
    /// An array of objects, not one object.
    pub(crate) many: bool,
    pub(crate) node: Node,
}

/// What is nested in a value of some schema.
enum Nested<'a> {
    Object(&'a Map<String, Value>),
    Objects(&'a Map<String, Value>),
    Nothing,
}

impl<'a> Nested<'a> {
    fn of(schema: &'a Value) -> Self {
        let schema = only_option(schema);
        match FieldType::of(schema) {
            FieldType::Object => properties(schema).map_or(Self::Nothing, Self::Object),
            FieldType::Array => schema
                .get("items")
                .map(only_option)
                .filter(|items| FieldType::of(items) == FieldType::Object)
                .and_then(properties)
                .map_or(Self::Nothing, Self::Objects),
            _ => Self::Nothing,
        }
    }
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object().filter(|properties| !properties.is_empty())
}

/// Looks through `oneOf` and its like where there is only one choice besides null.
fn only_option(schema: &Value) -> &Value {
    for keyword in ["oneOf", "anyOf", "allOf"] {
        if let Some(options) = schema.get(keyword).and_then(Value::as_array) {
            let mut some = options.iter().filter(|o| o.get("type") != Some(&"null".into()));
            return match (some.next(), some.next()) {
                (Some(only), None) => only_option(only),
                _ => schema,
            };
        }
    }
    schema
}

impl Cast {
    fn of(schema: &Value, form: NestedObjects) -> Self {
        let schema = only_option(schema);
        let text = |key| schema.get(key).and_then(Value::as_str).unwrap_or_default();
        if text("airbyte_type") == "big_integer" {
            return Self::Numeric;
        }
        match FieldType::of(schema) {
            FieldType::Boolean => Self::Boolean,
            FieldType::Integer => Self::Bigint,
            FieldType::Number => match form {
                NestedObjects::Columns => Self::Numeric,
                NestedObjects::Tables => Self::Double,
            },
            FieldType::String if text("contentEncoding") == "base64" => Self::Bytes,
            FieldType::String => Self::Text,
            FieldType::Date => Self::Date,
            FieldType::TimeWithoutTimezone => Self::Time,
            FieldType::TimeWithTimezone => Self::TimeWithZone,
            FieldType::TimestampWithoutTimezone => Self::Timestamp,
            FieldType::TimestampWithTimezone => Self::TimestampWithZone,
            FieldType::Union if is_text_among_scalars(schema) => Self::Text,
            _ => Self::Json,
        }
    }

    /// As `format_type` of the server writes it.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Bigint => "bigint",
            Self::Numeric => "numeric",
            Self::Double => "double precision",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Time => "time without time zone",
            Self::TimeWithZone => "time with time zone",
            Self::Timestamp => "timestamp without time zone",
            Self::TimestampWithZone => "timestamp with time zone",
            Self::Bytes => "bytea",
            Self::Json => "jsonb",
        }
    }
}

fn is_text_among_scalars(schema: &Value) -> bool {
    let Some(types) = schema.get("type").and_then(Value::as_array) else { return false };
    types.iter().any(|t| t == "string") && !types.iter().any(|t| t == "object" || t == "array")
}

/// Plans one stream's tables; `fields` are its selected ones.
#[derive(Debug)]
pub(crate) struct Planner<'a> {
    pub(crate) schema: &'a str,
    pub(crate) form: NestedObjects,
    pub(crate) tables: &'a mut Tables,
}

impl Planner<'_> {
    /// The tree of a stream whose own table is called `table`.
    pub(crate) fn stream(&mut self, stream: &str, table: &str, fields: &[Column]) -> Node {
        let fields: Vec<(&str, &Value)> = fields.iter().map(|c| (c.name.as_str(), &c.schema)).collect();
        self.node(&[stream.to_owned()], Some(table.to_owned()), &plain(stream), None, &fields)
    }

    fn node(
        &mut self,
        path: &[String],
        table: Option<String>,
        name: &str,
        parent_hash: Option<String>,
        fields: &[(&str, &Value)],
    ) -> Node {
        let limits = Limits::of(self.form);
        let table = table.unwrap_or_else(|| self.tables.nested(self.schema, path, limits));
        let mut own_hash = hash_column(name, None);
        if parent_hash.as_ref() == Some(&own_hash) {
            own_hash = hash_column(name, Some(path.len() - 1));
        }
        let reserved = [
            AB_ID,
            EMITTED_AT,
            NORMALIZED_AT,
            UNIQUE_KEY,
            UNIQUE_KEY_SCD,
            START_AT,
            END_AT,
            ACTIVE_ROW,
            &own_hash,
        ];
        let reserved = reserved.into_iter().map(str::to_owned).chain(parent_hash.clone());
        let mut open = Open {
            planner: self,
            path: path.to_vec(),
            own_hash: own_hash.clone(),
            columns: Columns::new(reserved, limits.column),
            fields: Vec::new(),
            objects: Vec::new(),
            children: Vec::new(),
        };
        let mut hashed = Vec::new();
        for (field, schema) in fields {
            hashed.push(open.add(&[], field, schema));
        }
        let Open { fields, objects, children, .. } = open;
        let wants_hash = self.form == NestedObjects::Tables || parent_hash.is_none() || !children.is_empty();
        Node {
            table,
            fields,
            hashed,
            objects,
            parent_hash,
            own_hash: wants_hash.then_some(own_hash),
            children,
        }
    }
}

/// The hash of a row in the table for `name`.
fn hash_column(name: &str, level: Option<usize>) -> String {
    let level = level.map(|level| format!("_{level}")).unwrap_or_default();
    let room = Limits::SERVER.column - "_airbyte__hashid".len() - level.len();
    format!("_airbyte_{}{level}_hashid", super::identifiers::table_name(name, room))
}

/// A table that fields are still added to.
struct Open<'a, 'b> {
    planner: &'a mut Planner<'b>,
    path: Vec<String>,
    own_hash: String,
    columns: Columns,
    fields: Vec<Field>,
    objects: Vec<Vec<String>>,
    children: Vec<Child>,
}

impl Open<'_, '_> {
    /// Adds the field `name`, found below `prefix`; returns what of it goes into the row's hash.
    fn add(&mut self, prefix: &[String], name: &str, schema: &Value) -> Hashed {
        let mut path = prefix.to_vec();
        path.push(name.to_owned());
        let nested = Nested::of(schema);
        match (self.planner.form, &nested) {
            (NestedObjects::Columns, Nested::Object(properties)) => {
                for (name, schema) in properties.iter() {
                    self.add(&path, name, schema);
                }
                self.objects.push(path.clone());
                return Hashed::Json(path);
            }
            (NestedObjects::Columns, Nested::Objects(properties)) => {
                self.child(&path, true, properties);
                return Hashed::Json(path);
            }
            (NestedObjects::Tables, Nested::Object(properties)) => self.child(&path, false, properties),
            (NestedObjects::Tables, Nested::Objects(properties)) => self.child(&path, true, properties),
            (_, Nested::Nothing) => {}
        }
        let cast = match nested {
            Nested::Nothing => Cast::of(schema, self.planner.form),
            _ => Cast::Json,
        };
        self.fields.push(Field { column: self.columns.name(&path.join("_")), path, cast });
        Hashed::Field(self.fields.len() - 1)
    }

    fn child(&mut self, path: &[String], many: bool, properties: &Map<String, Value>) {
        let whole = [self.path.as_slice(), path].concat();
        let fields: Vec<(&str, &Value)> = properties.iter().map(|(n, s)| (n.as_str(), s)).collect();
        let name = plain(&path.join("_"));
        let node = self.planner.node(&whole, None, &name, Some(self.own_hash.clone()), &fields);
        self.children.push(Child { path: path.to_vec(), many, node });
    }
}

#[cfg(test)]
mod tests {
    use super::{Cast, Node, Planner, Tables};
    use crate::config::NestedObjects;
    use connector_kit::{Column, FieldType};
    use serde_json::{Value, json};

    fn plan(form: NestedObjects, stream: &str, properties: &Value) -> Node {
        let columns: Vec<Column> = properties
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, schema)| Column {
                name: name.clone(),
                field_type: FieldType::of(schema),
                schema: schema.clone(),
            })
            .collect();
        let mut tables = Tables::default();
        Planner { schema: "public", form, tables: &mut tables }.stream(stream, stream, &columns)
    }

    fn columns(node: &Node) -> Vec<&str> {
        node.fields.iter().map(|f| f.column.as_str()).collect()
    }

    fn nested() -> Value {
        let phone = json!({"type": "object", "properties": {"number": {"type": "string"}}});
        json!({
            "id": {"type": "integer"},
            "contact": {"type": ["null", "object"], "properties": {
                "email": {"type": "string"},
                "Phones": {"type": "array", "items": phone},
                "geo": {"oneOf": [{"type": "null"}, {"type": "object", "properties": {"lat": {"type": "number"}}}]}
            }},
            "tags": {"type": "array", "items": {"type": "string"}},
            "extra": {"type": "object"},
            "matrix": {"type": "array", "items": {"type": "array", "items": phone}}
        })
    }

    #[test]
    fn objects_become_columns_and_arrays_of_objects_tables_at_any_depth() {
        let root = plan(NestedObjects::Columns, "people", &nested());
        assert_eq!(columns(&root), ["id", "contact_email", "contact_geo_lat", "tags", "extra", "matrix"]);
        assert_eq!(root.fields[2].cast, Cast::Numeric);
        assert_eq!(root.own_hash.as_deref(), Some("_airbyte_people_hashid"));
        let [phones] = &root.children[..] else { panic!("{root:?}") };
        assert_eq!(phones.path, ["contact", "Phones"]);
        assert_eq!(phones.node.table, "people_contact_phones");
        assert_eq!(phones.node.parent_hash.as_deref(), Some("_airbyte_people_hashid"));
        assert_eq!(phones.node.own_hash, None);
    }

    #[test]
    fn objects_become_tables_where_that_is_asked() {
        let root = plan(NestedObjects::Tables, "people", &nested());
        assert_eq!(columns(&root), ["id", "contact", "tags", "extra", "matrix"]);
        let [contact] = &root.children[..] else { panic!("{root:?}") };
        assert_eq!((contact.many, contact.node.table.as_str()), (false, "people_contact"));
        assert_eq!(columns(&contact.node), ["email", "Phones", "geo"].map(|n| n.to_lowercase()));
        let tables: Vec<_> = contact.node.children.iter().map(|c| c.node.table.as_str()).collect();
        assert_eq!(tables, ["people_contact_phones", "people_contact_geo"]);
        assert_eq!(contact.node.own_hash.as_deref(), Some("_airbyte_contact_hashid"));
        assert_eq!(contact.node.children[1].node.fields[0].cast, Cast::Double);
    }

    #[test]
    fn a_child_of_its_parents_name_has_a_hash_of_its_own() {
        let inner =
            json!({"type": "array", "items": {"type": "object", "properties": {"id": {"type": "integer"}}}});
        let root = plan(NestedObjects::Tables, "a", &json!({"a": inner}));
        assert_eq!(root.own_hash.as_deref(), Some("_airbyte_a_hashid"));
        assert_eq!(root.children[0].node.own_hash.as_deref(), Some("_airbyte_a_1_hashid"));
        assert_eq!(root.children[0].node.table, "a_a");
    }

    #[test]
    fn a_flattened_name_that_is_taken_is_numbered() {
        let contact = json!({"type": "object", "properties": {"email": {"type": "string"}}});
        let text = json!({"type": "string"});
        let root = plan(NestedObjects::Columns, "a", &json!({"contact": contact, "contact_email": text}));
        assert_eq!(columns(&root), ["contact_email", "contact_email_1"]);
    }
}
