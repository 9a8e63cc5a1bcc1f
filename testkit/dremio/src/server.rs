//! Starting it, and what a test may do to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightServiceServer;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::services::Authority;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::transport::{Identity, Server, ServerTlsConfig};

use crate::desk::Desk;
use crate::faults::{Fault, Faults, Stage};
use crate::gate::Gate;
use crate::people::People;
use crate::service::Service;
use crate::sql::{Source, Sources};
use crate::statements::Statements;
use crate::wire;

/// More than any statement of a test has.
const LONGEST_MESSAGE: usize = 256 << 20;

/// Wishes, before [`start`](Options::start).
#[derive(Clone, Debug)]
pub struct Options {
    tls: bool,
    demand_cookies: bool,
    updates: bool,
    silent: bool,
    whole_messages: bool,
    folders_first: bool,
    field_limit: usize,
    statement_limit: usize,
    sources: Vec<(String, Source)>,
    python: Option<PathBuf>,
}

impl Options {
    /// Speaks TLS only, with a certificate of [`Dremio::authority`] for `localhost` and 127.0.0.1.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Refuses a call whose session is known and whose cookie is missing.
    #[must_use]
    pub fn demand_cookies(mut self) -> Self {
        self.demand_cookies = true;
        self
    }

    /// Takes `CommandStatementUpdate`.
    #[must_use]
    pub fn updates(mut self) -> Self {
        self.updates = true;
        self
    }

    /// Answers a handshake with headers only.
    #[must_use]
    pub fn silent_handshake(mut self) -> Self {
        self.silent = true;
        self
    }

    /// Another limit for strings that are written, in bytes.
    #[must_use]
    pub fn field_limit(mut self, bytes: usize) -> Self {
        self.field_limit = bytes;
        self
    }

    /// A limit for statements, in bytes.
    #[must_use]
    pub fn statement_limit(mut self, bytes: usize) -> Self {
        self.statement_limit = bytes;
        self
    }

    /// Errors repeat statements whole, however long.
    #[must_use]
    pub fn whole_messages(mut self) -> Self {
        self.whole_messages = true;
        self
    }

    /// In a catalog, wants a folder made by CREATE FOLDER, in one that is there, before anything can be in it.
    #[must_use]
    pub fn folders_first(mut self) -> Self {
        self.folders_first = true;
        self
    }

    /// One more source; of two with the same name, this one.
    #[must_use]
    pub fn source(mut self, name: &str, source: Source) -> Self {
        self.sources.insert(0, (name.to_owned(), source));
        self
    }

    /// The Python that has DuckDB, where it is not that of `cargo xtask servers`.
    #[must_use]
    pub fn python(mut self, program: PathBuf) -> Self {
        self.python = Some(program);
        self
    }

    /// Starts it on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    pub fn start(self) -> Dremio {
        Dremio::with(self)
    }
}

/// A running server, stopped when dropped.
#[derive(Debug)]
pub struct Dremio {
    /// Where it listens.
    pub port: u16,
    /// Who has signed its certificate.
    pub authority: Authority,
    folder: TempDir,
    people: Arc<People>,
    statements: Statements,
    runtime: Option<Runtime>,
}

impl Dremio {
    /// The only user.
    pub const USER: &'static str = "dremio_user";
    /// The user's password: long enough that a search for it in any output finds nothing else.
    pub const PASSWORD: &'static str = "the dremio user's: p&ss\"w%rd";
    /// The user's personal access token.
    pub const TOKEN: &'static str = "pat+that/must-appear=nowhere==";

    /// Starts it without wishes.
    #[must_use]
    pub fn start() -> Self {
        Self::options().start()
    }

    /// Wishes.
    #[must_use]
    pub fn options() -> Options {
        Options {
            tls: false,
            demand_cookies: false,
            updates: false,
            silent: false,
            whole_messages: false,
            folders_first: false,
            field_limit: 32_000,
            statement_limit: LONGEST_MESSAGE,
            sources: Vec::new(),
            python: None,
        }
    }

