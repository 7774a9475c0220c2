//! The session after a finished login.
//!
//! Owns: the pipeline of requests, each ended by a Sync, the session's state, and its settings. The
//! server answers each request with a ReadyForQuery. Reports of its settings that come in between
//! belong to the ReadyForQuery that follows. So each request knows the role that the server had
//! reported before it and after it. The unit tests are in `src/connection/tests.rs`.

pub(in crate::connection) mod latency;
pub(in crate::connection) mod settings;

mod ended;
mod questions;
mod resets;
mod rows;
mod run;
mod scripts;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
pub use ended::{QUERY_WAIT_TIMEOUT, was_never_handed_on};
use ended::{is_fatal, is_of_server};
use questions::{Asking, RoleRecheck};
use run::Texts;

use crate::base::{Error, Instant, ServerFields};
use crate::config::{Config, Pipelining, RoleCheck};
use crate::connection::far_end::FarEnd;
use crate::connection::introspection::role::{Parameters, Role};
use crate::connection::introspection::user_types::TypesAnswer;
use crate::connection::login::handshake::BackendKey;
use crate::connection::login::startup::StartupSettings;
use crate::connection::request::exchange::{Exchange, Flight, Progress, Terms};
use crate::connection::request::pipeline::{self, Item, Kind, Pipeline};
use crate::connection::request::prelude::Prelude;
use crate::connection::request::step::unexpected;
use crate::connection::session::latency::Latency;
use crate::connection::session::settings::{FirstUse, TextFormat};
use crate::connection::statement::StatementId;
use crate::connection::statement::naming::Names;
use crate::connection::statement::prepared::Prepared;
use crate::connection::{Event, Request, RequestToken, Sent, Settled, Shared};
use crate::protocol::backend::{BackendMessage, TransactionStatus};
use crate::protocol::frontend;

#[derive(Debug)]
pub(super) struct Session {
    pipeline: Pipeline,
    status: TransactionStatus,
    /// The status before the request that was answered last.
    status_before: TransactionStatus,
    /// The role that the server reported last, and the one that it had reported by ReadyForQuery.
    role: Option<Role>,
    role_at_ready: Option<Role>,
    reports_role: bool,
    recheck: RoleRecheck,
    asking: Asking,
    /// The server refuses to report its place in the cluster.
    refuses_place: bool,
    max_result_bytes: usize,
    /// The options allow a read to run twice if its text shows nothing against it.
    repeats_reads: bool,
    prepared: Prepared,
    names: Names,
    /// The error with which the server last refused a statement because its transaction had failed.
    aborted: Option<Box<ServerFields>>,
    key: Option<BackendKey>,
    far_end: FarEnd,
    last_ready: Instant,
    /// When the question was sent that the server last answered with its role.
    asked_at: Instant,
    /// How long the server took to answer the last bare Sync or question for its role.
    round_trip: Option<Duration>,
    lead: Latency,
    /// The server said FATAL itself, and has looked at no item behind the first.
    fatal: bool,
    /// A pooler has ended the session, and handed no unanswered request to a server.
    never_handed_on: bool,
    tidiness: Cleanliness,
    /// The server refused to reset the session, and skipped the request after the reset.
    skipped: bool,
    /// The question for its place waits until the last step of a script is sent.
    place_is_due: bool,
    /// Fingerprints of the settings as the server reports them now, and as it did when the session
    /// was new or was last reset.
    reported: u64,
    reported_clean: u64,
    startup: StartupSettings,
    /// The session's user may have changed whether the session accepts writes.
    made_role: bool,
    /// The session's role may not read what types are.
    refuses_types: bool,
    /// Whether values as text look as this client reads them. If not, a statement is described
    /// before its first use, so that its results come in binary.
    style: TextFormat,
}

/// Whether this session's users left something behind in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cleanliness {
    Clean,
    Soiled,
    /// A DISCARD ALL is under way, and the server has not confirmed it.
    Resetting,
}

