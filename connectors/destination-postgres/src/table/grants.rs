//! What a table that takes another's place takes over from it: grants and comments.

use connector_kit::Result;
use postgres_kit::{quote_identifier, quote_literal};

use crate::lane::Lane;
use crate::names::TableName;

use super::Found;

/// Gives `new` the grants and the comments of `old`. What default privileges gave it goes.
pub(crate) async fn take_over(lane: &mut Lane, old: &Found, new: &Found, name: &TableName) -> Result<()> {
    for row in lane.query(&format!("SELECT DISTINCT grantee, '', false FROM ({}) g", grants(new.oid))).await?
    {
        lane.execute(&format!("REVOKE ALL ON TABLE {name} FROM {} CASCADE", row.text(0)?)).await?;
    }
    for row in lane.query(&grants(old.oid)).await? {
        let option = if row.flag(2)? { " WITH GRANT OPTION" } else { "" };
        lane.execute(&format!("GRANT {} ON TABLE {name} TO {}{option}", row.text(1)?, row.text(0)?)).await?;
    }
    let sql = format!(
        "SELECT a.attname, d.description FROM pg_catalog.pg_description d
         LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid AND d.objsubid > 0
         WHERE d.classoid = 'pg_catalog.pg_class'::regclass AND d.objoid = {}",
        old.oid
    );
    for row in lane.query(&sql).await? {
        let text = quote_literal(row.text(1)?);
        match row.get(0) {
            None => lane.execute(&format!("COMMENT ON TABLE {name} IS {text}")).await?,
            Some(column) if new.column(column).is_some() => {
                let column = quote_identifier(column);
                lane.execute(&format!("COMMENT ON COLUMN {name}.{column} IS {text}")).await?;
            }
            // The stream has no such field any more.
            Some(_) => {}
        }
    }
    Ok(())
}

/// Who may do what with a table, apart from its owner: grantee, privilege, whether it may be passed on.
fn grants(oid: i64) -> String {
    format!(
        "SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END AS grantee,
         a.privilege_type, a.is_grantable FROM pg_catalog.pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
         WHERE c.oid = {oid} AND a.grantee <> c.relowner"
    )
}