    fn with(options: Options) -> Self {
        let folder = TempDir::new().expect("a folder");
        std::fs::create_dir(folder.path().join("store")).expect("a folder");
        let mut sources = options.sources;
        sources.push(("lake".into(), Source::Catalog));
        sources.push(("store".into(), Source::Store(folder.path().join("store"))));
        sources.push(("space".into(), Source::Space));
        let python = options.python.unwrap_or_else(|| testkit::python().join("bin/python"));
        let mut desk = Desk::new(&python, Sources(sources), options.field_limit, options.statement_limit);
        if options.whole_messages {
            desk.repeated = usize::MAX;
        }
        desk.folders_first = options.folders_first;
        let statements = Statements { desk: Arc::new(desk), faults: Arc::new(Faults::default()) };
        let people = Arc::new(People::new(options.demand_cookies));
        let service =
            Service { statements: statements.clone(), updates: options.updates, silent: options.silent };
        let authority = Authority::new();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let address: SocketAddr = ([127, 0, 0, 1], 0).into();
        let listener = runtime.block_on(TcpListener::bind(address)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let gate = Gate { service, people: Arc::clone(&people) };
        let flight = FlightServiceServer::new(gate)
            .max_decoding_message_size(LONGEST_MESSAGE)
            .max_encoding_message_size(LONGEST_MESSAGE);
        let mut server = Server::builder();
        if options.tls {
            let (certificate, key) = authority.issue("DNS:localhost,IP:127.0.0.1");
            let read = |path: PathBuf| std::fs::read(path).expect("a certificate or a key");
            let identity = Identity::from_pem(read(certificate), read(key));
            server = server.tls_config(ServerTlsConfig::new().identity(identity)).expect("TLS");
        }
        let serving = server.add_service(flight).serve_with_incoming(wire::incoming(listener));
        runtime.spawn(serving);
        Self { port, authority, folder, people, statements, runtime: Some(runtime) }
    }

    /// The authority's certificate, as configs hold it.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn ca_certificate(&self) -> String {
        std::fs::read_to_string(self.authority.certificate()).expect("a certificate")
    }

    /// The folder that the source `store` stands for.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// A folder of its own, for what belongs to it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The keys of destination-dremio's config that lead here, into `lake.production`.
    #[must_use]
    pub fn destination(&self) -> Value {
        json!({
            "host": "127.0.0.1",
            "port": self.port,
            "username": Self::USER,
            "password": Self::PASSWORD,
            "ssl": false,
            "dataset": "lake.production",
            "connection_type": "Arrow Flight"
        })
    }

    /// The next statement that has this text in it, in upper or lower case, meets a fault when it is run.
    pub fn fault(&self, text: &str, fault: Fault) {
        self.faults(text, Stage::Run, fault, 0, 1);
    }

    /// The same at a stage, after so many such statements have passed, and so many times.
    pub fn faults(&self, text: &str, stage: Stage, fault: Fault, skip: usize, times: usize) {
        self.statements.faults.add(text, stage, fault, skip, times);
    }

    /// No fault waits for anything any more.
    pub fn clear_faults(&self) {
        self.statements.faults.clear();
    }

    /// How many faults statements have met.
    #[must_use]
    pub fn met(&self) -> usize {
        self.statements.faults.met()
    }

    /// Waits until a statement stands still ([`Fault::Hold`]).
    ///
    /// # Panics
    /// When none does.
    pub fn wait_held(&self) {
        assert!(self.statements.faults.wait_held(), "no statement has come that was to be held");
    }

    /// Lets every statement go on that stands still.
    pub fn release(&self) {
        self.statements.faults.release();
    }

    /// All bearer tokens expire, and their sessions end.
    pub fn expire_tokens(&self) {
        self.people.expire();
    }

    /// Tokens handed out from now on are good for so many calls.
    pub fn token_lifetime(&self, calls: Option<usize>) {
        self.people.lifetime(calls);
    }

    /// How many log-ins with a user's name were tried.
    #[must_use]
    pub fn logins(&self) -> usize {
        self.people.logins()
    }

    /// How many calls of any kind came.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.people.calls()
    }

    /// The statements that were begun to be run, in order, refused ones among them. Those that
    /// only were planned, or met a fault that kept them from running, are not.
    #[must_use]
    pub fn statements(&self) -> Vec<String> {
        self.statements.desk.begun()
    }

    /// Runs a statement as the user would, past the network and faults. Rows are JSON: numbers of up to
    /// 64 bits, booleans and strings as such, the rest as text.
    ///
    /// # Panics
    /// When the statement is refused.
    #[must_use]
    pub fn query(&self, sql: &str) -> Vec<Vec<Value>> {
        let translated =
            self.statements.desk.translate(sql).unwrap_or_else(|refusal| panic!("{sql}: {refusal:?}"));
        self.statements.desk.engine.rows(&translated).unwrap_or_else(|refusal| panic!("{sql}: {refusal:?}"))
    }

    /// Runs a statement that is not a query, likewise.
    ///
    /// # Panics
    /// When it is refused.
    pub fn execute(&self, sql: &str) {
        let desk = &self.statements.desk;
        let job = desk.begin(sql);
        desk.run(job, sql, &[]).unwrap_or_else(|refusal| panic!("{sql}: {refusal:?}"));
    }
}

impl Drop for Dremio {
    fn drop(&mut self) {
        self.release();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