impl Session {
    pub(super) fn new(
        now: Instant,
        key: Option<BackendKey>,
        random: [u8; 8],
        parameters: &Parameters,
        config: &Config,
    ) -> Self {
        let role = match config.role_check {
            RoleCheck::Reported => parameters.role(),
            RoleCheck::Query => None,
        };
        let far_end = FarEnd::of_key(key.as_ref());
        Self {
            pipeline: Pipeline::new(),
            status: TransactionStatus::Idle,
            role,
            role_at_ready: role,
            reports_role: role.is_some(),
            recheck: RoleRecheck::default(),
            asking: Asking::new(config.mode),
            refuses_place: false,
            prepared: Prepared::new(config.statement_cache_size, random),
            names: Names::new(parameters),
            aborted: None,
            status_before: TransactionStatus::Idle,
            max_result_bytes: config.max_result_bytes,
            repeats_reads: config.pipelining != Pipelining::Off,
            far_end,
            key,
            last_ready: now,
            asked_at: Instant::ORIGIN,
            round_trip: None,
            lead: Latency::default(),
            fatal: false,
            never_handed_on: false,
            tidiness: Cleanliness::Clean,
            skipped: false,
            place_is_due: false,
            reported: parameters.fingerprint(),
            reported_clean: parameters.fingerprint(),
            startup: StartupSettings::new(parameters, config),
            made_role: false,
            refuses_types: false,
            style: TextFormat::new(parameters, config, far_end),
        }
    }

    pub(super) fn role(&self) -> Option<Role> {
        self.role
    }

    pub(super) fn reports_role(&self) -> bool {
        self.reports_role
    }

    pub(super) fn take_round_trip(&mut self) -> Option<Duration> {
        self.round_trip.take()
    }

    pub(super) fn key(&self) -> Option<&BackendKey> {
        self.key.as_ref()
    }

    pub(super) fn status(&self) -> TransactionStatus {
        self.status
    }

    pub(super) fn depth(&self) -> usize {
        self.pipeline.len()
    }

    /// Whether nothing is in flight except a reset or a question of the pool's own.
    pub(super) fn is_vacant(&self) -> bool {
        pipeline::is_vacant(&self.pipeline)
    }

    /// Whether names may mean something else for other sessions, which do not know that yet.
    pub(super) fn has_moved_names(&self) -> bool {
        self.names.have_moved_for_all()
    }

    pub(super) fn arriving(&self) -> Option<(StatementId, usize)> {
        let mut works = self.pipeline.iter();
        let item = works.find(|item| !matches!(item.kind, Kind::Barrier { .. }))?;
        match &item.kind {
            Kind::Request { exchange, .. } if item.was_sent() => {
                Some((exchange.statement, exchange.held()))
            }
            _ => None,
        }
    }

    pub(super) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    pub(super) fn hear_together(&mut self) -> bool {
        self.lead.knows_way() && pipeline::hear_together(&mut self.pipeline)
    }

    /// Since when the server has been at the first request of the pipeline.
    pub(super) fn head_since(&self) -> Option<Instant> {
        self.pipeline.front().map(|item| item.queued_at.max(self.last_ready))
    }

    pub(super) fn asked_at(&self) -> Instant {
        self.asked_at
    }

