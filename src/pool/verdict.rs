//! Decides about a call that a server has answered, from facts alone, and changes nothing.
//!
//! A call is sent again only if it certainly had no effect. Either it ran after a barrier that
//! showed the fence (then the server refused a write, and the answer of a read is discarded), or
//! the server refused it because of its role. Once a caller has seen an answer on a connection of
//! its own, the caller's code must decide what to run again.
//! must decide what to run again.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::Response;
use super::stale::explain_staleness;
use super::worth::{Answered, Worth, unfit_host, worth};
use crate::base::{Error, ErrorClass, ErrorKind, Mutation, Outcome};
use crate::cluster::fits;
use crate::config::TargetSessionAttrs;
use crate::connection::{Answer, Begin, Description, DescriptionState, Effect, Remedy, Role};
use crate::protocol::backend::TransactionStatus;

/// What to do with a settled call.
#[derive(Debug)]
pub(super) enum Verdict {
    Deliver(Result<Response, Error>),
    SendAgain,
    /// Send the call again on the same connection, which belongs to the caller.
    Resume(NonZeroU32),
    /// The statement was described, or its check has passed. Nothing has run.
    Described(Option<Arc<Description>>),
}

/// The kind of connection that a call was sent on.
#[derive(Clone, Copy, Debug)]
pub(super) enum On {
    Pooled,
    /// `seen`: the caller has seen an answer on it. `between`: the pool has no open transaction on
    /// it.
    Leased {
        lease: NonZeroU32,
        seen: bool,
        between: bool,
    },
}

/// The facts of an answered call, in addition to the answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) mode: TargetSessionAttrs,
    pub(super) on: On,
    /// The transaction that the pool begins and to which the call belongs.
    pub(super) begin: Option<Begin>,
    /// The caller has declared the call to be read-only.
    pub(super) declared: bool,
    /// By its text: its possible effect, whether it is known to only read, and whether it may have
    /// an effect although its transaction has none.
    pub(super) effect: Effect,
    pub(super) is_plain_read: bool,
    pub(super) may_leave_transaction: bool,
    /// The role that the server reported before the call, and after it.
    pub(super) role_before: Option<Role>,
    pub(super) role_after: Option<Role>,
    /// The session's caller may have changed that role.
    pub(super) role_is_own: bool,
    pub(super) status_before: TransactionStatus,
    pub(super) status: TransactionStatus,
    /// The host is in the list, and another host serves.
    pub(super) is_replaced: bool,
    /// The call may be sent again because of something that was not known when it was sent.
    pub(super) has_tries: bool,
    /// It may be sent once more because of a conflict with a standby's replay.
    pub(super) may_conflict: bool,
    /// The call may be sent again for longer, if it runs in the transaction that describes it.
    pub(super) can_be_held: bool,
    /// No other request was sent after it on its connection.
    pub(super) is_last: bool,
}

/// A verdict, and the changes that follow from it.
#[derive(Debug)]
pub(super) struct Ruling {
    pub(super) verdict: Verdict,
    /// Counts as one of the times that the call may be sent again.
    pub(super) counts: bool,
    /// The replay of its standby was in conflict with it, which is counted apart: many conflicts
    /// leave it its tries for types that change.
    pub(super) conflicts: bool,
    /// Whether the statement is described first from now on.
    pub(super) description: Option<DescriptionState>,
    /// Only the end of the transaction that has begun may be sent.
    pub(super) leaves_unended: bool,
    /// The statement's descriptions may be outdated.
    pub(super) invalidates: bool,
}

impl From<Verdict> for Ruling {
    fn from(verdict: Verdict) -> Self {
        Self {
            verdict,
            counts: false,
            conflicts: false,
            description: None,
            leaves_unended: false,
            invalidates: false,
        }
    }
}

impl From<Error> for Ruling {
    fn from(error: Error) -> Self {
        Verdict::Deliver(Err(error)).into()
    }
}

