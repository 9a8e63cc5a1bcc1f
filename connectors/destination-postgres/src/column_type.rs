//! What a field's declared type becomes as a column.

use connector_kit::FieldType;

/// The types of the columns that this destination makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnType {
    Boolean,
    Bigint,
    Numeric,
    Varchar,
    Date,
    Time,
    TimeWithZone,
    Timestamp,
    TimestampWithZone,
    Jsonb,
}

impl ColumnType {
    pub(crate) fn of(field: FieldType) -> Self {
        match field {
            FieldType::Boolean => Self::Boolean,
            FieldType::Integer => Self::Bigint,
            FieldType::Number => Self::Numeric,
            FieldType::Date => Self::Date,
            FieldType::TimeWithoutTimezone => Self::Time,
            FieldType::TimeWithTimezone => Self::TimeWithZone,
            FieldType::TimestampWithoutTimezone => Self::Timestamp,
            FieldType::TimestampWithTimezone => Self::TimestampWithZone,
            FieldType::String => Self::Varchar,
            _ => Self::Jsonb,
        }
    }

    /// As `format_type` of the server writes it, so that a table's own columns can be compared.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Bigint => "bigint",
            Self::Numeric => "numeric",
            Self::Varchar => "character varying",
            Self::Date => "date",
            Self::Time => "time without time zone",
            Self::TimeWithZone => "time with time zone",
            Self::Timestamp => "timestamp without time zone",
            Self::TimestampWithZone => "timestamp with time zone",
            Self::Jsonb => "jsonb",
        }
    }
}
