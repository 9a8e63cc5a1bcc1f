//! Primary keys, replica identities, and columns that can be read in order.

use std::collections::HashMap;

use connector_kit::Result;
use postgres_kit::Connection;

use super::columns::Numbers;
use super::{ReplicaIdentity, Table, oid, unexpected};

/// Fills in what indexes say about these tables.
pub(super) async fn add(
    connection: &mut Connection,
    oids: &str,
    tables: &mut HashMap<u32, &mut Table>,
    numbers: &Numbers,
) -> Result<()> {
    // An index reads rows in the column's own order only with the column's collation and the
    // type's usual operators.
    let rows = connection
        .query(&format!(
            "SELECT i.indrelid, i.indkey, i.indnkeyatts, i.indisprimary, i.indimmediate, i.indisreplident, \
               i.indisvalid AND i.indpred IS NULL AND m.amname = 'btree' AND o.opcdefault \
                 AND i.indcollation[0] = COALESCE(a.attcollation, 0) \
             FROM pg_catalog.pg_index i \
               JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[0] \
               JOIN pg_catalog.pg_am m ON m.oid = o.opcmethod \
               LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
             WHERE i.indrelid = ANY ({oids}) AND i.indislive ORDER BY i.indrelid, i.indexrelid"
        ))
        .await?;
    for row in &rows {
        let relation = oid(row, 0)?;
        let Some(table) = tables.get_mut(&relation) else {
            return Err(unexpected("an index of a table"));
        };
        let keys = usize::try_from(row.int(2)?).unwrap_or(0);
        // An expression has number 0 and no name.
        let names: Vec<Option<&String>> = row
            .text(1)?
            .split_ascii_whitespace()
            .take(keys)
            .map(|number| numbers.get(&(relation, number.parse().unwrap_or(0))))
            .collect();
        let all = || names.iter().map(|name| name.cloned()).collect::<Option<Vec<String>>>();
        if row.flag(3)? {
            table.primary_key = all().ok_or_else(|| unexpected("a primary key"))?;
            table.key_is_deferrable = !row.flag(4)?;
        }
        if row.flag(5)?
            && let ReplicaIdentity::Index { columns } = &mut table.replica_identity
        {
            *columns = all().ok_or_else(|| unexpected("a replica identity"))?;
        }
        if let (true, Some(Some(first))) = (row.flag(6)?, names.first())
            && !table.leading_index_columns.contains(first)
        {
            table.leading_index_columns.push((*first).clone());
        }
    }
    Ok(())
}
