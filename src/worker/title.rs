//! What the process list shows of this process.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

/// The place of this process's command line in its memory. To be opened before the process becomes another user.
pub(crate) struct Title {
    memory: File,
    start: u64,
    room: usize,
}

impl Title {
    /// `None` where the system does not show it; a process does well without a title.
    pub(crate) fn open() -> Option<Self> {
        let (start, end) = place(&std::fs::read_to_string("/proc/self/stat").ok()?)?;
        let memory = OpenOptions::new().write(true).open("/proc/self/mem").ok()?;
        Some(Self { memory, start, room: usize::try_from(end.checked_sub(start)?).ok()? })
    }

    /// Shows `title`, as much as there is room for, instead of the command line. Who reads the command line later reads this.
    pub(crate) fn set(&self, title: &str) {
        let mut octets = title.as_bytes().to_vec();
        octets.truncate(self.room.saturating_sub(1));
        // The kernel takes a line that does not end in NUL for one that goes on in the environment.
        octets.resize(self.room, 0);
        // The title is for people; nothing hangs on it.
        let _ = self.memory.write_all_at(&octets, self.start);
    }
}

/// Names this process, in up to 15 octets.
pub(crate) fn set_short(title: &str) {
    if let Ok(title) = CString::new(title) {
        // As for the long one.
        let _ = rustix::thread::set_name(&title);
    }
}

/// Fields 48 and 49 of proc_pid_stat(5). The second field is a name in brackets, which may hold anything.
fn place(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(48 - 3);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_found_behind_a_name_that_looks_like_fields() {
        let fields: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        assert_eq!(place(&format!("7 (a) b (c)) {}", fields.join(" "))), Some((48, 49)));
        assert_eq!(place("7 (a) S 1 2"), None);
    }
}
