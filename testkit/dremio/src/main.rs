//! The stand-in as a program, for clients that are not written in Rust:
//! `dremio-stand-in PYTHON READY [--tls] [--demand-cookies] [--updates]`.
//!
//! READY is a file that it writes once it listens: its port, the folder of the source `store` and
//! the file of its authority's certificate, a line each. It takes orders on stdin, a JSON object a line, answers each with
//! a line, and ends with its stdin.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use testkit_dremio::{Dremio, Fault, Stage};

fn main() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || {
        arguments.next().ok_or("usage: dremio-stand-in PYTHON READY [--tls] [--demand-cookies] [--updates]")
    };
    let (python, ready) = (PathBuf::from(next()?), PathBuf::from(next()?));
    let mut options = Dremio::options().python(python);
    for option in arguments {
        options = match option.as_str() {
            "--tls" => options.tls(),
            "--demand-cookies" => options.demand_cookies(),
            "--updates" => options.updates(),
            other => return Err(format!("{other} is not an option")),
        };
    }
    let server = options.start();
    let text = format!(
        "{}\n{}\n{}\n",
        server.port,
        server.store().display(),
        server.authority.certificate().display()
    );
    // Whoever waits for it finds it whole.
    let unfinished = ready.with_extension("unfinished");
    let failed = |error: std::io::Error| format!("cannot write {}: {error}", ready.display());
    std::fs::write(&unfinished, text).map_err(failed)?;
    std::fs::rename(&unfinished, &ready).map_err(failed)?;
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let said = match obey(&server, &line) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error,
        };
        writeln!(std::io::stdout(), "{said}").map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// `{"do": "fault", "text": …, "fault": …, "stage": "planned", "skip": 0, "times": 1}`, `{"do": "clear"}`,
/// `{"do": "expire"}`, `{"do": "lifetime", "calls": 3}`
fn obey(server: &Dremio, line: &str) -> Result<(), String> {
    let order: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let number = |key: &str| order[key].as_u64().and_then(|number| usize::try_from(number).ok());
    match order["do"].as_str() {
        Some("expire") => server.expire_tokens(),
        Some("lifetime") => server.token_lifetime(number("calls")),
        Some("clear") => server.clear_faults(),
        Some("fault") => {
            let fault = fault(&order)?;
            let stage = if order["stage"] == "planned" { Stage::Planned } else { Stage::Run };
            let text = order["text"].as_str().ok_or("a fault waits for a text")?;
            server.faults(text, stage, fault, number("skip").unwrap_or(0), number("times").unwrap_or(1));
        }
        _ => return Err("unknown order".into()),
    }
    Ok(())
}

fn fault(order: &Value) -> Result<Fault, String> {
    let time = Duration::from_millis(order["ms"].as_u64().unwrap_or(100));
    Ok(match order["fault"].as_str() {
        Some("cut_before") => Fault::CutBefore,
        Some("cut_after") => Fault::CutAfter,
        Some("cut_then_run") => Fault::CutThenRun(time),
        Some("wakes") => Fault::Wakes(time),
        Some("unavailable") => Fault::unavailable(),
        Some("conflict") => Fault::conflict(),
        Some("asleep") => Fault::asleep(),
        Some("quota") => Fault::quota(),
        Some("denied") => Fault::denied("INSERT", "lake.production.t"),
        _ => return Err("unknown fault".into()),
    })
}
