//! What the client itself costs: reads `COPY orders` and drops it. Takes a port; the password is in
//! `PGPASSWORD`, as for `psql`.

use connector_kit::{Result, Secret};
use postgres_kit::{Endpoint, Params, Purpose, SslMode, TunnelMethod};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let port = args.next().and_then(|port| port.parse().ok()).unwrap_or(5432);
    let ssl = if args.next().is_some() { SslMode::Require } else { SslMode::Disable };
    let endpoint = Endpoint {
        host: "127.0.0.1".into(),
        port,
        database: "postgres".into(),
        user: "postgres".into(),
        password: std::env::var("PGPASSWORD").ok().map(Secret::from),
        ssl,
        tunnel: TunnelMethod::NoTunnel,
        params: Params::default(),
    };
    let mut connection = endpoint.connect(Purpose::Ordinary).await?;
    connection.copy_out("COPY (SELECT * FROM orders) TO STDOUT (FORMAT binary)").await?;
    let (mut rows, mut bytes, mut fills) = (0_u64, 0_u64, 0_u64);
    loop {
        while let Some(data) = connection.next_copy_data()? {
            rows += 1;
            bytes += data.len() as u64;
        }
        if connection.copy_finished() {
            break;
        }
        connection.fill().await?;
        fills += 1;
    }
    let mut out = std::io::stdout();
    let _ = std::io::Write::write_all(
        &mut out,
        format!("{rows} messages, {bytes} bytes, {fills} reads\n").as_bytes(),
    );
    Ok(())
}
