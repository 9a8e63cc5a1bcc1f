//! Avro's types, from the JSON of the header, and what they are in a stream's schema.

use std::collections::HashMap;

use connector_kit::FieldType;
use serde_json::{Value, json};

/// Types within types; names may refer to what is around them, so only the text's own depth counts.
const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 100_000;

/// A type. Others are named by their place in [`Schema`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Uuid,
    /// Bytes, or so many, of a whole number; and how many of its digits are behind the point.
    Decimal {
        size: Option<usize>,
        scale: i8,
    },
    Date,
    /// So many to a second.
    Time(i64),
    /// So many to a second, and whether it is UTC.
    Timestamp(i64, bool),
    Enum(Vec<String>),
    Record(Vec<(String, usize)>),
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
}

#[derive(Debug)]
pub(crate) struct Schema {
    nodes: Vec<Node>,
    root: usize,
}

type Bad = String;

impl Schema {
    /// An error continues "its Avro schema".
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Bad> {
        let json: Value =
            serde_json::from_slice(text).map_err(|e| format!("is not JSON ({e}); write it again"))?;
        let mut parser = Parser { nodes: Vec::new(), names: HashMap::new() };
        let root = parser.node(&json, "", 0)?;
        Ok(Self { nodes: parser.nodes, root })
    }

    pub(crate) fn root(&self) -> &Node {
        &self.nodes[self.root]
    }

    #[inline]
    pub(crate) fn node(&self, at: usize) -> &Node {
        &self.nodes[at]
    }

    /// The type of a column; [`FieldType::Union`] where its values are of several.
    pub(crate) fn field_type(&self, at: usize) -> FieldType {
        match self.node(at) {
            Node::Boolean => FieldType::Boolean,
            Node::Int | Node::Long => FieldType::Integer,
            Node::Float | Node::Double => FieldType::Number,
            Node::Null | Node::Bytes | Node::Text | Node::Fixed(_) | Node::Uuid | Node::Enum(_) => {
                FieldType::String
            }
            // Text, as a double would round it.
            Node::Decimal { .. } => FieldType::String,
            Node::Date => FieldType::Date,
            Node::Time(_) => FieldType::TimeWithoutTimezone,
            Node::Timestamp(_, true) => FieldType::TimestampWithTimezone,
            Node::Timestamp(_, false) => FieldType::TimestampWithoutTimezone,
            Node::Record(_) | Node::Map(_) => FieldType::Object,
            Node::Array(_) => FieldType::Array,
            Node::Union(branches) => {
                let mut types: Vec<FieldType> = branches
                    .iter()
                    .filter(|b| *self.node(**b) != Node::Null)
                    .map(|b| self.field_type(*b))
                    .collect();
                types.dedup();
                match types[..] {
                    [] => FieldType::String,
                    [only] => only,
                    [FieldType::Integer, FieldType::Number] | [FieldType::Number, FieldType::Integer] => {
                        FieldType::Number
                    }
                    _ => FieldType::Union,
                }
            }
        }
    }

    pub(crate) fn json_schema(&self, at: usize, doubles_as_text: bool) -> Value {
        if doubles_as_text && self.is_double(at) {
            return FieldType::String.json_schema();
        }
        let field_type = self.field_type(at);
        if let (FieldType::Union, Node::Union(branches)) = (field_type, self.node(at)) {
            let mut types = vec![Value::from("null")];
            for branch in branches {
                let schema = self.json_schema(*branch, false);
                let more = schema["type"].as_array().cloned().unwrap_or_default();
                types.extend(more.into_iter().filter(|t| t != "null"));
            }
            types.sort_by_key(Value::to_string);
            types.dedup();
            return json!({ "type": types });
        }
        let mut schema = field_type.json_schema();
        if self.is_binary(at) {
            schema["contentEncoding"] = "base64".into();
        }
        schema
    }

    fn is_double(&self, at: usize) -> bool {
        match self.node(at) {
            Node::Double => true,
            Node::Union(branches) => {
                branches.len() == 2
                    && branches.iter().any(|b| *self.node(*b) == Node::Null)
                    && branches.iter().any(|b| *self.node(*b) == Node::Double)
            }
            _ => false,
        }
    }

    fn is_binary(&self, at: usize) -> bool {
        match self.node(at) {
            Node::Bytes | Node::Fixed(_) => true,
            Node::Union(branches) => {
                branches.iter().any(|b| matches!(self.node(*b), Node::Bytes | Node::Fixed(_)))
            }
            _ => false,
        }
    }
}

struct Parser {
    nodes: Vec<Node>,
    /// By full name.
    names: HashMap<String, usize>,
}

