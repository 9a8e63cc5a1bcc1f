//! Each command but `new`: load, ask, answer.

use std::path::{Path, PathBuf};

use protocol::{ConnectionStatusKind, StreamDescriptor};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Answer, pretty};
use crate::clock;
use crate::connector::{self, Asker, Connector, PrivateDir};
use crate::ends::Ends;
use crate::error::{Error, Failure, Origin};
use crate::interrupt::Interrupt;
use crate::job::{self, Options};
use crate::job_log::JobLog;
use crate::launch::Placement;
use crate::masker::Masker;
use crate::progress::{grouped, human_bytes};
use crate::report::columns;
use crate::store::lock::SyncLock;
use crate::store::{JobStatus, Store};
use crate::sync_file::SyncFile;

fn good(text: String, json: &impl Serialize) -> Answer {
    Answer { text, json: pretty(json), problems: String::new(), code: 0 }
}

pub(super) fn sync(file: &Path, options: &Options, interrupt: &Interrupt) -> Result<Answer, Error> {
    let file = SyncFile::load(file)?;
    let report = job::sync(&file, options, interrupt)?;
    let code = match report.status {
        JobStatus::Succeeded => 0,
        JobStatus::Partial => 3,
        JobStatus::Running | JobStatus::Failed | JobStatus::Cancelled => 1,
    };
    Ok(Answer { text: report.table(), json: pretty(&report), problems: report.problems(), code })
}

pub(super) fn check(path: &Path, options: &Options, interrupt: &Interrupt) -> Result<Answer, Error> {
    let file = SyncFile::load(path)?;
    let ends = Ends::open(&file, None, options.patience, interrupt)?;
    let log = JobLog::nowhere(ends.masker.clone());
    let configs = PrivateDir::create(None, "ferry-")?;
    let ask = |connector, origin, name: &str, config| {
        let config = configs.config(name, config)?;
        Asker { connector, origin, log: &log, interrupt, patience: options.patience }.check(&config)
    };
    let (source, destination) = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            ask(&ends.destination, Origin::Destination, "destination.json", &ends.destination_config)
        });
        let source = ask(&ends.source, Origin::Source, "source.json", &ends.source_config);
        let lost = || Err(Failure::fatal(Origin::Ferry, "a thread ended unexpectedly"));
        (source, other.join().unwrap_or_else(|_| lost()))
    });
    let (mut text, mut answers, mut code) = (String::new(), serde_json::Map::new(), 0);
    for (role, name, status) in
        [("source", &ends.source.name, source), ("destination", &ends.destination.name, destination)]
    {
        let (works, message) = match status {
            Ok(status) => (status.status == ConnectionStatusKind::Succeeded, status.message),
            Err(failure) => (false, Some(failure.message)),
        };
        let message = message.map(|m| log.mask(&m));
        let word = if works { "works" } else { "FAILED" };
        text.push_str(&format!("{role} {name}: {word}"));
        if let Some(message) = message.as_deref().filter(|_| !works) {
            text.push_str(&format!(": {message}"));
        }
        text.push('\n');
        code |= u8::from(!works);
        answers.insert(role.to_owned(), json!({"connector": name, "works": works, "message": message}));
    }
    for warning in &ends.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    answers.insert("warnings".to_owned(), json!(ends.warnings));
    Ok(Answer { text, json: pretty(&answers), problems: String::new(), code })
}

pub(super) fn discover(path: &Path, options: &Options, interrupt: &Interrupt) -> Result<Answer, Error> {
    let file = SyncFile::load(path)?;
    let ends = Ends::open(&file, None, options.patience, interrupt)?;
    let log = JobLog::nowhere(ends.masker.clone());
    let configs = PrivateDir::create(None, "ferry-")?;
    let config = configs.config("source.json", &ends.source_config)?;
    let asker = Asker {
        connector: &ends.source,
        origin: Origin::Source,
        log: &log,
        interrupt,
        patience: options.patience,
    };
    let catalog = asker.discover(&config)?;
    let mut rows = vec![["stream", "sync modes", "cursor", "key", "fields"].map(str::to_owned).to_vec()];
    for stream in &catalog.streams {
        let modes: Vec<_> = stream
            .supported_sync_modes
            .iter()
            .map(|mode| match mode {
                protocol::SyncMode::FullRefresh => "full_refresh",
                protocol::SyncMode::Incremental => "incremental",
            })
            .collect();
        let fields: Vec<_> = stream
            .properties()
            .map(|p| p.iter().map(|(name, schema)| format!("{name}: {}", type_of(schema))).collect())
            .unwrap_or_default();
        let key: Vec<_> = stream.source_defined_primary_key.iter().map(|path| path.join(".")).collect();
        rows.push(vec![
            stream.descriptor().to_string(),
            modes.join(", "),
            stream.default_cursor_field.join("."),
            key.join(", "),
            fields.join(", "),
        ]);
    }
    Ok(good(columns(&rows, &[]), &catalog))
}

