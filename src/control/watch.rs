//! Watching the configuration's file.
//!
//! In: a path. Out: a reload once the file has changed and been quiet for a moment. It is looked at a few times a second, through every link, so
//! any way of replacing it is noticed: writing in place, renaming over it, swapping a directory's link. Not here: the reload (`swap`).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::base::limits::{WATCH_EVERY, WATCH_QUIET_LOOKS};

/// What tells one state of a file from another.
pub(crate) type Stamp = (u64, u64, i64, i64, i64, u64);

/// What has been seen of a file.
pub(crate) struct Watch {
    path: PathBuf,
    settled: Option<Stamp>,
    seen: Option<Stamp>,
    quiet_looks: u32,
}

impl Watch {
    /// Takes the file's present state as known.
    pub(crate) fn new(path: PathBuf) -> Self {
        let settled = stamp_of(&path);
        Watch { path, settled, seen: settled, quiet_looks: 0 }
    }

    /// Waits for the next change. `read` says which state of the file was read last, whoever asked for it.
    pub(crate) async fn changed(&mut self, read: impl Fn() -> Option<Stamp>) {
        loop {
            tokio::time::sleep(WATCH_EVERY).await;
            self.settled = read().or(self.settled);
            if self.look(stamp_of(&self.path)) {
                return;
            }
        }
    }

    /// True once a new state has lasted. A file that is missing is on its way to be replaced.
    fn look(&mut self, stamp: Option<Stamp>) -> bool {
        if stamp.is_none() || stamp == self.settled {
            self.seen = None;
            return false;
        }
        if stamp != self.seen {
            self.seen = stamp;
            self.quiet_looks = 0;
            return false;
        }
        self.quiet_looks += 1;
        if self.quiet_looks < WATCH_QUIET_LOOKS {
            return false;
        }
        self.settled = stamp;
        true
    }
}

/// The state of a file; none where it is not there.
pub(crate) fn stamp_of(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.mtime(), found.mtime_nsec(), found.ctime_nsec(), found.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_once_it_has_lasted() {
        let stamp = |inode| Some((1, inode, 0, 0, 0, 0));
        let mut watch = Watch { path: PathBuf::new(), settled: stamp(1), seen: None, quiet_looks: 0 };
        assert!(!watch.look(stamp(1)) && !watch.look(None));
        for inode in 2..10 {
            assert!(!watch.look(stamp(inode)), "a file that is still being written");
        }
        let looks = (0..5).map(|_| watch.look(stamp(9))).position(|changed| changed);
        assert_eq!(looks, Some(WATCH_QUIET_LOOKS as usize - 1));
        assert!(!watch.look(stamp(9)), "known by now");
    }
}
