//! A store with files made for the test, and the binary that reads them.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use testkit::services::{FaultyStore, ObjectStore, StoreKind};
use testkit::{Connector, Exit, Folder, Output};

/// When the first files of tests were written: 2026-01-01.
pub(crate) const BEGIN: u64 = 1_767_225_600;

pub(crate) struct Lake {
    pub(crate) store: ObjectStore,
    folder: Folder,
    pub(crate) config: Value,
    /// An authority that the connector trusts besides the machine's.
    pub(crate) authority: Option<PathBuf>,
}

/// What a run said.
pub(crate) struct Run {
    pub(crate) output: Output,
}

impl Lake {
    /// An empty bucket, and one stream `s` of all files in this format.
    pub(crate) fn new(format: Value) -> Self {
        let store = ObjectStore::start(StoreKind::Strict);
        let config = config(&store.endpoint(), format);
        Self { store, folder: Folder::new(), config, authority: None }
    }

    pub(crate) fn csv() -> Self {
        Self::new(json!({"filetype": "csv"}))
    }

    /// Reads through a proxy that faults are made in.
    pub(crate) fn through(mut self, proxy: &FaultyStore) -> Self {
        self.config["endpoint"] = proxy.endpoint().into();
        self
    }

    /// Sets a key of the stream.
    pub(crate) fn stream(mut self, key: &str, value: Value) -> Self {
        self.config["streams"][0][key] = value;
        self
    }

    pub(crate) fn set(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.store.files(ObjectStore::BUCKET).join(key)
    }

    /// Puts a file, written so many seconds after [`BEGIN`].
    pub(crate) fn put(&self, key: &str, content: impl AsRef<[u8]>, after: u64) {
        put(&self.path(key), content.as_ref(), after);
    }

    fn run(&self, verb: &str, more: &[(&str, String)]) -> Run {
        let config = self.folder.json("config.json", &self.config);
        let mut args = vec![verb, "--config", &config];
        more.iter().for_each(|(flag, file)| args.extend([*flag, file]));
        let connector = Connector::new(env!("CARGO_BIN_EXE_source-s3"));
        let mut command = connector.command(args).patience(Duration::from_secs(100));
        if let Some(authority) = &self.authority {
            command = command.env("SSL_CERT_FILE", &authority.display().to_string());
        }
        Run { output: command.output() }
    }

    pub(crate) fn check(&self) -> Run {
        self.run("check", &[])
    }

    pub(crate) fn discover(&self) -> Run {
        self.run("discover", &[])
    }

