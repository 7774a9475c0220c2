//! Questions of the pool's own: barriers, and those for the role, the place in the cluster, and
//! types.

use std::time::Duration;

use bytes::BytesMut;

use super::Session;
use crate::base::{Error, Instant, Mutation};
use crate::config::TargetSessionAttrs;
use crate::connection::far_end;
use crate::connection::far_end::{FarEnd, ProcessAsked};
use crate::connection::introspection::lineage;
use crate::connection::introspection::lineage::Place;
use crate::connection::introspection::role;
use crate::connection::introspection::user_types::{RefusedInTransaction, TypesAsked};
use crate::connection::request::pipeline::{self, Item, Kind, push};
use crate::connection::request::wire::ask;
use crate::protocol::backend::{BackendMessage, TransactionStatus};
use crate::protocol::frontend;

/// In which form a server that does not report its role is asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// In full. If the server refuses that, the plain question shows only whether new transactions
    /// may write, and can't distinguish a standby from a fenced primary.
    InFull {
        may_fall_back: bool,
    },
    Plainly {
        is_asked: bool,
    },
}

/// Whether a session asks for the role that its server reports, since a pooler in between may
/// repeat an old report.
#[derive(Debug, Default)]
pub(super) struct RoleRecheck {
    /// The next barrier of an idle session asks for the role.
    is_due: bool,
    /// When the server was last asked for its role.
    checked_at: Option<Instant>,
    /// Requests in flight were sent while the reports were believed, and may begin a transaction.
    /// No question is asked before all of them are answered.
    pub(super) must_run_dry: bool,
}

impl Asking {
    pub(super) fn new(mode: TargetSessionAttrs) -> Self {
        Self::InFull { may_fall_back: mode != TargetSessionAttrs::Primary }
    }

    fn question(self) -> &'static str {
        match self {
            Self::InFull { .. } => role::QUESTION,
            Self::Plainly { .. } => role::PLAIN_QUESTION,
        }
    }

    /// Whether the server has to be asked in the plain form, by its answer to the full one.
    pub(super) fn falls_back(&mut self, message: &BackendMessage<'_>) -> bool {
        let falls_back = match message {
            BackendMessage::ErrorResponse(fields) => {
                *self == Self::InFull { may_fall_back: true } && role::is_refusal(&fields.code)
            }
            _ => false,
        };
        if falls_back {
            *self = Self::Plainly { is_asked: false };
        }
        falls_back
    }
}

impl Session {
    /// Whether the server has to be asked for its role again, in the plain form. True only once.
    pub(in crate::connection) fn must_ask_again(&mut self) -> bool {
        let must = self.asking == Asking::Plainly { is_asked: false };
        if must {
            self.asking = Asking::Plainly { is_asked: true };
        }
        must
    }

    /// Whether the server has refused to report its place in the cluster, and would refuse again.
    pub(in crate::connection) fn refuses_place(&self) -> bool {
        self.refuses_place
    }

    /// Sends a bare Sync or the question for the role, so that the server reports what has changed.
    pub(in crate::connection) fn probe(
        &mut self,
        now: Instant,
        sent: u64,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        self.barrier(now, true, sent, out)
    }

    /// Whether the item that was sent last is a script that has statements left.
    pub(in crate::connection) fn is_stepping(&self) -> bool {
        match self.pipeline.back().map(|item| &item.kind) {
            Some(Kind::Request { exchange, .. }) => exchange.has_steps_left(),
            _ => false,
        }
    }

    /// Whether questions go by the extended protocol. A server that gives no key is another one
    /// than PostgreSQL, and no pooler is known to give none.
    fn asks_extended(&self) -> bool {
        self.is_pooled() && self.key.is_some()
    }

    /// Writes a question of the pool's own. A pooler may refuse the simple protocol
    /// (`disable_pqexec` of PgBouncer).
    pub(super) fn write_question(&self, sql: &str, out: &mut BytesMut) -> Result<(), Error> {
        if !self.asks_extended() {
            return frontend::query(out, sql);
        }
        ask(out, sql)?;
        frontend::sync(out)
    }

    /// Asks for the server's place in its cluster.
    pub(in crate::connection) fn ask_place(
        &mut self,
        now: Instant,
        sent: u64,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        if self.is_stepping() {
            self.place_is_due = true;
            return Ok(());
        }
        let start = sent + out.len() as u64;
        self.write_question(lineage::QUESTION, out)?;
        let kind = Kind::Place { place: Place::default() };
        let end = sent + out.len() as u64;
        push(&mut self.pipeline, self.far_end.may_be_pooler(), kind, now, start..end);
        Ok(())
    }

    /// Asks what the types with these oids are.
    pub(in crate::connection) fn ask_types(
        &mut self,
        now: Instant,
        oids: Vec<u32>,
        sent: u64,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        let in_transaction = self.status == TransactionStatus::InTransaction;
        self.send_types(now, TypesAsked::new(oids, in_transaction), sent, out)
    }

    /// Rolls a transaction back to the savepoint in front of a question that was refused.
    pub(in crate::connection) fn roll_back_types(
        &mut self,
        now: Instant,
        refused: Box<RefusedInTransaction>,
        sent: u64,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        self.send_types(now, TypesAsked::rolling_back(refused), sent, out)
    }

    fn send_types(
        &mut self,
        now: Instant,
        mut asked: TypesAsked,
        sent: u64,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        let start = sent + out.len() as u64;
        if self.asks_extended() {
            asked.statements(true).iter().try_for_each(|sql| ask(out, sql))?;
            frontend::sync(out)?;
        } else {
            frontend::query(out, &asked.statements(false).join("; "))?;
        }
        let (kind, end) = (Kind::Types(asked), sent + out.len() as u64);
        push(&mut self.pipeline, self.far_end.may_be_pooler(), kind, now, start..end);
        Ok(())
    }

