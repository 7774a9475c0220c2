//! Each user gets a session as it was at its login: what the last user left behind is discarded,
//! and settings that a DISCARD ALL takes away behind a pooler are set again.

use bytes::BytesMut;

use super::{Cleanliness, Session};
use crate::base::{Error, Instant, Mutation};
use crate::connection::Shared;
use crate::connection::introspection::role::{Parameters, check_encoding};
use crate::connection::request::pipeline::{Kind, ResetStep, is_vacant, push, requests};
use crate::connection::request::prelude::RESET;
use crate::protocol::backend::TransactionStatus;

impl Session {
    pub(in crate::connection) fn is_resetting(&self) -> bool {
        self.tidiness == Cleanliness::Resetting
    }

    pub(in crate::connection) fn is_clean(&self) -> bool {
        self.tidiness == Cleanliness::Clean
    }

    /// Marks the session as one in which a user may have left something behind that no answer
    /// showed.
    pub(in crate::connection) fn mark_dirty(&mut self) {
        self.tidiness = Cleanliness::Soiled;
    }

    /// Whether a request can be sent now, with nothing in front of it except questions of the
    /// pool's own. Behind a reset it has to wait if the reset may take away settings by which
    /// values are read.
    pub(in crate::connection) fn is_at_hand(&self) -> bool {
        let is_whole = !self.is_resetting()
            || self.startup.outlast_reset()
            || Mutation::HurryBehindReset.is_on();
        is_vacant(&self.pipeline) && is_whole
    }

    /// Discards what the session's user left behind. Until the server has confirmed that, each
    /// request brings a DISCARD ALL of its own, so that none runs if this one failed.
    pub(in crate::connection) fn reset(
        &mut self,
        now: Instant,
        sent: u64,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        self.prepared.clear();
        self.tidiness = Cleanliness::Resetting;
        self.send_reset(now, RESET, ResetStep::Due, (sent, out))
    }

    fn send_reset(
        &mut self,
        now: Instant,
        sql: &str,
        step: ResetStep,
        (sent, out): (u64, &mut BytesMut),
    ) -> Result<(), Error> {
        let start = sent + out.len() as u64;
        self.write_question(sql, out)?;
        let (kind, end) = (Kind::Reset { step }, sent + out.len() as u64);
        push(&mut self.pipeline, self.far_end.may_be_pooler(), kind, now, start..end);
        Ok(())
    }

    /// Ends a step of a reset. Returns whether it was the last step.
    pub(super) fn end_reset(
        &mut self,
        now: Instant,
        step: ResetStep,
        (sent, out): (u64, &mut BytesMut),
    ) -> Result<bool, Error> {
        match step {
            ResetStep::Done => self.startup.were_reset(),
            ResetStep::Restored if self.is_restoring() => return Ok(false),
            ResetStep::Restored => self.startup.were_restored()?,
            ResetStep::Due | ResetStep::Refused | ResetStep::Restoring => return Ok(true),
        }
        if !self.startup.are_lost() || Mutation::ForgetLoss.is_on() {
            self.was_reset();
            // A setting that differs now was changed by a reload of the server's configuration.
            self.reported_clean = self.reported;
            return Ok(true);
        }
        // Requests that were sent after the reset bring a DISCARD ALL of their own, and their
        // answers are checked then.
        if requests(&self.pipeline).next().is_some() {
            return self.startup.check_encoding().map(|()| true);
        }
        for sql in self.startup.restore() {
            self.send_reset(now, &sql, ResetStep::Restoring, (sent, &mut *out))?;
        }
        Ok(false)
    }

    fn is_restoring(&self) -> bool {
        let restores = |kind: &Kind| matches!(kind, Kind::Reset { step: ResetStep::Restoring });
        self.pipeline.iter().any(|item| restores(&item.kind))
    }

    pub(super) fn was_reset(&mut self) {
        self.tidiness = Cleanliness::Clean;
        self.made_role = false;
        self.refuses_types = false;
        // Requests that were sent after the reset may have changed the settings again.
        if self.pipeline.is_empty() {
            self.style.reset();
        }
    }

    /// Takes a setting that the server reports. A setting that changes while no request runs was
    /// changed by a reload, which reaches all sessions.
    pub(super) fn report(
        &mut self,
        (name, value): (&str, &str),
        parameters: &mut Parameters,
        shared: &Shared<'_>,
    ) -> Result<(), Error> {
        let front = self.pipeline.front().map(|item| &item.kind);
        let runs = matches!(front, Some(Kind::Request { .. }));
        // Behind a pooler the encoding may differ until the reset has set it again.
        if name == "client_encoding" && !matches!(front, Some(Kind::Reset { .. })) {
            check_encoding(value)?;
        }
        if name == "search_path" {
            self.names.search_path_reported();
        }
        let is_lost = self.startup.report(name, value);
        parameters.set(name, value);
        self.reported = parameters.fingerprint();
        if !runs && self.is_clean() {
            // When the pooler was asked for this setting, its server had the same value by itself.
            // The server behind the pooler now has another.
            if is_lost && shared.config.reset_on_release && !Mutation::ForgetLoss.is_on() {
                self.startup.vanished();
                self.mark_dirty();
            } else {
                self.reported_clean = self.reported;
            }
        }
        self.style.report(parameters);
        if self.reports_role {
            self.role = parameters.role();
        }
        Ok(())
    }

    /// Notices a setting that a statement has left changed: the server reports it, even if the
    /// statement's text does not show it.
    pub(super) fn check_settings(&mut self, status: TransactionStatus, shared: &Shared<'_>) {
        let has_changed = self.reported != self.reported_clean && !Mutation::IgnoreReports.is_on();
        if has_changed && status == TransactionStatus::Idle && shared.config.reset_on_release {
            self.mark_dirty();
        }
    }
}