    /// The stream as discovered.
    pub(crate) fn found(&self) -> Value {
        let run = self.discover();
        assert_eq!(run.output.exit, Exit::Code(0), "{}", run.error());
        let line = run.output.lines.iter().find(|l| l.raw.starts_with(br#"{"type":"CATALOG""#)).unwrap();
        serde_json::from_slice::<Value>(&line.raw).unwrap()["catalog"]["streams"][0].clone()
    }

    /// The discovered columns but the two that every stream has, each with its types but null.
    pub(crate) fn types(&self) -> Vec<(String, String)> {
        let stream = self.found();
        let properties = stream["json_schema"]["properties"].as_object().unwrap().clone();
        let short = |schema: &Value| {
            let types: Vec<_> = schema["type"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .filter(|t| *t != "null")
                .collect();
            let mut text = types.join("|");
            for key in ["format", "airbyte_type"] {
                if let Some(more) = schema[key].as_str() {
                    text = format!("{text}/{more}");
                }
            }
            text
        };
        let own = properties.iter().filter(|(name, _)| !name.starts_with("_ab_"));
        own.map(|(name, schema)| (name.clone(), short(schema))).collect()
    }

    /// The stream with the columns of one file, others left aside.
    pub(crate) fn stream_of(&self, key: &str) -> Value {
        let mut only = self.config.clone();
        only["streams"][0]["globs"] = json!([key]);
        let config = self.folder.json("only.json", &only);
        let output = Connector::new(env!("CARGO_BIN_EXE_source-s3")).run(["discover", "--config", &config]);
        let line = output.lines.iter().find(|l| l.raw.starts_with(br#"{"type":"CATALOG""#)).unwrap();
        serde_json::from_slice::<Value>(&line.raw).unwrap()["catalog"]["streams"][0].clone()
    }

    /// A stream of text columns a and id, for files that cannot be discovered.
    pub(crate) fn stream_given(&self) -> Value {
        let column = json!({"type": ["null", "string"]});
        let own = json!({"type": "string"});
        json!({
            "name": "s",
            "json_schema": {"type": "object", "properties": {
                "id": column, "a": column, "_ab_source_file_last_modified": own, "_ab_source_file_url": own}},
            "supported_sync_modes": ["full_refresh", "incremental"],
            "source_defined_cursor": true,
            "default_cursor_field": ["_ab_source_file_last_modified"],
        })
    }

    /// Reads everything.
    pub(crate) fn read(&self) -> Run {
        self.read_stream(&self.found(), "full_refresh", None)
    }

    /// Reads what is new since a state.
    pub(crate) fn sync(&self, stream: &Value, state: Option<&[u8]>) -> Run {
        self.read_stream(stream, "incremental", state)
    }

    pub(crate) fn catalog(&self, stream: &Value, mode: &str) -> String {
        let catalog =
            json!({"streams": [{"stream": stream, "sync_mode": mode, "destination_sync_mode": "append"}]});
        self.folder.json("catalog.json", &catalog)
    }

    pub(crate) fn read_stream(&self, stream: &Value, mode: &str, state: Option<&[u8]>) -> Run {
        let mut more = vec![("--catalog", self.catalog(stream, mode))];
        if let Some(state) = state {
            let message: Value = serde_json::from_slice(state).unwrap();
            more.push(("--state", self.folder.json("state.json", &json!([message["state"]]))));
        }
        self.run("read", &more)
    }
}

pub(crate) fn config(endpoint: &str, format: Value) -> Value {
    json!({
        "bucket": ObjectStore::BUCKET,
        "endpoint": endpoint,
        "credentials": {
            "auth_type": "iam_user",
            "aws_access_key_id": ObjectStore::ACCESS_KEY,
            "aws_secret_access_key": ObjectStore::SECRET_KEY,
        },
        "streams": [{"name": "s", "format": format}],
    })
}

pub(crate) fn put(path: &std::path::Path, content: &[u8], after: u64) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    // As in a store, an object is replaced at once or not at all.
    let new = path.with_file_name(".new");
    std::fs::write(&new, content).unwrap();
    let file = File::options().write(true).open(&new).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(BEGIN + after)).unwrap();
    std::fs::rename(&new, path).unwrap();
}

impl Run {
    /// The message of the one error, or of a failed check; empty when there was none.
    pub(crate) fn error(&self) -> String {
        if let Some(error) = self.output.errors().next() {
            return error.message.clone();
        }
        let status = self.output.lines.iter().find(|l| l.raw.starts_with(br#"{"type":"CONNECTION_STATUS""#));
        let status: Value = status.map_or(Value::Null, |l| serde_json::from_slice(&l.raw).unwrap());
        if status["connectionStatus"]["status"] == "FAILED" {
            return status["connectionStatus"]["message"].as_str().unwrap_or_default().to_owned();
        }
        String::new()
    }

    pub(crate) fn ok(&self) -> &Self {
        assert_eq!(self.output.exit, Exit::Code(0), "{}\n{}", self.error(), self.output.log());
        self
    }

    /// Each row without the two columns that every stream has, byte by byte.
    pub(crate) fn rows(&self) -> Vec<String> {
        let cut = |raw: &str| {
            let end = raw.find("\"_ab_source_file_last_modified\"").unwrap();
            format!("{}}}", raw[..end].trim_end_matches(','))
        };
        self.raw().iter().map(|r| cut(r)).collect()
    }

    fn raw(&self) -> Vec<String> {
        let lines = self.output.lines.iter().filter(|l| l.raw.starts_with(br#"{"type":"RECORD""#));
        lines
            .map(|l| {
                let text = std::str::from_utf8(&l.raw).unwrap();
                text.split_once(r#""data":"#).unwrap().1.to_owned()
            })
            .collect()
    }

    /// Which file each row is from.
    pub(crate) fn files(&self) -> Vec<String> {
        let file = |raw: &String| {
            let at = raw.find("\"_ab_source_file_url\":").unwrap() + 22;
            let mut values = serde_json::Deserializer::from_str(&raw[at..]).into_iter::<String>();
            values.next().unwrap().unwrap()
        };
        self.raw().iter().map(file).collect()
    }

    pub(crate) fn state(&self) -> Vec<u8> {
        self.output.state_lines().last().expect("a state").to_vec()
    }

    /// The last state's content.
    pub(crate) fn state_value(&self) -> Value {
        let message: Value = serde_json::from_slice(&self.state()).unwrap();
        message["state"]["stream"]["stream_state"].clone()
    }

    pub(crate) fn logged(&self, part: &str) -> bool {
        self.output.log().contains(part)
    }
}

/// Puts an object, with further headers, into the store that asks for no signature.
pub(crate) fn quick_put(port: u16, key: &str, headers: &str, body: &str) {
    use std::io::{Read, Write};
    let mut server = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let bucket = ObjectStore::BUCKET;
    let encode = |b: u8| match b {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => char::from(b).to_string(),
        other => format!("%{other:02X}"),
    };
    let key: String = key.bytes().map(encode).collect();
    write!(
        server,
        "PUT /{bucket}/{key} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    server.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(content).unwrap();
    out.finish().unwrap()
}

pub(crate) fn bzip2(content: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    out.write_all(content).unwrap();
    out.finish().unwrap()
}

pub(crate) fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}