    /// When the server last reported its role.
    pub(super) fn role_reported_at(&self) -> Instant {
        if self.reports_role { self.last_ready } else { self.asked_at }
    }

    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.pipeline.is_empty().then_some(self.last_ready)
    }

    pub(super) fn requests(&self) -> impl Iterator<Item = RequestToken> {
        pipeline::requests(&self.pipeline)
    }

    pub(super) fn at_work(&self) -> Option<RequestToken> {
        self.pipeline.front()?.token()
    }

    pub(super) fn first_request(&self) -> Option<RequestToken> {
        self.requests().next()
    }

    pub(super) fn has_followers(&self, token: RequestToken) -> bool {
        pipeline::place_of(&self.pipeline, token).is_some_and(|n| n + 1 < self.pipeline.len())
    }

    /// Takes back a request of which nothing was written; false if that can't be done. `written` is
    /// how many bytes the kernel has taken, and `out` holds those that it has not.
    pub(super) fn withdraw(
        &mut self,
        token: RequestToken,
        written: u64,
        out: &mut BytesMut,
    ) -> bool {
        let Some(place) = pipeline::place_of(&self.pipeline, token) else { return false };
        let is_awaited = self.pipeline.get(place + 1).is_some_and(Item::is_waiting_script);
        if is_awaited || !pipeline::is_by_itself(&self.pipeline, place) {
            return false;
        }
        let Some(exchange) = pipeline::cut(&mut self.pipeline, place, written, out) else {
            return false;
        };
        if let Some(name) = exchange.preparing() {
            self.prepared.remove(exchange.statement, name);
        }
        self.open_gate();
        true
    }

    /// Up to which byte of all that is ever sent here may be written now; `None` sets no limit.
    pub(super) fn gate(&self) -> Option<u64> {
        if !self.far_end.may_be_pooler() {
            return None;
        }
        self.pipeline.iter().find(|item| item.gated).map(|item| item.start)
    }

    /// Opens the gate of the first item, since nothing unanswered stands in front of it.
    fn open_gate(&mut self) {
        if let Some(front) = self.pipeline.front_mut() {
            front.gated = false;
        }
    }

    /// Appends a request to the pipeline and its bytes to `out`. An error leaves both as they were.
    /// `sent` is how many bytes were sent before those in `out`.
    pub(super) fn send(
        &mut self,
        now: Instant,
        request: &Request<'_>,
        shared: &mut Shared<'_>,
        sent: u64,
        out: &mut BytesMut,
    ) -> Result<Sent, Error> {
        let (bytes, items) = (out.len(), self.pipeline.len());
        let done = self.send_whole(now, request, shared, sent, out);
        if done.is_err() {
            out.truncate(bytes);
            self.pipeline.truncate(items);
        }
        done
    }

    fn send_whole(
        &mut self,
        now: Instant,
        request: &Request<'_>,
        shared: &mut Shared<'_>,
        sent: u64,
        out: &mut BytesMut,
    ) -> Result<Sent, Error> {
        if request.barrier && self.may_ask_process() {
            self.ask_process(now, sent, out)?;
        }
        if request.barrier && self.may_ask_role() && !self.has_barrier(now) {
            self.barrier(now, false, sent, out)?;
        }
        let statement = shared
            .statements
            .get(request.statement)
            .ok_or_else(|| Error::internal("a request names a statement that is forgotten"))?;
        let start = sent + out.len() as u64;
        let is_script = statement.may_be_script() && request.params.is_empty() && !request.describe;
        let is_script = is_script || request.held;
        let first_use = self.style.first_use(request, statement, shared.statements);
        let checks = match is_script {
            true => self.style.checks_script(request, statement, shared.statements),
            false => first_use == Some(FirstUse::CheckedText),
        };
        let prelude = Prelude::new(self.is_resetting(), request.begin, checks);
        prelude.write(out)?;
        if self.is_resetting() {
            self.prepared.clear();
        }
        let moment = self.moment(now, shared.statements.generation());
        let verbatim = shared.statements.verbatim(statement).without(self.refuses_types);
        let (flight, prelude) = if is_script && prelude.is_empty() {
            self.script(request, statement, shared.statements, out)?
        } else {
            let are_read = self.style.reads_text(shared.statements);
            let texts = Texts { first_use, are_read, verbatim: &verbatim };
            let flight = match is_script {
                true => Flight::Prelude,
                false => self.run(moment, request, statement, texts, out)?,
            };
            frontend::sync(out)?;
            (flight, prelude)
        };
        let runs = !matches!(flight, Flight::Describing { .. } | Flight::Prelude);
        let moves_for_all = runs && self.names.sent(statement.naming, request.leased);
        self.made_role |= runs && statement.naming.makes_role;
        self.style.ask(statement.session_effects);
        let how = match flight {
            Flight::Describing { .. } | Flight::Prelude => Sent::Question,
            Flight::Steps(_) => Sent::Steps,
            _ => Sent::Request,
        };
        let terms = Terms {
            verbatim,
            limit: self.max_result_bytes,
            may_run_twice: request.free && statement.may_run_twice,
            reads_text: self.style.reads_text(shared.statements),
        };
        let exchange = Exchange::new(request.statement, flight, prelude, moment, terms);
        let kind = Kind::Request { token: request.token, exchange };
        let end = sent + out.len() as u64;
        pipeline::push(&mut self.pipeline, self.far_end.may_be_pooler(), kind, now, start..end);
        if moves_for_all {
            shared.statements.names_moved();
        }
        self.begin_steps(sent, out)?;
        Ok(how)
    }

    /// Takes any message except DataRow.
    pub(super) fn message(
        &mut self,
        now: Instant,
        message: BackendMessage<'_>,
        parameters: &mut Parameters,
        shared: &mut Shared<'_>,
        events: &mut VecDeque<Event>,
        (sent, out): (u64, &mut BytesMut),
    ) -> Result<(), Error> {
        use BackendMessage as M;
        match message {
            M::ParameterStatus { name, value } => self.report((name, value), parameters, shared),
            M::NoticeResponse(fields) => {
                if let Some(Item { kind: Kind::Request { exchange, .. }, .. }) =
                    self.pipeline.front_mut()
                {
                    exchange.notice(&fields);
                }
                events.push_back(Event::Notice(fields));
                Ok(())
            }
            M::NotificationResponse { process_id, channel, payload } => {
                let (channel, payload) = (channel.to_owned(), payload.to_owned());
                events.push_back(Event::Notification { process_id, channel, payload });
                Ok(())
            }
            M::ErrorResponse(fields) if is_fatal(&fields) => {
                self.fatal = is_of_server(&fields);
                self.never_handed_on = was_never_handed_on(&fields);
                Err(Error::database(*fields))
            }
            M::ReadyForQuery(status) if self.undoes_question(status, out)? => Ok(()),
            M::ReadyForQuery(status) => self.ready(now, status, shared, events, (sent, out)),
            message => self.answer(now, message, shared, sent, out),
        }
    }

    fn answer(
        &mut self,
        now: Instant,
        message: BackendMessage<'_>,
        shared: &mut Shared<'_>,
        sent: u64,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        use BackendMessage as M;
        let alone = self.pipeline.len() == 1;
        let Some(item) = self.pipeline.front_mut() else {
            return Err(unexpected(message.name()));
        };
        let exchange = match &mut item.kind {
            Kind::Request { exchange, .. } if exchange.is_resetting() => match message {
                M::ErrorResponse(fields) => {
                    self.skipped = true;
                    return Err(Error::database(*fields));
                }
                _ => exchange,
            },
            Kind::Request { exchange, .. } => exchange,
            Kind::Barrier { asked: true, .. }
                if self.role.is_none() && self.asking.falls_back(&message) =>
            {
                return Ok(());
            }
            // A refusal says nothing about the role of an established session.
            Kind::Barrier { asked: true, .. }
                if self.role.is_some() && matches!(message, M::ErrorResponse(_)) =>
            {
                return Ok(());
            }
            own => return own.message(message, alone),
        };
        let id = exchange.statement;
        match exchange.message(message)? {
            Progress::Nothing => {}
            Progress::Step => self.go_on(now, sent, out)?,
            Progress::Description(description) => {
                let Some(statement) = shared.statements.get_mut(id) else {
                    exchange.set_description(&description);
                    return Ok(());
                };
                let runs = !matches!(exchange.flight, Flight::Describing { .. });
                if statement.naming.names_result && runs {
                    exchange.set_description(&description);
                    return Ok(());
                }
                let sql = Arc::clone(&statement.sql);
                let known = shared.statements.describe(id, exchange.moment.at, description);
                exchange.set_description(&known);
                let is_kept = exchange.describes_anew()
                    && exchange.name().is_some_and(|name| self.prepared.is_as(id, name, &known));
                if exchange.preparing().is_none() && !is_kept {
                    self.prepared.remember(id, &sql, &known, exchange.moment);
                }
            }
            // The server would take the messages that were sent after it for the COPY's data.
            Progress::Copy(copied) if !alone => return Err(copied.refusal()),
            Progress::Copy(copied) => self.refuse_copy(copied, out)?,
        }
        Ok(())
    }

    fn ready(
        &mut self,
        now: Instant,
        status: TransactionStatus,
        shared: &mut Shared<'_>,
        events: &mut VecDeque<Event>,
        (sent, out): (u64, &mut BytesMut),
    ) -> Result<(), Error> {
        // An incomplete item stays in the pipeline: the end of the connection answers it.
        if let Some(item) = self.pipeline.front() {
            item.kind.check_finished()?;
        }
        let Some(mut item) = self.pipeline.pop_front() else {
            return Err(unexpected("ReadyForQuery"));
        };
        let role_before = self.role_at_ready;
        let waited = self.last_ready > item.queued_at;
        let took = now.since(item.queued_at.max(self.last_ready));
        self.status_before = std::mem::replace(&mut self.status, status);
        if self.take_role(&item.kind) {
            events.push_back(Event::Contradicted);
        }
        self.last_ready = now;
        // Where the role is not reported, only an answer to the question for it shows it.
        if self.reports_role || matches!(item.kind, Kind::Barrier { role: Some(_), .. }) {
            self.asked_at = item.queued_at;
        }
        let (took, parted) = match item.kind {
            Kind::Request { .. } => self.lead.request(now, item.queued_at, took),
            // Behind others it may be heard with them, and then says nothing about the round trip.
            Kind::Barrier { together, .. } if !waited => {
                self.round_trip = self.lead.barrier(took, together).or(self.round_trip);
                (took, None)
            }
            _ => (self.lead.other(took), None),
        };
        if let Kind::Barrier { process: Some(asked), .. } = &item.kind {
            self.far_end = asked.finish(self.key.as_ref());
            self.style.share(self.far_end);
        }
        match item.kind {
            Kind::Barrier { probe: true, .. } => {
                events.push_back(Event::Answered { role: self.role_at_ready })
            }
            Kind::Barrier { probe: false, .. } => {}
            Kind::Types(types) => {
                let TypesAnswer { outcome, realm } = types.finish();
                events.push_back(Event::Typed { outcome, realm });
            }
            Kind::Place { place } => {
                self.refuses_place = place.refused;
                events.push_back(Event::Placed { place, role: self.role });
            }
            Kind::Reset { step } => {
                if !self.end_reset(now, step, (sent, &mut *out))? {
                    return Ok(());
                }
                // A role that is not reported was last asked for while its user's settings held.
                let role = self.role.filter(|_| self.reports_role);
                events.push_back(Event::Answered { role });
            }
            Kind::Request { token, ref mut exchange } => {
                let id = exchange.statement;
                let script = exchange.is_script();
                if exchange.has_checked() {
                    self.style.pass();
                }
                let was_reset = exchange.has_reset();
                if was_reset {
                    self.was_reset();
                    if let Some(statement) = shared.statements.get(id) {
                        self.style.ask(statement.session_effects);
                        self.made_role |= statement.naming.makes_role;
                    }
                }
                if exchange.may_not_ask_types() {
                    self.refuse_types(shared);
                }
                // Behind AND CHAIN, or with further items in flight, the session does not come to
                // rest: other sessions are told here.
                let moved = shared.statements.get(id).is_some_and(|it| it.naming.moves_for_all());
                let is_over = exchange.committed || (moved && status == TransactionStatus::Idle);
                if is_over && self.names.have_moved_for_all() {
                    shared.statements.names_moved();
                }
                let ended = exchange.finish();
                let (name, parsing) = (exchange.name(), exchange.preparing().is_some());
                let answer = self.settle(id, name, parsing, script, ended, shared);
                self.check_settings(status, shared);
                if was_reset && self.startup.are_lost() && status == TransactionStatus::Idle {
                    self.mark_dirty();
                }
                let event = Event::Settled(Settled {
                    token,
                    answer,
                    role_before,
                    role_after: self.role,
                    took,
                    parted,
                    status_before: self.status_before,
                    status,
                    last: self.is_vacant(),
                    role_is_own: self.made_role,
                });
                events.push_back(event);
            }
        }
        self.recheck.must_run_dry &= !self.pipeline.is_empty();
        self.open_gate();
        self.begin_steps(sent, out)?;
        if self.pipeline.is_empty() && status == TransactionStatus::Idle {
            self.style.on_idle();
            self.refuses_types &= self.tidiness != Cleanliness::Clean;
            self.aborted = None;
            if self.names.on_idle() {
                shared.statements.names_moved();
            }
        }
        Ok(())
    }
}