/// A field's type in a word or two.
pub(super) fn type_of(schema: &Value) -> String {
    if let Some(format) = schema.get("format").and_then(Value::as_str) {
        let without =
            schema.get("airbyte_type").and_then(Value::as_str).is_some_and(|t| t.contains("without"));
        return if without { format!("{format} without time zone") } else { format.to_owned() };
    }
    match schema
        .get("airbyte_type")
        .and_then(Value::as_str)
        .map_or_else(|| schema.get("type"), |_| schema.get("airbyte_type"))
    {
        Some(Value::String(one)) => one.clone(),
        Some(Value::Array(several)) => {
            several.iter().filter_map(Value::as_str).filter(|t| *t != "null").collect::<Vec<_>>().join(" or ")
        }
        _ => "any".to_owned(),
    }
}

pub(super) fn ask_spec(
    name: &str,
    origin: Origin,
    options: &Options,
    interrupt: &Interrupt,
) -> Result<(Connector, protocol::ConnectorSpecification), Error> {
    let connector = Connector::find(name, Path::new("."), &Placement::default(), interrupt)?;
    let log = JobLog::nowhere(Masker::default());
    let asker = Asker { connector: &connector, origin, log: &log, interrupt, patience: options.patience };
    let spec = asker.spec()?;
    Ok((connector, spec))
}

pub(super) fn spec(name: &str, options: &Options, interrupt: &Interrupt) -> Result<Answer, Error> {
    let (connector, spec) = ask_spec(name, Origin::Ferry, options, interrupt)?;
    let schema = &spec.connection_specification;
    let mut text = format!("{}\n", connector.name);
    if let Some(url) = &spec.documentation_url {
        text.push_str(&format!("{url}\n"));
    }
    text.push('\n');
    let mut rows = vec![["option", "type", "needed", "default", "about"].map(str::to_owned).to_vec()];
    list_options(schema, "", &mut rows);
    text.push_str(&columns(&rows, &[]));
    Ok(good(text, &spec))
}

fn list_options(schema: &Value, prefix: &str, rows: &mut Vec<Vec<String>>) {
    let required = |name: &str| {
        schema.get("required").and_then(Value::as_array).is_some_and(|r| r.iter().any(|f| f == name))
    };
    for (name, option) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let about =
            option.get("description").or(option.get("title")).and_then(Value::as_str).unwrap_or_default();
        let first = about.split(". ").next().unwrap_or_default().replace('\n', " ");
        let secret = option.get("airbyte_secret") == Some(&Value::Bool(true));
        rows.push(vec![
            format!("{prefix}{name}"),
            if secret { "secret".to_owned() } else { type_of(option) },
            if required(name) { "yes" } else { "" }.to_owned(),
            option.get("default").map(ToString::to_string).unwrap_or_default(),
            first,
        ]);
        list_options(option, &format!("{prefix}{name}."), rows);
        for alternative in option.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
            list_options(alternative, &format!("{prefix}{name}."), rows);
        }
    }
}

fn opened(path: &Path, options: &Options) -> Result<(String, Store, i64), Error> {
    // Only the name counts: a state can be looked at when a secret is not at hand.
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !path.is_file() {
        return Err(Error::Usage(format!("{}: there is no such file", path.display())));
    }
    let beside = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let store = Store::open(&options.data_dir.clone().unwrap_or_else(|| beside.join(".ferry")))?;
    let connection = store.connection(&name)?;
    Ok((name, store, connection))
}