impl Ruling {
    fn send_once_more() -> Self {
        Self { counts: true, ..Verdict::SendAgain.into() }
    }
}

impl Facts {
    fn is_unfit(&self, role: Option<Role>) -> bool {
        role.is_some_and(|role| !fits(self.mode, role))
    }

    fn is_leased(&self) -> bool {
        matches!(self.on, On::Leased { .. })
    }

    /// Whether the caller has seen no earlier answer on its connection.
    fn is_free(&self) -> bool {
        matches!(self.on, On::Pooled | On::Leased { seen: false, .. })
    }

    /// Whether the transaction is open, so that nothing it has done is committed.
    fn is_open(&self) -> bool {
        self.status != TransactionStatus::Idle && !self.may_leave_transaction
    }

    /// Whether the call itself has begun that transaction. An autocommit call that does so is
    /// refused, on every host.
    fn opens(&self) -> bool {
        let began = self.is_open() && self.status_before == TransactionStatus::Idle;
        let is_own = self.is_leased() && self.begin.is_none();
        began && is_own && !Mutation::GoOnAcrossFence.is_on()
    }

    /// Whether the call's transaction began after the fence. Nothing of the transaction is
    /// committed yet, unless its first text commits and begins another one, and the caller has seen
    /// no answer of it. Its later reads would be stale, and it stays read-only when the fence is
    /// lifted. But the transaction may have made the session read-only itself.
    fn begins_across_fence(&self) -> bool {
        let is_unfit = self.is_unfit(self.role_before) || self.is_unfit(self.role_after);
        self.begin.is_some()
            && self.status == TransactionStatus::InTransaction
            && is_unfit
            && !self.may_leave_transaction
            && !self.role_is_own
            && !Mutation::GoOnAcrossFence.is_on()
    }

    /// Whether the call is between the transactions of a caller's session, or begins one.
    fn is_first(&self) -> bool {
        match (self.begin, self.on) {
            (None, _) => self.status == TransactionStatus::Idle || self.opens(),
            (Some(_), On::Leased { seen: true, between: true, .. }) => {
                self.status == TransactionStatus::InTransaction
                    && !Mutation::GoOnAcrossFence.is_on()
            }
            (Some(_), _) => false,
        }
    }

    /// The worth of the answer from a host that takes no writes any more. For a caller with a
    /// connection of its own, also the worth of the answer from a host that another host has
    /// replaced. A caller that changed the role of its session may have made it read-only itself.
    fn worth(&self, answer: &Answer) -> (Worth, Worth) {
        let answered = Answered {
            answer,
            effect: self.effect,
            declared: self.declared,
            is_open: self.is_open(),
            opens: self.opens(),
        };
        let fits_again = self.role_after.is_some_and(|role| fits(self.mode, role));
        let is_fenced = self.is_unfit(self.role_before) && !Mutation::ForgetFence.is_on();
        let of_fenced = if is_fenced { worth(answered, fits_again) } else { Worth::Stands };
        if !self.is_leased() {
            return (of_fenced, of_fenced);
        }
        if !self.is_first() {
            return (of_fenced, Worth::Stands);
        }
        let of_own = if self.role_is_own { Worth::Stands } else { of_fenced };
        let of_replaced = if self.is_replaced { worth(answered, false) } else { Worth::Stands };
        let either = |it: Worth| of_own == it || of_replaced == it;
        let of_lease = match () {
            () if either(Worth::Nothing) => Worth::Nothing,
            () if either(Worth::Uncertain) => Worth::Uncertain,
            () => Worth::Stands,
        };
        (of_fenced, of_lease)
    }
}

