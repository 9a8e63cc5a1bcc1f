//! Field type ↔ Dremio's type: the one table.

use arrow_schema::DataType;
use connector_kit::FieldType;

/// A column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnType {
    Boolean,
    BigInt,
    Double,
    Date,
    Time,
    Timestamp,
    Varchar,
}

impl ColumnType {
    /// What holds a field of this type.
    pub(crate) fn of(field: FieldType) -> Self {
        match field {
            FieldType::Boolean => Self::Boolean,
            FieldType::Integer => Self::BigInt,
            FieldType::Number => Self::Double,
            FieldType::Date => Self::Date,
            FieldType::TimeWithoutTimezone => Self::Time,
            FieldType::TimestampWithTimezone | FieldType::TimestampWithoutTimezone => Self::Timestamp,
            // There is no time with a zone, and nested values stay the JSON that they are.
            FieldType::String
            | FieldType::TimeWithTimezone
            | FieldType::Object
            | FieldType::Array
            | FieldType::Union => Self::Varchar,
        }
    }

    /// Its name in SQL.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::BigInt => "BIGINT",
            Self::Double => "DOUBLE",
            Self::Date => "DATE",
            Self::Time => "TIME",
            Self::Timestamp => "TIMESTAMP",
            Self::Varchar => "VARCHAR",
        }
    }

    /// Whether a column that is there, by the type that it is read with, holds the same values.
    pub(crate) fn is(self, read: &DataType) -> bool {
        match self {
            Self::Boolean => matches!(read, DataType::Boolean),
            Self::BigInt => matches!(read, DataType::Int64),
            Self::Double => matches!(read, DataType::Float64),
            Self::Date => matches!(read, DataType::Date32 | DataType::Date64),
            Self::Time => matches!(read, DataType::Time32(_) | DataType::Time64(_)),
            Self::Timestamp => matches!(read, DataType::Timestamp(..)),
            Self::Varchar => matches!(read, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
        }
    }
}
