//! One session with a real server: this crate's own connection, on a socket that blocks.

#![expect(clippy::disallowed_types, reason = "there is no loop here that a socket could block")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use hyperiondb_client::base::{Body, Instant};
use hyperiondb_client::config::{Config, Endpoint, from_json};
use hyperiondb_client::connection::{
    Answer, Connection, DescriptionState, Event, Input, Peer, Request, RequestToken, RowCursor,
    Security, Settled, Shared, StatementId, StatementResult, Statements,
};
use hyperiondb_client::protocol::Format;
use hyperiondb_client::protocol::scram::KeyCache;
use hyperiondb_client::transfer::RowBatch;
use hyperiondb_client::transfer::contract::cells::VALUE;
use hyperiondb_client::types::{Params, write_row};
use proptest::test_runner::TestCaseError;
use serde_json::json;

/// A server that says nothing for so long will say nothing at all.
const SILENCE: Duration = Duration::from_secs(30);
/// Of one row, all of whose columns are text.
const MOST_COLUMNS: usize = 4;

/// The columns of a row, as text.
pub(super) type Row = Vec<Option<String>>;

pub(super) struct Session {
    socket: TcpStream,
    config: Config,
    connection: Connection,
    statements: Statements,
    keys: KeyCache,
}

impl Session {
    /// Logs in at the server that the environment names, with the time zone in which it is to show
    /// what it has.
    pub(super) fn in_zone(zone: &str) -> Self {
        let config = config(zone);
        let host = &config.hosts[0];
        let socket = match &host.endpoint {
            Endpoint::Ip(address) => TcpStream::connect(address),
            Endpoint::Name { name, port } => TcpStream::connect((name.as_str(), *port)),
            other => panic!("HYPERION_HOSTS: {other:?} is no host:port"),
        };
        let socket = socket.unwrap_or_else(|error| panic!("{}: {error}", host.name));
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        let local = socket.peer_addr().unwrap().ip().is_loopback();
        // Time stands still here: silence is the socket's to notice.
        let connection = Connection::new(host.name.clone(), Instant::from_micros(1));
        let (statements, keys) = (Statements::default(), KeyCache::default());
        let mut session = Self { socket, config, connection, statements, keys };
        session.input(Input::Connected(Peer { nonce: [7; 18], local, security: Security::Plain }));
        match session.next_event() {
            Event::Ready { .. } => session,
            other => panic!("no login: {other:?}"),
        }
    }

    pub(super) fn in_utc() -> Self {
        Self::in_zone("UTC")
    }

    /// The number of the server's major version.
    pub(super) fn version(&mut self) -> u32 {
        let sql = "SELECT current_setting('server_version_num')";
        let [_, rows] = self.twice(sql, &Params::new()).unwrap();
        rows[0][0].as_ref().unwrap().parse::<u32>().unwrap() / 10_000
    }

    /// Runs a statement as a pool runs it for the first time, and as it runs it once this
    /// connection has its description. So its results come as text, unless a parameter's type had
    /// to be known first, and then in binary.
    pub(super) fn twice(
        &mut self,
        sql: &str,
        params: &Params,
    ) -> Result<[Vec<Row>; 2], TestCaseError> {
        let statement = self.statements.insert(sql);
        let first = self.run(sql, statement, params)?;
        // It is prepared, and described.
        self.run(sql, statement, params)?;
        let second = self.run(sql, statement, params)?;
        if params.is_empty() {
            assert_eq!(format_of(&first), Format::Text, "{sql}");
        }
        assert_eq!(format_of(&second), Format::Binary, "{sql}");
        self.statements.forget(statement);
        Ok([rows(&first)?, rows(&second)?])
    }

