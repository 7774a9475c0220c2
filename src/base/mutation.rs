//! Switches that break the code on purpose, one at a time. The simulation must notice each of them
//! (`npm run simulate -- --mutations`). Without the feature `sim` they are constants, and the
//! compiler removes them.

/// One way in which the code can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The pool ignores an answer to a barrier that shows a fence.
    ForgetFence,
    /// The pool takes a standby for a primary.
    ServeStandby,
    /// The pool serves again a primary that a promoted host has replaced, when that primary
    /// returns.
    ServeOldPrimary,
    /// The pool sends a statement again although the statement may have run.
    RepeatUnknown,
    /// The pool does not send a statement again although its caller declared it to be read-only.
    ForgetDeclaration,
    /// A call that is sent again may wait for a connection as long as a new call.
    RestartDeadline,
    /// The pool sends a declared read again, however many connections the read has cost.
    RepeatForever,
    /// A lost COMMIT is reported as having had no effect, so that its caller repeats the
    /// transaction.
    DenyCommit,
    /// A transaction that moves to another connection does not begin anew there.
    ForgetBegin,
    /// The beginning of a transaction is sent after the COMMIT of the previous transaction, as if
    /// that transaction were still open.
    BeginBehindEnd,
    /// Further work of a transaction is sent after the statement with which the caller ends the
    /// transaction.
    GoOnBehindEnd,
    /// After a COMMIT or ROLLBACK that was never sent, further statements continue the transaction
    /// that it should have ended.
    ForgetLostEnd,
    /// A connection that its caller has released stays with that caller.
    LeakLease,
    /// The pool does not discard the state that a session's last user left behind.
    ForgetReset,
    /// A session gets other work although the signal of a CancelRequest to it may still arrive.
    HurryCancel,
    /// A COMMIT is cancelled like any other statement.
    CancelCommit,
    /// Taking back a request leaves its connection with a wrong count of written bytes.
    ForgetWrite,
    /// Calls that wait after a canceled call stay where they are.
    StrandCalls,
    /// No call fails when its time limit passes.
    ForgetDeadline,
    /// A call is not canceled at the limit that its caller has set, and no timer is set for it.
    ForgetLimit,
    /// A pool that is ending waits for its last call forever.
    EndlessEnd,
    /// A pool continues to serve its leases after the limit of `end` has passed.
    ServePastEnd,
    /// The pool ignores `poolSize`.
    OverfillPool,
    /// The pool opens all missing connections at once.
    Stampede,
    /// The pool announces a change of a host only if the host's state changes.
    ForgetNews,
    /// The pool announces a host that serves again as the successor of another host.
    RepeatPrimary,
    /// The pool announces a fence more than once.
    RepeatFence,
    /// The pool does not announce a fence.
    HideFence,
    /// The pool believes an older answer of a host although the host has since reported that it no
    /// longer has the required role.
    BelieveOldNews,
    /// The pool suspects a host that has no room for another session.
    SuspectFullHost,
    /// The pool suspects a host whose time limits end idle sessions.
    SuspectTidyHost,
    /// The pool suspects a host because a network device ends idle sessions.
    SuspectIdleCut,
    /// The error does not name the time limit by which a server has ended a transaction.
    HideLimit,
    /// The pool does not wait for a server that is starting.
    RefuseToWait,
    /// A transaction that began across a fence continues on its host.
    GoOnAcrossFence,
    /// When a transaction's limit passes, the pool also cancels the calls that its caller made
    /// before the transaction.
    GiveUpBeside,
    /// A request is sent without its barrier.
    ForgetBarrier,
    /// The pool takes an item that it sent in an earlier turn for a barrier, although the item's
    /// answer may be older than a fence.
    TakeOldBarrier,
    /// The pool believes a server's report of its role although an answer contradicts the report.
    BelieveReports,
    /// The pool asks a server for its role inside a user's transaction.
    AskInTransaction,
    /// Statements that may wait for locks share connections.
    ShareWrites,
    /// Reads stay queued on a connection after calls that get no answer.
    StandBehind,
    /// Hosts that stop answering are not probed.
    ForgetLivenessProbe,
    /// The pool takes a silent server to be alive because the server's name leads to another server
    /// that is alive.
    ProbeByName,
    /// The pool gives up a connection that is silent for long, even if its host is alive.
    PunishSilence,
    /// The topology does not learn that the primary is silent.
    ForgetSilence,
    /// A host that claims the seat of a silent primary gets it without a later timeline.
    MoveWithoutProof,
    /// A TCP handshake counts as a sign of a server's life.
    HandshakeIsLife,
    /// New calls are sent to a primary that does not answer.
    SendIntoHole,
    /// While the primary is silent, no other host is asked.
    ForgetScouts,
    /// A call that was answered by its twin has no trace.
    LoseTrace,
    /// While no host serves, the pool asks a host only on its open session, even if the host's name
    /// leads elsewhere by now.
    KeepScouts,
    /// The pool asks a host for its role without a pause.
    AskWithoutPause,
    /// Connections that are no longer needed stay open.
    KeepIdle,
    /// Requests that a pooler says it never passed on are treated as if they may have run.
    IgnoreDismissal,
    /// The pool never serves a cluster again that was restored to an older timeline.
    ForgetRewind,
    /// The pool takes a cluster to be restored as soon as one host claims an older timeline.
    RewindBlindly,
    /// The pool sends a statement that can't work for its caller, or that would leave a transaction
    /// open.
    SendUnfit,
    /// A transaction that an autocommit call left open passes to the next caller.
    LeaveOpen,
    /// When a session is released, the pool ignores the server's reports of the session's settings.
    IgnoreReports,
    /// The pool assumes that a failed statement leaves nothing behind in its session.
    TrustRefusals,
    /// The pool does not restore the login's settings after a reset has removed them.
    ForgetLoss,
    /// The pool sends calls after a reset that may remove the login's settings.
    HurryBehindReset,
    /// The pool takes a session for a server's because its key looks like a server's key.
    TrustKeys,
    /// The pool prepares statements behind a pooler with a text that other clients of the pooler
    /// share.
    ShareTexts,
    /// The pool does not wait for a server that has served before and now refuses.
    ForgetServer,
    /// The pool assumes that a statement with the command tag of a read has changed nothing.
    TrustTags,
    /// The pool believes the role of a server at one address of a name for the sessions at another
    /// address.
    BelieveStrays,
    /// The pool tries only the first address of a name.
    TryOneAddress,
    /// The pool waits for the answer to a ROLLBACK without a limit.
    AwaitRollback,
    /// The end of a transaction that no server has begun waits for a connection.
    QueueForEnd,
    /// A host that refuses for good ends the wait for hosts that have served before.
    ForgetServed,
    /// An earlier refusal of a host ends the wait while the pool is asking that host again.
    BelieveOldRefusal,
    /// The pool gives up a read whose types change with each try.
    HoldNothing,
    /// The pool delivers an answer as it came although the answer's types are not resolved.
    HandOutUnresolved,
    /// The counters of connections are not updated when a connection changes.
    Miscount,
    /// The end of a session is neither counted nor told.
    ForgetRemoval,
}