#[derive(Serialize)]
struct StateShown<'a> {
    stream: Option<&'a StreamDescriptor>,
    source: &'a str,
    job: i64,
    saved_at: String,
    state: Option<Box<RawValue>>,
}

pub(super) fn state_show(path: &Path, options: &Options) -> Result<Answer, Error> {
    let (name, store, connection) = opened(path, options)?;
    let states = store.states(connection)?;
    let mut rows = vec![["stream", "job", "saved", "state"].map(str::to_owned).to_vec()];
    let mut list = Vec::new();
    for state in &states {
        let stream = state.stream.as_ref().map_or_else(|| "(all streams)".to_owned(), ToString::to_string);
        let text = state.state.clone().unwrap_or_else(|| "null".to_owned());
        list.push(StateShown {
            stream: state.stream.as_ref(),
            source: &state.source,
            job: state.job,
            saved_at: clock::utc(state.updated_at),
            state: RawValue::from_string(text.clone()).ok(),
        });
        rows.push(vec![stream, state.job.to_string(), clock::utc(state.updated_at), text]);
    }
    let text = if states.is_empty() { format!("{name} has no saved state\n") } else { columns(&rows, &[1]) };
    Ok(good(text, &list))
}

pub(super) fn state_reset(
    path: &Path,
    options: &Options,
    stream: Option<&str>,
    namespace: Option<&str>,
) -> Result<Answer, Error> {
    let (name, store, connection) = opened(path, options)?;
    // Not under a running sync, which would put its own back.
    let _lock = SyncLock::take(store.directory(), &name)?;
    let only = stream.map(|stream| StreamDescriptor::new(namespace, stream));
    let states = store.states(connection)?;
    if let Some(only) = &only
        && !states.iter().any(|s| s.stream.as_ref() == Some(only))
    {
        let known: Vec<_> =
            states.iter().filter_map(|s| s.stream.as_ref()).map(ToString::to_string).collect();
        let hint = crate::suggest::hint(&only.to_string(), known.iter().map(String::as_str));
        return Err(Error::Usage(format!("{name} has no state of stream {only}{hint}")));
    }
    // Before: what a destination has committed must not come back.
    store.renew_uuid(connection)?;
    let gone = store.forget_states(connection, only.as_ref())?;
    store.event(
        connection,
        None,
        "state_reset",
        &only.map_or_else(|| "all".to_owned(), |o| o.to_string()),
    )?;
    let text = format!("{name}: {gone} saved state{} forgotten\n", if gone == 1 { "" } else { "s" });
    Ok(good(text, &json!({"forgotten": gone})))
}

pub(super) fn history(path: &Path, options: &Options, limit: u32) -> Result<Answer, Error> {
    let (name, store, connection) = opened(path, options)?;
    let jobs = store.history(connection, limit)?;
    let mut rows = vec![
        ["job", "status", "began", "seconds", "attempts", "read", "committed", "bytes", "why"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for job in &jobs {
        let number = |n: i64| u64::try_from(n).unwrap_or(0);
        let seconds = job.ended_at.map(|end| format!("{:.1}", (end - job.created_at) as f64 / 1000.0));
        rows.push(vec![
            job.id.to_string(),
            job.status.clone(),
            clock::utc(job.created_at),
            seconds.unwrap_or_default(),
            job.attempts.to_string(),
            grouped(number(job.records_read)),
            grouped(number(job.records_committed)),
            human_bytes(number(job.bytes_read)),
            job.failure.clone().unwrap_or_default(),
        ]);
    }
    let text = if jobs.is_empty() {
        format!("{name} has not run yet\n")
    } else {
        columns(&rows, &[0, 3, 4, 5, 6, 7])
    };
    Ok(good(text, &jobs))
}

pub(super) fn connectors() -> Answer {
    let found = connector::list();
    let mut text = String::new();
    for (name, path) in &found {
        text.push_str(&format!("{name}  {}\n", path.display()));
    }
    if found.is_empty() {
        text.push_str("no connectors beside ferry or on PATH; a connector is an executable called source-… or destination-…\n");
    }
    let json: Vec<Value> =
        found.iter().map(|(name, path)| json!({"name": name, "path": path.display().to_string()})).collect();
    good(text, &json)
}
