//! What happens to the cluster, in plays of a few deeds each.

use std::collections::VecDeque;

use super::Storm;
use super::controller::Deed;

impl Storm {
    pub(super) fn next_play(&mut self) -> VecDeque<Deed> {
        use Deed::*;
        let leader = self.nodes.leader;
        let standbys: Vec<_> = self.nodes.standbys().collect();
        let standby = self.dice.pick(&standbys).unwrap_or(leader);
        let any = self.dice.below(self.nodes.all.len());
        if self.has_silences && self.dice.percent(50) {
            return self.silent_play(leader, standby);
        }
        let play: &[Deed] = match self.dice.below(47) {
            0..2 => &[Crash(leader), Promote, Start(leader)],
            2 => &[PowerOff(leader), Promote, Start(leader)],
            3 => &[ShutDown(leader), Promote, Start(leader)],
            4 => &[Crash(leader), Start(leader)],
            5 => &[CrashOfABackend(leader), Start(leader)],
            6 => &[Freeze(leader), Thaw(leader)],
            7 => &[Freeze(leader), Crash(leader), Promote, Start(leader)],
            8 => &[Freeze(leader), PowerOff(leader), Promote, Start(leader)],
            9 => &[Cut(leader), Mend(leader)],
            10 => &[Cut(leader), PowerOff(leader), Promote, Mend(leader), Start(leader)],
            11 => &[Fence(leader), Unfence(leader)],
            12..14 => &[Fence(leader), Seal(leader), Promote, ShutDown(leader), Start(leader)],
            14 => &[Crash(standby), Start(standby)],
            15 => &[Freeze(standby), Thaw(standby)],
            16 => &[Cut(standby), Mend(standby)],
            17 => &[Starting(any)],
            18 => &[Burst(any), Reset(any), Uncrowd(any)],
            19 => &[SlowLogins(any), Reset(any)],
            20 => &[Reset(any), Reset(leader)],
            21 => &[Crash(leader), Promote, Revive(leader), ResetLeader, Depose],
            22 => &[Crash(leader), Promote, Revive(leader), Depose],
            23 => &[Crash(leader), Promote, PromoteBeside, Depose, Start(leader)],
            24 => &[Crash(leader), Promote, PromoteBeside, ResetLeader, Depose, Start(leader)],
            25 => &[Unlist(standby), Relist(standby)],
            26 => &[Unlist(leader), Relist(leader)],
            27 => &[Freeze(leader), Unlist(leader), Thaw(leader), Relist(leader)],
            28 => &[
                Freeze(leader),
                Unlist(leader),
                Crash(leader),
                Promote,
                Relist(leader),
                Start(leader),
            ],
            29 => &[Fence(leader), Unlist(leader), Unfence(leader), Relist(leader)],
            30 => &[
                Fence(leader),
                Seal(leader),
                Promote,
                Unlist(leader),
                Crash(leader),
                Start(leader),
                Relist(leader),
            ],
            31 => &[
                Unlist(standby),
                Fence(leader),
                Seal(leader),
                Promote,
                Crash(leader),
                Relist(standby),
                Start(leader),
            ],
            32 => &[EndIdle(leader)],
            33 => &[EndIdle(any), Burst(any), EndIdle(any), Uncrowd(any)],
            34 => &[CrashAll, StartAll],
            35..37 => &[SwitchUnseen(leader), ShutDown(leader), Start(leader)],
            37 => &[Dismiss(leader), Dismiss(any), CutIdle(leader), CutIdle(any)],
            38 => &[Crash(leader), Promote, Start(leader), ResetLeader, Rewind],
            39..41 => &[
                Fence(leader),
                Seal(leader),
                Promote,
                Readdress(leader),
                ShutDown(leader),
                Start(leader),
                RestoreNames,
            ],
            41..43 => &[
                Spread(any),
                Fence(leader),
                Seal(leader),
                Promote,
                ShutDown(leader),
                Start(leader),
                RestoreNames,
            ],
            43 => &[
                Spread(standby),
                Spread(leader),
                Reset(leader),
                Crash(leader),
                Promote,
                Start(leader),
                Burst(any),
                Uncrowd(any),
                RestoreNames,
            ],
            44 => {
                &[Bar(standby, true), Reset(any), Crash(leader), Start(leader), Bar(standby, false)]
            }
            45 => &[BarAll(true), Reset(any), CrashAll, StartAll, Reset(any), BarAll(false)],
            _ => &[Crash(leader), Promote, SlowLogins(standby), Start(leader)],
        };
        play.iter().copied().collect()
    }

    /// A host does not answer, for a while or for good.
    fn silent_play(&mut self, leader: usize, standby: usize) -> VecDeque<Deed> {
        use Deed::*;
        let play: &[Deed] = match self.dice.below(8) {
            0 => &[Freeze(leader), Promote, Crash(leader), Start(leader)],
            1 => &[Cut(leader), Promote, Crash(leader), Mend(leader), Start(leader)],
            2 => &[Freeze(leader), Thaw(leader), Freeze(leader), Thaw(leader)],
            3 => &[
                Freeze(leader),
                Thaw(leader),
                Freeze(leader),
                Promote,
                Crash(leader),
                Start(leader),
            ],
            4 => &[Stutter(leader), Stutter(leader), Stutter(leader)],
            5 => &[Stutter(standby), Freeze(leader), Promote, Crash(leader), Start(leader)],
            6 => &[
                Crash(leader),
                Promote,
                Revive(leader),
                Stutter(standby),
                Stutter(standby),
                ResetLeader,
                Depose,
            ],
            _ => &[Freeze(standby), Stutter(leader), Thaw(standby)],
        };
        play.iter().copied().collect()
    }
}