pub(super) fn rule(facts: &Facts, answer: Answer) -> Ruling {
    let (of_fenced, worth) = facts.worth(&answer);
    let is_free = facts.is_free();
    if is_free && of_fenced == Worth::Nothing {
        return Verdict::SendAgain.into();
    }
    if is_free && facts.has_tries {
        // The server has refused to report its role, for whatever reason. A read can be sent again.
        let is_role_unknown = facts.role_before.is_none() && facts.begin.is_none();
        if (is_role_unknown && facts.is_plain_read) || facts.begins_across_fence() {
            return Ruling::send_once_more();
        }
    }
    let is_stale = facts.is_leased() && worth == Worth::Nothing;
    let unfit = |outcome| Ruling::from(unfit_host(facts.mode, outcome));
    let begins = facts.begin.is_some();
    match answer {
        // Only BEGIN has run so far.
        Answer::Described { .. } if is_stale && begins => {
            Ruling { leaves_unended: true, ..unfit(Outcome::NotCommitted) }
        }
        Answer::Described { description } => Verdict::Described(description).into(),
        Answer::Completed { unreplicated: true, .. } => {
            let message = "committed on the primary alone: the wait for its synchronous standbys was \
                           cancelled, so that a failover may lose it";
            let error = Error::new(ErrorClass::Transaction, "HYPERION_NOT_REPLICATED", message);
            let leaves_unended = is_stale && begins;
            Ruling { leaves_unended, ..error.with_outcome(Outcome::Unknown).into() }
        }
        Answer::Completed { .. } if is_stale => {
            Ruling { leaves_unended: begins, ..unfit(Outcome::NotCommitted) }
        }
        Answer::Completed { .. } if worth == Worth::Uncertain => unfit(Outcome::Unknown),
        Answer::Completed { results, unreplicated: false } => {
            Verdict::Deliver(Ok(Response { results, lease: None })).into()
        }
        Answer::Refused { error, remedy } => refused(facts, error, remedy),
    }
}

