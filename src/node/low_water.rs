//! The receive low-water mark of a socket (`SO_RCVLOWAT`, socket(7)), for which socket2 has no call.
#![allow(unsafe_code)] // setsockopt is C.

use crate::reactor::SetLowWater;

/// On Linux `epoll` tells of a socket when its mark is reached, also where that is so because the mark was lowered.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) const SET: Option<SetLowWater> = Some(set);
/// Other systems are not known well enough.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) const SET: Option<SetLowWater> = None;

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set(descriptor: std::os::fd::RawFd, bytes: usize) -> bool {
    let (level, option) = (libc::SOL_SOCKET, libc::SO_RCVLOWAT);
    let Ok(bytes) = libc::c_int::try_from(bytes) else { return false };
    let (value, length) = ((&raw const bytes).cast(), size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the option is an int, which lives until the call is over. Whether the descriptor is one is for the
    // kernel to say.
    unsafe { libc::setsockopt(descriptor, level, option, value, length) == 0 }
}
