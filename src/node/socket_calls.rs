//! System calls on sockets that socket2 lacks.
#![allow(unsafe_code)] // getsockopt and setsockopt are C.

#[cfg(target_vendor = "apple")]
pub(super) use apple::CALLS;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use linux::CALLS;
#[cfg(windows)]
pub(super) use windows::CALLS;

use crate::reactor::SystemCalls;

/// On other systems, the behaviour of these calls is not known well enough.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple", windows)))]
pub(super) const CALLS: SystemCalls = SystemCalls { low_water: None, tcp: None, prepare: None };

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::os::fd::RawFd;
    use std::time::Duration;

    use super::SystemCalls;
    use crate::reactor::{TcpCalls, TcpReport};

    /// `epoll` reports a socket when its low-water mark is reached, even if it was reached by
    /// lowering the mark.
    pub(crate) const CALLS: SystemCalls = SystemCalls {
        low_water: Some(set_low_water),
        tcp: Some(TcpCalls { report, probe_every }),
        prepare: None,
    };

    /// In milliseconds, from 1,000 to 120,000. The option exists since Linux 6.15.
    const TCP_RTO_MAX_MS: libc::c_int = 44;

    /// `SO_RCVLOWAT`, socket(7).
    fn set_low_water(descriptor: RawFd, bytes: usize) -> bool {
        set(descriptor, libc::SOL_SOCKET, libc::SO_RCVLOWAT, bytes)
    }

    fn probe_every(descriptor: RawFd, time: Duration) {
        let time = usize::try_from(time.as_millis()).unwrap_or(usize::MAX).clamp(1_000, 120_000);
        // If this fails, the system's default interval between probes applies.
        let _ = set(descriptor, libc::IPPROTO_TCP, TCP_RTO_MAX_MS, time);
    }

    fn set(descriptor: RawFd, level: libc::c_int, option: libc::c_int, value: usize) -> bool {
        let Ok(value) = libc::c_int::try_from(value) else { return false };
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the option is an int that outlives the call. The kernel checks the descriptor.
        unsafe {
            libc::setsockopt(descriptor, level, option, (&raw const value).cast(), length) == 0
        }
    }

    /// The size of `struct tcp_info` up to `tcpi_notsent_bytes`, which exists since Linux 4.6.
    const REPORT: usize = 148;

    /// Reads `TCP_INFO` by the offsets of linux/tcp.h, since libc's own structure lacks some
    /// fields.
    fn report(descriptor: RawFd) -> Option<TcpReport> {
        let mut bytes = [0_u8; REPORT];
        let mut length = REPORT as libc::socklen_t;
        let into = (&raw mut bytes).cast();
        // SAFETY: the kernel writes at most `length` bytes, and returns how many it wrote.
        let done = unsafe {
            libc::getsockopt(descriptor, libc::IPPROTO_TCP, libc::TCP_INFO, into, &raw mut length)
        };
        if done != 0 || length as usize != REPORT {
            return None;
        }
        let int = |at: usize| {
            let bytes = bytes.get(at..)?.first_chunk()?;
            Some(u32::from_ne_bytes(*bytes))
        };
        Some(TcpReport {
            probes: bytes.get(3).copied()?.into(),
            unacknowledged: int(24)?,
            last_heard: Duration::from_millis(int(56)?.into()),
            unsent: int(144)?,
        })
    }
}

#[cfg(target_vendor = "apple")]
mod apple {
    use std::os::fd::RawFd;
    use std::time::Duration;

    use super::SystemCalls;

    pub(crate) const CALLS: SystemCalls =
        SystemCalls { low_water: None, tcp: None, prepare: Some(prepare) };

    /// For how many seconds bytes are sent again before the system gives up the connection
    /// (`netinet/tcp.h`). It is this system's closest equivalent of `TCP_USER_TIMEOUT`.
    const TCP_RXT_CONNDROPTIME: libc::c_int = 0x80;

    fn prepare(descriptor: RawFd, user_timeout: Option<Duration>) {
        let Some(timeout) = user_timeout else { return };
        let seconds = libc::c_int::try_from(timeout.as_secs().max(1)).unwrap_or(libc::c_int::MAX);
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the option is an int that outlives the call. If this fails, the system's own
        // limit applies.
        unsafe {
            libc::setsockopt(
                descriptor,
                libc::IPPROTO_TCP,
                TCP_RXT_CONNDROPTIME,
                (&raw const seconds).cast(),
                length,
            )
        };
    }
}

#[cfg(windows)]
mod windows {
    use std::os::windows::io::RawSocket;
    use std::time::Duration;

    use windows_sys::Win32::Networking::WinSock::{
        IPPROTO_TCP, SIO_TCP_INITIAL_RTO, SOCKET, TCP_INITIAL_RTO_PARAMETERS, TCP_MAXRTMS,
        WSAIoctl, setsockopt,
    };

    use super::SystemCalls;

    pub(crate) const CALLS: SystemCalls =
        SystemCalls { low_water: None, tcp: None, prepare: Some(prepare) };

    /// From `mstcpip.h`: the system estimates the round trip itself, and does not send a refused
    /// SYN again. By default the system sends it twice more, so "connection refused" would be
    /// reported only after two seconds.
    const UNSPECIFIED: u16 = 0xffff;
    const NO_SYN_RETRANSMISSIONS: u8 = 0xfe;

    /// If one of these calls fails, the system's own limits apply.
    fn prepare(descriptor: RawSocket, user_timeout: Option<Duration>) {
        let Ok(socket) = SOCKET::try_from(descriptor) else { return };
        let rto = TCP_INITIAL_RTO_PARAMETERS {
            Rtt: UNSPECIFIED,
            MaxSynRetransmissions: NO_SYN_RETRANSMISSIONS,
        };
        let mut returned = 0;
        let length = size_of::<TCP_INITIAL_RTO_PARAMETERS>() as u32;
        // SAFETY: the parameters and the count outlive the call. The call does not wait, since
        // there is no OVERLAPPED.
        unsafe {
            WSAIoctl(
                socket,
                SIO_TCP_INITIAL_RTO,
                (&raw const rto).cast(),
                length,
                std::ptr::null_mut(),
                0,
                &raw mut returned,
                std::ptr::null_mut(),
                None,
            )
        };
        let Some(timeout) = user_timeout else { return };
        let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let length = size_of::<u32>() as i32;
        // SAFETY: the option is a DWORD that outlives the call. Since Windows 10, it is this
        // system's closest equivalent of `TCP_USER_TIMEOUT`.
        unsafe {
            setsockopt(socket, IPPROTO_TCP, TCP_MAXRTMS, (&raw const milliseconds).cast(), length)
        };
    }
}