impl Parser {
    fn push(&mut self, node: Node) -> Result<usize, Bad> {
        if self.nodes.len() >= MAX_NODES {
            return Err("has too many types".to_owned());
        }
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    /// `space` is the namespace around.
    fn node(&mut self, json: &Value, space: &str, depth: usize) -> Result<usize, Bad> {
        if depth > MAX_DEPTH {
            return Err("is nested too deeply".to_owned());
        }
        match json {
            Value::String(name) => self.named(name, space),
            Value::Array(branches) => {
                let branches =
                    branches.iter().map(|b| self.node(b, space, depth + 1)).collect::<Result<_, _>>()?;
                self.push(Node::Union(branches))
            }
            Value::Object(_) => self.object(json, space, depth),
            _ => Err("holds what is no type".to_owned()),
        }
    }

    fn named(&mut self, name: &str, space: &str) -> Result<usize, Bad> {
        let primitive = match name {
            "null" => Node::Null,
            "boolean" => Node::Boolean,
            "int" => Node::Int,
            "long" => Node::Long,
            "float" => Node::Float,
            "double" => Node::Double,
            "bytes" => Node::Bytes,
            "string" => Node::Text,
            _ => {
                let full = if name.contains('.') || space.is_empty() {
                    name.to_owned()
                } else {
                    format!("{space}.{name}")
                };
                let found = self.names.get(&full).or_else(|| self.names.get(name));
                return found
                    .copied()
                    .ok_or_else(|| format!("uses the type {name:?}, which it does not define"));
            }
        };
        self.push(primitive)
    }

    fn object(&mut self, json: &Value, space: &str, depth: usize) -> Result<usize, Bad> {
        let kind = match &json["type"] {
            Value::String(kind) => kind.as_str(),
            // {"type": {"type": …}} is met, too.
            other => return self.node(other, space, depth + 1),
        };
        let logical = json["logicalType"].as_str().unwrap_or_default();
        match kind {
            "array" => {
                let items = self.node(&json["items"], space, depth + 1)?;
                self.push(Node::Array(items))
            }
            "map" => {
                let values = self.node(&json["values"], space, depth + 1)?;
                self.push(Node::Map(values))
            }
            "record" | "error" => {
                let (full, inner) = full_name(json, space)?;
                // Its fields may mention it.
                let at = self.push(Node::Record(Vec::new()))?;
                self.names.insert(full, at);
                let fields = json["fields"].as_array().ok_or("has a record without fields")?;
                let mut parsed = Vec::with_capacity(fields.len());
                for field in fields {
                    let name = field["name"].as_str().ok_or("has a field without a name")?;
                    parsed.push((name.to_owned(), self.node(&field["type"], &inner, depth + 1)?));
                }
                self.nodes[at] = Node::Record(parsed);
                Ok(at)
            }
            "enum" => {
                let (full, _) = full_name(json, space)?;
                let symbols = json["symbols"].as_array().ok_or("has an enum without symbols")?;
                let symbols = symbols.iter().map(|s| s.as_str().unwrap_or_default().to_owned()).collect();
                let at = self.push(Node::Enum(symbols))?;
                self.names.insert(full, at);
                Ok(at)
            }
            "fixed" => {
                let (full, _) = full_name(json, space)?;
                let size = json["size"]
                    .as_u64()
                    .and_then(|n| usize::try_from(n).ok())
                    .ok_or("has a fixed type without a size")?;
                let node = match logical {
                    "decimal" => Node::Decimal { size: Some(size), scale: scale(json)? },
                    "uuid" if size == 16 => Node::Uuid,
                    _ => Node::Fixed(size),
                };
                let at = self.push(node)?;
                self.names.insert(full, at);
                Ok(at)
            }
            _ => {
                // A logical type that is not known is to be read as what it is made of.
                let node = match (kind, logical) {
                    ("int", "date") => Node::Date,
                    ("int", "time-millis") => Node::Time(1_000),
                    ("long", "time-micros") => Node::Time(1_000_000),
                    ("long", "timestamp-millis") => Node::Timestamp(1_000, true),
                    ("long", "timestamp-micros") => Node::Timestamp(1_000_000, true),
                    ("long", "timestamp-nanos") => Node::Timestamp(1_000_000_000, true),
                    ("long", "local-timestamp-millis") => Node::Timestamp(1_000, false),
                    ("long", "local-timestamp-micros") => Node::Timestamp(1_000_000, false),
                    ("long", "local-timestamp-nanos") => Node::Timestamp(1_000_000_000, false),
                    ("bytes", "decimal") => Node::Decimal { size: None, scale: scale(json)? },
                    _ => return self.named(kind, space),
                };
                self.push(node)
            }
        }
    }
}

fn scale(json: &Value) -> Result<i8, Bad> {
    let scale = json["scale"].as_i64().unwrap_or(0);
    i8::try_from(scale).map_err(|_| "has a decimal with too many places".to_owned())
}

/// A type's full name, and the namespace of what is in it.
fn full_name(json: &Value, space: &str) -> Result<(String, String), Bad> {
    let name = json["name"].as_str().ok_or("has a type without a name")?;
    if let Some((inner, _)) = name.rsplit_once('.') {
        return Ok((name.to_owned(), inner.to_owned()));
    }
    let inner = json["namespace"].as_str().unwrap_or(space);
    let full = if inner.is_empty() { name.to_owned() } else { format!("{inner}.{name}") };
    Ok((full, inner.to_owned()))
}
