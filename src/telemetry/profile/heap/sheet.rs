//! The file in memory that jemalloc writes its dump to.
//!
//! In: nothing. Out: an open file, and jemalloc's word that it has filled it. Not here: what stands in it.

#![allow(unsafe_code, reason = "a file in memory and a raw mallctl; each block says why it is sound")]

use std::ffi::c_char;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use tikv_jemalloc_ctl::raw;

/// A file in memory, for us alone: it works where no directory can be written, nothing is left of it after a crash, and jemalloc, which holds
/// locks while it writes, waits for no disk.
#[cfg(target_os = "linux")]
pub(super) fn blank() -> io::Result<File> {
    use std::fs::Permissions;
    use std::os::fd::FromRawFd;
    use std::os::unix::fs::PermissionsExt;
    // SAFETY: the name ends with a zero byte, and the call keeps no pointer to it.
    let descriptor = unsafe { libc::memfd_create(c"heap-profile".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was made just now and nothing else owns it.
    let sheet = unsafe { File::from_raw_fd(descriptor) };
    sheet.set_permissions(Permissions::from_mode(0o600))?;
    Ok(sheet)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn blank() -> io::Result<File> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "heap profiles need Linux, for a file that is only in memory"))
}

/// Has jemalloc write what it has sampled. It opens the file by its path, so ours stays at its start.
pub(super) fn fill(sheet: &File) -> tikv_jemalloc_ctl::Result<()> {
    let path = format!("/proc/self/fd/{}\0", sheet.as_raw_fd());
    // SAFETY: `prof.dump` takes a pointer to a string that ends with a zero byte, which `path` does, and keeps none after it returns.
    unsafe { raw::write(b"prof.dump\0", path.as_ptr().cast::<c_char>()) }
}