    /// Asks which database the session is in.
    pub(in crate::connection) fn ask_realm(
        &mut self,
        now: Instant,
        sent: u64,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        self.send_types(now, TypesAsked::of_realm(), sent, out)
    }

    /// Whether the session is known to lead to a pooler.
    pub(in crate::connection) fn is_pooled(&self) -> bool {
        self.far_end == FarEnd::Pooler
    }

    /// Whether a request brings the question for the process that serves the session, in place of
    /// its barrier. It is not asked in a transaction, which a refusal would end.
    pub(super) fn may_ask_process(&self) -> bool {
        let is_first = || pipeline::requests(&self.pipeline).next().is_none();
        let rests = self.status == TransactionStatus::Idle && !self.recheck.is_due;
        self.far_end == FarEnd::Unknown && rests && is_first()
    }

    pub(super) fn ask_process(
        &mut self,
        now: Instant,
        sent: u64,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        let start = sent + out.len() as u64;
        ask(out, far_end::QUESTION)?;
        frontend::sync(out)?;
        let process = Some(ProcessAsked::default());
        let kind =
            Kind::Barrier { probe: false, asked: false, role: None, process, together: false };
        let end = sent + out.len() as u64;
        push(&mut self.pipeline, self.far_end.may_be_pooler(), kind, now, start..end);
        Ok(())
    }

    pub(in crate::connection) fn is_asking_types(&self) -> bool {
        let asks = |item: &Item| matches!(&item.kind, Kind::Types(it) if !it.is_of_realm());
        self.pipeline.iter().any(asks)
    }

    pub(in crate::connection) fn is_asking_realm(&self) -> bool {
        let asks = |item: &Item| matches!(&item.kind, Kind::Types(it) if it.is_of_realm());
        self.pipeline.iter().any(asks)
    }

    pub(in crate::connection) fn is_asking_place(&self) -> bool {
        let asks = |item: &Item| matches!(item.kind, Kind::Place { .. });
        self.place_is_due || self.pipeline.iter().any(asks)
    }

    /// Whether an item that is sent now stands behind one whose answer will show the role. An item
    /// that was sent earlier does not count: its answer may be on its way already, and older than a
    /// fence.
    pub(super) fn has_barrier(&self, now: Instant) -> bool {
        let is_new = |item: &Item| item.queued_at == now || Mutation::TakeOldBarrier.is_on();
        self.reports_role && self.pipeline.back().is_some_and(is_new)
    }

    /// Whether a barrier can show the role. A server that has to be asked is not asked inside a
    /// transaction: the transaction may be read-only by itself, may have failed, or may be one
    /// whose first statement is still to come.
    pub(super) fn may_ask_role(&self) -> bool {
        let is_idle = self.status == TransactionStatus::Idle && !self.recheck.must_run_dry;
        self.reports_role || is_idle || Mutation::AskInTransaction.is_on()
    }

    /// Takes the role from a barrier's answer, and returns whether it contradicts the role that the
    /// server reports. A question that was refused, or asked inside a transaction, says nothing.
    pub(super) fn take_role(&mut self, kind: &Kind) -> bool {
        let &Kind::Barrier { asked: true, role, .. } = kind else {
            self.role_at_ready = self.role;
            return false;
        };
        let is_idle = self.status == TransactionStatus::Idle;
        let role = role.filter(|_| is_idle || Mutation::AskInTransaction.is_on());
        // A role that was reported after the answer is newer than the answer.
        let is_contradicted = self.reports_role
            && self.role_at_ready == self.role
            && role.is_some()
            && role != self.role
            && !Mutation::BelieveReports.is_on();
        if is_contradicted {
            self.distrust_reports();
        }
        if self.reports_role {
            self.role_at_ready = self.role;
        } else {
            self.role = role.or(self.role);
            self.role_at_ready = role;
        }
        is_contradicted
    }

    /// Has the next barrier of an idle session ask for the role too, unless the server was asked
    /// less than `within` ago.
    pub(in crate::connection) fn recheck_role(&mut self, now: Instant, within: Duration) {
        self.recheck.is_due |= self.recheck.checked_at.is_none_or(|at| at + within <= now);
    }

    /// Stops believing reports of the role, and asks for it from now on.
    pub(in crate::connection) fn distrust_reports(&mut self) {
        self.recheck.must_run_dry |= self.reports_role && !self.pipeline.is_empty();
        self.reports_role = false;
    }

    /// Stops believing reports of the role in a new session, which then asks for the role before
    /// anything else.
    pub(in crate::connection) fn forget_reports(&mut self) {
        self.reports_role = false;
        self.role = None;
        self.role_at_ready = None;
    }

    pub(super) fn barrier(
        &mut self,
        now: Instant,
        probe: bool,
        sent: u64,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        let start = sent + out.len() as u64;
        let rests = self.pipeline.is_empty() && self.status == TransactionStatus::Idle;
        let asked = !self.reports_role || (self.recheck.is_due && rests);
        if asked {
            self.write_question(self.asking.question(), out)?;
            self.recheck.is_due = false;
            self.recheck.checked_at = Some(now);
        } else {
            frontend::sync(out)?;
        }
        let kind = Kind::Barrier { probe, asked, role: None, process: None, together: false };
        let end = sent + out.len() as u64;
        push(&mut self.pipeline, self.far_end.may_be_pooler(), kind, now, start..end);
        Ok(())
    }
}