fn refused(facts: &Facts, error: Error, remedy: Remedy) -> Ruling {
    let had_no_effect = error.outcome() == Some(Outcome::NotCommitted);
    if facts.is_free() && had_no_effect {
        // A query that conflicts with a standby's replay (PostgreSQL manual, 27.4.2) may succeed
        // there later, or on another host.
        let is_conflict = error.kind() == ErrorKind::SerializationFailure
            && facts.role_after == Some(Role::Standby)
            && !facts.is_leased();
        if is_conflict && facts.may_conflict {
            return Ruling { conflicts: true, ..Verdict::SendAgain.into() };
        }
        let is_declared = facts.begin.is_some_and(|begin| begin.read_only);
        if error.kind() == ErrorKind::ReadOnlyTransaction && !is_declared {
            if facts.is_unfit(facts.role_after) {
                return Verdict::SendAgain.into();
            }
            // A fence that was lifted at once, or one that the server does not report. The next
            // barrier shows which.
            if facts.mode == TargetSessionAttrs::ReadWrite && facts.has_tries {
                return Ruling::send_once_more();
            }
        }
    }
    if remedy == Remedy::Nothing {
        return error.into();
    }
    let is_idle = facts.status == TransactionStatus::Idle;
    let mut is_outrun = false;
    let (mut counts, mut description) = (false, None);
    if had_no_effect && (facts.has_tries || facts.can_be_held) {
        counts = true;
        description = Some(if remedy == Remedy::DescribeFirst {
            DescriptionState::Due
        } else {
            DescriptionState::Shared
        });
        let ruling = |verdict: Verdict| Ruling {
            counts,
            description: description.clone(),
            ..verdict.into()
        };
        match facts.on {
            // Outside a transaction, and no later request was sent that would now run before it.
            On::Leased { seen: true, lease, .. } if is_idle && facts.is_last => {
                return ruling(Verdict::Resume(lease));
            }
            On::Leased { seen: true, .. } => is_outrun = is_idle,
            On::Leased { seen: false, .. } | On::Pooled => return ruling(Verdict::SendAgain),
        }
    }
    let error = explain_staleness(error, remedy, is_outrun);
    Ruling { counts, description, invalidates: remedy == Remedy::DescribeFirst, ..error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{CommandTag, Rows, StatementResult};
    use crate::types::{Shape, Verbatim};
    use std::sync::Arc;

    const PRIMARY: Option<Role> = Some(Role::ReadWrite);
    const FENCED: Option<Role> = Some(Role::ReadOnly);
    const BEGIN: Option<Begin> =
        Some(Begin { isolation: None, read_only: false, deferrable: false });

    /// A SELECT of tables by the pool, on a host that serves.
    const READ: Facts = Facts {
        mode: TargetSessionAttrs::ReadWrite,
        on: On::Pooled,
        begin: None,
        declared: false,
        effect: Effect::None,
        is_plain_read: true,
        may_leave_transaction: false,
        role_before: PRIMARY,
        role_after: PRIMARY,
        role_is_own: false,
        status_before: TransactionStatus::Idle,
        status: TransactionStatus::Idle,
        is_replaced: false,
        has_tries: true,
        may_conflict: true,
        can_be_held: false,
        is_last: true,
    };
    /// A call of an unknown function.
    const CALL: Facts = Facts { effect: Effect::Possible, is_plain_read: false, ..READ };

    fn leased(seen: bool, facts: Facts) -> Facts {
        let lease = NonZeroU32::MIN;
        Facts { on: On::Leased { lease, seen, between: true }, ..facts }
    }

    const fn fenced(facts: Facts) -> Facts {
        Facts { role_before: FENCED, role_after: FENCED, ..facts }
    }

    const fn in_transaction(facts: Facts) -> Facts {
        Facts { status: TransactionStatus::InTransaction, ..facts }
    }

    fn rows() -> Answer {
        let shape = Some(Arc::new(Shape::with_verbatim(Vec::new(), &Verbatim::default())));
        let command = CommandTag::parse("SELECT 1");
        let results = vec![StatementResult { shape, rows: Rows::default(), command }];
        Answer::Completed { results, unreplicated: false }
    }

    fn done(tag: &str) -> Answer {
        let command = CommandTag::parse(tag);
        let results = vec![StatementResult { shape: None, rows: Rows::default(), command }];
        Answer::Completed { results, unreplicated: false }
    }

    fn error(code: &'static str, remedy: Remedy) -> Answer {
        let error = Error::new(ErrorClass::Database, code, "no");
        Answer::Refused { error: error.with_outcome(Outcome::NotCommitted), remedy }
    }

    /// The action in one word, or the delivered answer.
    fn of(facts: Facts, answer: Answer) -> String {
        let Ruling { verdict, counts, conflicts, description, leaves_unended, invalidates } =
            rule(&facts, answer);
        let what = match verdict {
            Verdict::Deliver(Ok(_)) => "result".to_owned(),
            Verdict::Deliver(Err(error)) => {
                let outcome = error.outcome().map_or("", Outcome::as_str);
                format!("{} {outcome}", error.code())
            }
            Verdict::SendAgain => "again".to_owned(),
            Verdict::Resume(_) => "resume".to_owned(),
            Verdict::Described(_) => "described".to_owned(),
        };
        let marks = [
            (counts, "counts"),
            (conflicts, "conflicts"),
            (matches!(description, Some(DescriptionState::Due)), "describes"),
            (leaves_unended, "unended"),
            (invalidates, "invalidates"),
        ];
        let marks = marks.iter().filter(|(is, _)| *is).map(|(_, mark)| *mark);
        [what.as_str()].into_iter().chain(marks).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_an_answer_leads_to_is_a_matter_of_facts() {
        const UNFIT: &str = "HYPERION_UNFIT_HOST";
        let stale = format!("{UNFIT} not-committed");
        let uncertain = format!("{UNFIT} unknown");
        let again_once = "again counts";
        let role_unknown = Facts { role_before: None, ..READ };
        let begun = in_transaction(Facts { begin: BEGIN, ..CALL });
        let raw_begin = in_transaction(leased(true, Facts { is_plain_read: false, ..READ }));
        let replaced = Facts { is_replaced: true, ..leased(true, READ) };
        let spent = |facts: Facts| Facts { has_tries: false, ..facts };
        let any = |facts: Facts| Facts { mode: TargetSessionAttrs::Any, ..facts };
        let on_standby = Facts { role_after: Some(Role::Standby), ..any(READ) };
        let (describe, anew) = (Remedy::DescribeFirst, Remedy::Anew);
        for (facts, answer, expected) in [
            // A host that serves.
            (READ, rows(), "result"),
            (READ, Answer::Described { description: None }, "described"),
            (CALL, error("23505", Remedy::Nothing), "23505 not-committed"),
            (
                READ,
                Answer::Completed { results: vec![], unreplicated: true },
                "HYPERION_NOT_REPLICATED unknown",
            ),
            // After a fence: reads are sent again, but calls that may have had an effect are not.
            (fenced(READ), rows(), "again"),
            (fenced(CALL), rows(), &uncertain),
            (fenced(Facts { declared: true, ..CALL }), rows(), "again"),
            (fenced(CALL), done("INSERT 0 1"), "result"),
            (fenced(CALL), error("25006", Remedy::Nothing), "again"),
            (any(fenced(READ)), rows(), "result"),
            // The fence was lifted in between.
            (Facts { role_before: FENCED, ..CALL }, rows(), "result"),
            (CALL, error("25006", Remedy::Nothing), again_once),
            (spent(CALL), error("25006", Remedy::Nothing), "25006 not-committed"),
            // A server that did not report its role.
            (role_unknown, rows(), again_once),
            (spent(role_unknown), rows(), "result"),
            // On a connection of the caller's own.
            (fenced(leased(false, READ)), rows(), "again"),
            (fenced(leased(true, READ)), rows(), &stale),
            (fenced(leased(true, CALL)), rows(), &uncertain),
            (fenced(leased(true, Facts { role_is_own: true, ..READ })), rows(), "result"),
            (replaced, rows(), &stale),
            (Facts { role_is_own: true, ..replaced }, rows(), &stale),
            // A transaction that the caller's own statement begins there, or that is open.
            (fenced(raw_begin), done("BEGIN"), &stale),
            (raw_begin, done("BEGIN"), "result"),
            (
                fenced(Facts { status_before: TransactionStatus::InTransaction, ..raw_begin }),
                rows(),
                "result",
            ),
            // A transaction that the pool begins.
            (fenced(leased(false, begun)), done("INSERT 0 1"), again_once),
            (fenced(leased(true, begun)), rows(), &format!("{stale} unended")),
            (
                fenced(leased(true, begun)),
                Answer::Described { description: None },
                &format!("{stale} unended"),
            ),
            (leased(true, begun), rows(), "result"),
            // Its first text commits, and begins another transaction.
            (
                fenced(leased(false, Facts { may_leave_transaction: true, ..begun })),
                done("INSERT 0 1"),
                "result",
            ),
            // A conflict with replay on a standby.
            (on_standby, error("40001", Remedy::Nothing), "again conflicts"),
            (spent(on_standby), error("40001", Remedy::Nothing), "again conflicts"),
            (
                Facts { may_conflict: false, ..on_standby },
                error("40001", Remedy::Nothing),
                "40001 not-committed",
            ),
            (Facts { may_conflict: false, ..on_standby }, error("0A000", anew), again_once),
            // The statement's description is no longer valid.
            (READ, error("42P18", describe), "again counts describes"),
            (READ, error("0A000", anew), again_once),
            (spent(READ), error("0A000", anew), "0A000 not-committed"),
            (Facts { can_be_held: true, ..spent(READ) }, error("0A000", anew), again_once),
            (spent(READ), error("42P18", describe), "42P18 not-committed invalidates"),
            (leased(true, READ), error("0A000", anew), "resume counts"),
            (
                Facts { is_last: false, ..leased(true, READ) },
                error("0A000", anew),
                "0A000 not-committed counts",
            ),
        ] {
            assert_eq!(of(facts, answer), expected, "{facts:?}");
        }
    }
}
