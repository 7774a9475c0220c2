//! Switches that break the code on purpose, one at a time: the simulation must notice each of them
//! (`npm run simulate -- --mutations`). Without the feature `sim` they are constants that the
//! compiler removes.

/// A way in which the code can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// What a barrier says of a fence is not looked at.
    ForgetFence,
    /// A standby is taken for a primary.
    ServeStandby,
    /// A primary in whose place another one was promoted is served when it comes back.
    ServeOldPrimary,
    /// What may have run is sent again.
    RepeatUnknown,
    /// What its caller has declared to change nothing is not sent again.
    ForgetDeclaration,
    /// What is sent again waits for a connection as long as if it were new.
    RestartDeadline,
    /// A declared read is sent again however many connections it has cost.
    RepeatForever,
    /// A lost COMMIT is said to have had no effect, so that its caller repeats the transaction.
    DenyCommit,
    /// A transaction that moves to another connection does not begin anew there.
    ForgetBegin,
    /// What begins a transaction is sent behind the COMMIT of the one before, as if that were open
    /// still.
    BeginBehindEnd,
    /// What comes behind a COMMIT or ROLLBACK that was never sent goes on in the transaction which
    /// that was to end.
    ForgetLostEnd,
    /// The connection that somebody gave back stays his.
    LeakLease,
    /// What a session's last user left is not discarded.
    ForgetReset,
    /// A session that was asked to cancel gets other work before the signal is known to have come.
    HurryCancel,
    /// A COMMIT is cancelled like any query.
    CancelCommit,
    /// A request that was taken back leaves its connection believing that it is written already.
    ForgetWrite,
    /// Calls behind one that was taken back are left where they are.
    StrandCalls,
    /// Nobody is told that its time is over.
    ForgetDeadline,
    /// What a caller bounded is not given up, and no timer is set for it.
    ForgetLimit,
    /// A pool that is ended waits for its last call, however long that takes.
    EndlessEnd,
    /// A pool whose end is overdue goes on with what its leases ask.
    ServePastEnd,
    /// `poolSize` is not looked at.
    OverfillPool,
    /// All connections that are missing are opened at once.
    Stampede,
    /// What changes of a host is told only where its state does.
    ForgetNews,
    /// Whoever serves again is told to have taken somebody's place.
    RepeatPrimary,
    /// A fence is told, and told again.
    RepeatFence,
    /// A fence is not told.
    HideFence,
    /// What a host said before it denied that it fits is taken for what it says now.
    BelieveOldNews,
    /// A host that has no room for one more session is suspected.
    SuspectFullHost,
    /// So is one whose time limits end idle sessions.
    SuspectTidyHost,
    /// So is one in front of which something ends idle sessions.
    SuspectIdleCut,
    /// The time limit by which a server has ended a transaction is not named.
    HideLimit,
    /// Nobody waits for a server that is starting.
    RefuseToWait,
    /// A transaction that began across a fence goes on where it is.
    GoOnAcrossFence,
    /// A request is sent without a barrier in front of it.
    ForgetBarrier,
    /// What was written in an earlier turn is taken for a barrier, although its answer may be older
    /// than a fence.
    TakeOldBarrier,
    /// What a server reports of its role is believed, whatever contradicts it.
    BelieveReports,
    /// Asks a server for its role in its user's transaction.
    AskInTransaction,
    /// Statements share connections that may wait for locks.
    ShareWrites,
    /// Reads are left behind calls that don't answer.
    StandBehind,
    /// Hosts that stop answering are not asked.
    ForgetWitness,
    /// A server is taken to live because its name leads to one that does.
    WitnessByName,
    /// What is silent for long is given up, whether its host lives or not.
    PunishSilence,
    /// While none serves, a host is asked on the session that it has, wherever its name leads by
    /// now.
    KeepScouts,
    /// A host is asked for its role without a pause.
    AskWithoutPause,
    /// Connections that are not needed stay open.
    KeepIdle,
    /// What a pooler says it has never handed on to a server may have run.
    DoubtDismissal,
    /// A cluster that has gone back to an older timeline is never served again.
    ForgetRewind,
    /// It is taken to have gone back as soon as one host claims an older timeline.
    RewindBlindly,
    /// What can't be of use to its caller, or would leave a transaction open, is sent all the same.
    SendUnfit,
    /// A transaction that an autocommit call has left open goes to the next caller.
    LeaveOpen,
    /// What the server reports of a session's settings says nothing of what its user left.
    IgnoreReports,
    /// The settings of the login that a reset has taken away are not set again.
    ForgetLoss,
    /// Calls are sent behind a reset that may take the settings of the login away.
    HurryBehindReset,
    /// Nobody waits for a server that has served before and refuses now.
    ForgetServer,
    /// Whatever answers with the tag of a read has changed nothing.
    TrustTags,
    /// What a server says at one address of a name counts for the sessions at another one.
    BelieveStrays,
    /// Of the addresses that a name leads to the first one alone is tried.
    TryOneAddress,
    /// A ROLLBACK is waited for until it is answered.
    AwaitRollback,
    /// The end of a transaction that no server has begun waits for a connection.
    QueueForEnd,
    /// A host that refuses for good ends the wait for those that have served.
    ForgetServed,
    /// What a host that refuses for good said before ends the wait while it is asked anew.
    BelieveOldRefusal,
    /// The counters of connections are not kept when one of these changes.
    Miscount,
}

impl Mutation {
    pub const ALL: [Self; 63] = [
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
        Self::ForgetBarrier,
        Self::TakeOldBarrier,
        Self::BelieveReports,
        Self::AskInTransaction,
        Self::ShareWrites,
        Self::StandBehind,
        Self::ForgetWitness,
        Self::WitnessByName,
        Self::PunishSilence,
        Self::KeepScouts,
        Self::AskWithoutPause,
        Self::KeepIdle,
        Self::DoubtDismissal,
        Self::ForgetRewind,
        Self::RewindBlindly,
        Self::SendUnfit,
        Self::LeaveOpen,
        Self::IgnoreReports,
        Self::ForgetLoss,
        Self::HurryBehindReset,
        Self::ForgetServer,
        Self::TrustTags,
        Self::BelieveStrays,
        Self::TryOneAddress,
        Self::AwaitRollback,
        Self::QueueForEnd,
        Self::ForgetServed,
        Self::BelieveOldRefusal,
        Self::Miscount,
    ];

    /// Whether this thread runs with it.
    #[cfg(feature = "sim")]
    pub fn is_on(self) -> bool {
        ACTIVE.get() == Some(self)
    }

    #[cfg(not(feature = "sim"))]
    pub const fn is_on(self) -> bool {
        false
    }

    /// Breaks the code that this thread runs, or mends it.
    #[cfg(feature = "sim")]
    pub fn set(mutation: Option<Self>) {
        ACTIVE.set(mutation);
    }
}

#[cfg(feature = "sim")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}