    fn run(
        &mut self,
        sql: &str,
        statement: StatementId,
        params: &Params,
    ) -> Result<StatementResult, TestCaseError> {
        let mut description = DescriptionState::Shared;
        loop {
            let request = Request {
                written: None,
                strange: false,
                held: false,
                token: RequestToken(0),
                statement,
                params,
                begin: None,
                free: true,
                leased: false,
                prepare: true,
                barrier: false,
                describe: false,
                description: &description,
            };
            let mut shared = Shared {
                config: &self.config,
                statements: &mut self.statements,
                keys: &mut self.keys,
            };
            let sent = self.connection.send(Instant::ORIGIN, &request, &mut shared);
            sent.map_err(|error| TestCaseError::fail(format!("{error} in {sql}")))?;
            match self.next_event() {
                // A parameter's type had to be known first.
                Event::Settled(Settled {
                    answer: Answer::Described { description: described },
                    ..
                }) => {
                    description =
                        described.map_or(DescriptionState::Shared, DescriptionState::Done);
                }
                Event::Settled(Settled {
                    answer: Answer::Completed { mut results, .. }, ..
                }) => {
                    return Ok(results.pop().unwrap());
                }
                Event::Settled(Settled { answer: Answer::Refused { error, .. }, .. }) => {
                    return Err(TestCaseError::fail(format!("{error} in answer to {sql}")));
                }
                other => panic!("{other:?} in answer to {sql}"),
            }
        }
    }

    fn input(&mut self, input: Input<'_>) {
        let mut shared =
            Shared { config: &self.config, statements: &mut self.statements, keys: &mut self.keys };
        self.connection.handle_input(Instant::ORIGIN, input, &mut shared);
        // The key of the login is derived by slices.
        while self.connection.derivation_left(Instant::ORIGIN).is_some_and(|left| left > 0) {
            self.connection.handle_timeout(Instant::ORIGIN, &mut shared);
        }
    }

    fn next_event(&mut self) -> Event {
        let mut bytes = vec![0; 1 << 16];
        loop {
            if let Some(event) = self.connection.poll_event() {
                return event;
            }
            self.socket.write_all(self.connection.outgoing()).unwrap();
            self.connection.advance(self.connection.outgoing().len());
            let count = self.socket.read(&mut bytes).unwrap();
            match &bytes[..count] {
                [] => self.input(Input::Closed { why: "the server closed it".to_owned() }),
                received => self.input(Input::Received(received)),
            }
        }
    }
}

fn config(zone: &str) -> Config {
    let variable = |name: &str| std::env::var(name).ok();
    let Some(hosts) = variable("HYPERION_HOSTS") else {
        panic!(
            "HYPERION_HOSTS names no server: npm test -- test/properties/properties.test.js starts one"
        );
    };
    let hosts: Vec<_> = hosts.split(',').map(str::trim).collect();
    let mut options = json!({
        "hosts": hosts,
        "user": variable("HYPERION_USER").unwrap_or_else(|| "hyperion".to_owned()),
        "database": variable("HYPERION_DATABASE").unwrap_or_else(|| "hyperion".to_owned()),
        "parameters": { "TimeZone": zone },
    });
    if let Some(password) = variable("HYPERION_PASSWORD") {
        options["password"] = password.into();
    }
    if let Some(port) = variable("HYPERION_PORT") {
        options["port"] = port.parse::<u16>().unwrap().into();
    }
    from_json(&options).unwrap()
}

fn format_of(result: &StatementResult) -> Format {
    result.shape.as_ref().unwrap().columns()[0].field.format
}

fn rows(result: &StatementResult) -> Result<Vec<Row>, TestCaseError> {
    let shape = result.shape.as_ref().unwrap();
    let mut cursor = RowCursor::default();
    let bodies = std::iter::from_fn(|| result.rows.next_body(&mut cursor));
    let read = |body: Body<'_>| {
        let Body::Whole(body) = body else { panic!("a row of {} bytes", body.len()) };
        let (mut ends, mut nulls) = ([0; MOST_COLUMNS], [0; MOST_COLUMNS]);
        let mut text = Vec::new();
        let mut batch = RowBatch::new(&mut ends, &mut nulls, &mut text, usize::MAX);
        let written = write_row(body, shape, &mut batch);
        written.map_err(|error| TestCaseError::fail(error.to_string()))?.unwrap();
        let text: Vec<u16> = String::from_utf8(text).unwrap().encode_utf16().collect();
        let mut start = 0;
        let mut cell = |(column, _)| {
            let end = usize::try_from(ends[column]).unwrap();
            let cell = String::from_utf16(&text[start..end]).unwrap();
            start = end;
            (nulls[column] == VALUE).then_some(cell)
        };
        Ok(shape.columns().iter().enumerate().map(&mut cell).collect())
    };
    bodies.map(read).collect()
}