impl Mutation {
    pub const ALL: [Self; 77] = [
        Self::ForgetFence,
        Self::ServeStandby,
        Self::ServeOldPrimary,
        Self::RepeatUnknown,
        Self::ForgetDeclaration,
        Self::RestartDeadline,
        Self::RepeatForever,
        Self::DenyCommit,
        Self::ForgetBegin,
        Self::BeginBehindEnd,
        Self::GoOnBehindEnd,
        Self::ForgetLostEnd,
        Self::LeakLease,
        Self::ForgetReset,
        Self::HurryCancel,
        Self::CancelCommit,
        Self::ForgetWrite,
        Self::StrandCalls,
        Self::ForgetDeadline,
        Self::ForgetLimit,
        Self::EndlessEnd,
        Self::ServePastEnd,
        Self::OverfillPool,
        Self::Stampede,
        Self::ForgetNews,
        Self::RepeatPrimary,
        Self::RepeatFence,
        Self::HideFence,
        Self::BelieveOldNews,
        Self::SuspectFullHost,
        Self::SuspectTidyHost,
        Self::SuspectIdleCut,
        Self::HideLimit,
        Self::RefuseToWait,
        Self::GoOnAcrossFence,
        Self::GiveUpBeside,
        Self::ForgetBarrier,
        Self::TakeOldBarrier,
        Self::BelieveReports,
        Self::AskInTransaction,
        Self::ShareWrites,
        Self::StandBehind,
        Self::ForgetLivenessProbe,
        Self::ProbeByName,
        Self::PunishSilence,
        Self::ForgetSilence,
        Self::MoveWithoutProof,
        Self::HandshakeIsLife,
        Self::SendIntoHole,
        Self::ForgetScouts,
        Self::LoseTrace,
        Self::KeepScouts,
        Self::AskWithoutPause,
        Self::KeepIdle,
        Self::IgnoreDismissal,
        Self::ForgetRewind,
        Self::RewindBlindly,
        Self::SendUnfit,
        Self::LeaveOpen,
        Self::IgnoreReports,
        Self::TrustRefusals,
        Self::ForgetLoss,
        Self::HurryBehindReset,
        Self::TrustKeys,
        Self::ShareTexts,
        Self::ForgetServer,
        Self::TrustTags,
        Self::BelieveStrays,
        Self::TryOneAddress,
        Self::AwaitRollback,
        Self::QueueForEnd,
        Self::ForgetServed,
        Self::BelieveOldRefusal,
        Self::HoldNothing,
        Self::HandOutUnresolved,
        Self::Miscount,
        Self::ForgetRemoval,
    ];

    /// Whether this thread runs with the mutation turned on.
    #[cfg(feature = "sim")]
    pub fn is_on(self) -> bool {
        ACTIVE.get() == Some(self)
    }

    #[cfg(not(feature = "sim"))]
    pub const fn is_on(self) -> bool {
        false
    }

    /// Sets the one mutation of this thread, or none.
    #[cfg(feature = "sim")]
    pub fn set(mutation: Option<Self>) {
        ACTIVE.set(mutation);
    }
}

#[cfg(feature = "sim")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}
