//! Switches that break the code on purpose, one at a time. The simulation must notice each of them
//! (`npm run simulate -- --mutations`). Without the feature `sim` they are constants, and the
//! compiler removes them.

/// A way in which the code can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A barrier's answer that shows a fence is ignored.
    ForgetFence,
    /// A standby is taken for a primary.
    ServeStandby,
    /// A primary that was replaced by a promoted host is served again when it comes back.
    ServeOldPrimary,
    /// A statement that may have run is sent again.
    RepeatUnknown,
    /// A statement is not sent again although its caller declared that it changes nothing.
    ForgetDeclaration,
    /// A call that is sent again waits for a connection as long as a new call.
    RestartDeadline,
    /// A declared read is sent again however many connections it has cost.
    RepeatForever,
    /// A lost COMMIT is reported as having had no effect, so that its caller repeats the
    /// transaction.
    DenyCommit,
    /// A transaction that moves to another connection does not begin anew there.
    ForgetBegin,
    /// The beginning of a transaction is sent behind the COMMIT of the one before, as if that were
    /// still open.
    BeginBehindEnd,
    /// What its caller asks of a transaction is sent behind the statement by which its caller ends
    /// it.
    GoOnBehindEnd,
    /// Statements after a COMMIT or ROLLBACK that was never sent continue the transaction that it
    /// should have ended.
    ForgetLostEnd,
    /// A connection that its caller gave back stays that caller's.
    LeakLease,
    /// What a session's last user left behind is not discarded.
    ForgetReset,
    /// A session gets other work before the signal of a CancelRequest to it is known to have
    /// arrived.
    HurryCancel,
    /// A COMMIT is cancelled like any other statement.
    CancelCommit,
    /// A request that was taken back leaves its connection with a wrong count of written bytes.
    ForgetWrite,
    /// Calls behind one that was taken back stay where they are.
    StrandCalls,
    /// No call fails when its time is over.
    ForgetDeadline,
    /// A call whose caller set a limit is not given up, and no timer is set for it.
    ForgetLimit,
    /// A pool that is ending waits for its last call without a limit.
    EndlessEnd,
    /// A pool whose end is overdue keeps serving its leases.
    ServePastEnd,
    /// `poolSize` is ignored.
    OverfillPool,
    /// All missing connections are opened at once.
    Stampede,
    /// A change of a host is announced only if the host's state changes.
    ForgetNews,
    /// A host that serves again is announced as the successor of another one.
    RepeatPrimary,
    /// A fence is announced more than once.
    RepeatFence,
    /// A fence is not announced.
    HideFence,
    /// An older answer of a host is believed although the host has reported since that it no longer
    /// fits.
    BelieveOldNews,
    /// A host that has no room for another session is suspected.
    SuspectFullHost,
    /// A host whose time limits end idle sessions is suspected.
    SuspectTidyHost,
    /// A host is suspected because a network device ends idle sessions in front of it.
    SuspectIdleCut,
    /// The error does not name the time limit by which a server has ended a transaction.
    HideLimit,
    /// The pool does not wait for a server that is starting.
    RefuseToWait,
    /// A transaction that began across a fence continues on its host.
    GoOnAcrossFence,
    /// The limit of a transaction gives up what its caller has asked in front of it, too.
    GiveUpBeside,
    /// A request is sent without a barrier in front of it.
    ForgetBarrier,
    /// An entry that was sent in an earlier turn is taken for a barrier, although its answer may be
    /// older than a fence.
    TakeOldBarrier,
    /// A server's report of its role is believed although an answer contradicts it.
    BelieveReports,
    /// A server is asked for its role inside a user's transaction.
    AskInTransaction,
    /// Statements that may wait for locks share connections.
    ShareWrites,
    /// Reads stay behind calls that get no answer.
    StandBehind,
    /// Hosts that stop answering are not probed.
    ForgetLivenessProbe,
    /// A silent server is taken to be alive because its name leads to another server that is.
    ProbeByName,
    /// A connection that is silent for long is given up, even if its host is alive.
    PunishSilence,
    /// The topology does not learn that the primary is silent.
    ForgetSilence,
    /// A call that its copy answers has no trace.
    LoseTrace,
    /// While no host serves, a host is asked only on its open session, even if its name leads
    /// elsewhere by now.
    KeepScouts,
    /// A host is asked for its role without a pause.
    AskWithoutPause,
    /// Connections that are no longer needed stay open.
    KeepIdle,
    /// Requests that a pooler says it has never passed on are treated as if they may have run.
    IgnoreDismissal,
    /// A cluster that has gone back to an older timeline is never served again.
    ForgetRewind,
    /// A cluster counts as gone back as soon as one host claims an older timeline.
    RewindBlindly,
    /// A statement that can't work for its caller, or would leave a transaction open, is sent
    /// anyway.
    SendUnfit,
    /// A transaction that an autocommit call has left open goes to the next caller.
    LeaveOpen,
    /// The server's reports of a session's settings are ignored when the session is given back.
    IgnoreReports,
    /// A statement that fails is taken to leave nothing behind in its session.
    TrustRefusals,
    /// The settings of the login that a reset has taken away are not set again.
    ForgetLoss,
    /// Calls are sent behind a reset that may take away the settings of the login.
    HurryBehindReset,
    /// A session whose key looks like a server's is taken for one.
    TrustKeys,
    /// Statements are prepared behind a pooler by the text that others prepare there too.
    ShareTexts,
    /// The pool does not wait for a server that has served before and refuses now.
    ForgetServer,
    /// A statement that answers with the tag of a read is taken to have changed nothing.
    TrustTags,
    /// The role of a server at one address of a name is believed of the sessions at another
    /// address.
    BelieveStrays,
    /// Only the first of the addresses to which a name leads is tried.
    TryOneAddress,
    /// A ROLLBACK is waited for until it is answered.
    AwaitRollback,
    /// The end of a transaction that no server has begun waits for a connection.
    QueueForEnd,
    /// A host that refuses for good ends the wait for hosts that have served.
    ForgetServed,
    /// An earlier refusal of a host ends the wait while the host is being asked again.
    BelieveOldRefusal,
    /// A read whose types change with each try is given up.
    HoldNothing,
    /// An answer goes out as it came although the types in it are not resolved.
    HandOutUnresolved,
    /// The counters of connections are not updated when a connection changes.
    Miscount,
}

impl Mutation {
    pub const ALL: [Self; 72] = [
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
    ];

    /// Whether this thread runs with the mutation.
    #[cfg(feature = "sim")]
    pub fn is_on(self) -> bool {
        ACTIVE.get() == Some(self)
    }

    #[cfg(not(feature = "sim"))]
    pub const fn is_on(self) -> bool {
        false
    }

    /// Sets the mutation with which this thread runs, or none.
    #[cfg(feature = "sim")]
    pub fn set(mutation: Option<Self>) {
        ACTIVE.set(mutation);
    }
}

#[cfg(feature = "sim")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}
