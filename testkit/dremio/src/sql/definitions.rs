//! CREATE, DROP, ALTER, TRUNCATE and views.

use super::Statement;
use super::names::{Place, Source};
use super::parser::Parser;
use super::types::Type;
use crate::error::Refusal;

/// What a dataset's name must not have in it.
const NOT_IN_NAMES: [char; 5] = ['/', ':', '[', ']', '"'];

impl Parser<'_> {
    pub(super) fn create(&mut self) -> Result<Statement, Refusal> {
        self.expect(&["CREATE"])?;
        let replace = self.take_all(&["OR", "REPLACE"]);
        if self.take("VIEW") || self.take("VDS") {
            return self.create_view(replace);
        }
        if replace {
            return Err(self.failure());
        }
        if self.take("FOLDER") {
            self.take_all(&["IF", "NOT", "EXISTS"]);
            let place = self.place()?;
            let Some(Source::Catalog) = self.names.source(&place) else {
                return Err(Refusal::unsupported(format!("Folders cannot be created in [{}]", place.schema)));
            };
            return Ok(Statement::CreateFolder { place });
        }
        self.expect(&["TABLE"])?;
        let if_not_exists = self.take_all(&["IF", "NOT", "EXISTS"]);
        let place = self.place()?;
        good_name(&place)?;
        match self.names.source(&place) {
            Some(Source::Catalog | Source::Store(_)) => {}
            _ => {
                let text = format!("Tables cannot be created in [{}]", place.schema);
                return Err(Refusal::unsupported(text));
            }
        }
        let columns = if self.peek_sign("(") { self.columns()? } else { Vec::new() };
        if self.take_all(&["PARTITION", "BY"]) {
            self.name_list()?;
        }
        if self.take_all(&["LOCALSORT", "BY"]) {
            self.name_list()?;
        }
        let query = if self.take("AS") { Some(self.expressions(|_, _| false)?) } else { None };
        if query.is_none() == columns.is_empty() {
            return Err(self.failure());
        }
        Ok(Statement::CreateTable { place, columns, if_not_exists, query })
    }

    fn create_view(&mut self, replace: bool) -> Result<Statement, Refusal> {
        let place = self.place()?;
        good_name(&place)?;
        if !matches!(self.names.source(&place), Some(Source::Catalog | Source::Space)) {
            let text = format!("Cannot create view in [{}].", place.dremio());
            return Err(Refusal::unsupported(text));
        }
        self.expect(&["AS"])?;
        let written = self.rest();
        let query = self.expressions(|_, _| false)?;
        Ok(Statement::CreateView { place, replace, query, written })
    }

    pub(super) fn drop(&mut self) -> Result<Statement, Refusal> {
        self.expect(&["DROP"])?;
        let view = self.take("VIEW") || self.take("VDS");
        if !view {
            self.expect(&["TABLE"])?;
        }
        let if_exists = self.take_all(&["IF", "EXISTS"]);
        let place = self.place()?;
        Ok(if view {
            Statement::DropView { place, if_exists }
        } else {
            Statement::DropTable { place, if_exists }
        })
    }

    /// Tables have no RENAME.
    pub(super) fn alter(&mut self) -> Result<Statement, Refusal> {
        self.expect(&["ALTER", "TABLE"])?;
        let place = self.place()?;
        if self.take("DROP") {
            self.take("COLUMN");
            let column = self.name()?;
            return Ok(Statement::DropColumn { place, column });
        }
        self.expect(&["ADD", "COLUMNS"])?;
        let columns = self.columns()?;
        Ok(Statement::AddColumns { place, columns })
    }

    pub(super) fn truncate(&mut self) -> Result<Statement, Refusal> {
        self.expect(&["TRUNCATE"])?;
        self.take("TABLE");
        let if_exists = self.take_all(&["IF", "EXISTS"]);
        Ok(Statement::Truncate { place: self.place()?, if_exists })
    }

    fn columns(&mut self) -> Result<Vec<(String, Type)>, Refusal> {
        self.expect_sign("(")?;
        let mut columns: Vec<(String, Type)> = Vec::new();
        loop {
            let name = self.name()?;
            if columns.iter().any(|(other, _)| other.to_lowercase() == name.to_lowercase()) {
                return Err(Refusal::validation(format!("Column [{name}] specified multiple times.")));
            }
            columns.push((name, self.data_type()?));
            self.take("NULL");
            if !self.sign(",") {
                break;
            }
        }
        self.expect_sign(")")?;
        Ok(columns)
    }
}

fn good_name(place: &Place) -> Result<(), Refusal> {
    if place.name.contains(NOT_IN_NAMES) {
        return Err(Refusal::validation(format!(
            "Dataset name [{}] must not contain any of / : [ ] or a quotation mark.",
            place.name
        )));
    }
    Ok(())
}
