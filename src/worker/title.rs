//! The title of this process in the process list.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

/// The memory that holds this process's command line. Has to be opened before the process switches its user.
pub(crate) struct Title {
    memory: File,
    start: u64,
    room: usize,
}

impl Title {
    /// `None` if the system does not expose it; a title is not essential.
    pub(crate) fn open() -> Option<Self> {
        let (start, end) = place(&std::fs::read_to_string("/proc/self/stat").ok()?)?;
        let memory = OpenOptions::new().write(true).open("/proc/self/mem").ok()?;
        Some(Self { memory, start, room: usize::try_from(end.checked_sub(start)?).ok()? })
    }

    /// Replaces the command line by `title`, as far as there is room.
    pub(crate) fn set(&self, title: &str) {
        let mut octets = title.as_bytes().to_vec();
        octets.truncate(self.room.saturating_sub(1));
        // If the line does not end in NUL, the kernel takes the environment for a part of it.
        octets.resize(self.room, 0);
        // A failure only leaves the old title.
        let _ = self.memory.write_all_at(&octets, self.start);
    }
}

/// Sets the name of this process, of up to 15 octets.
pub(crate) fn set_short(title: &str) {
    if let Ok(title) = CString::new(title) {
        // As above.
        let _ = rustix::thread::set_name(&title);
    }
}

/// Fields 48 and 49 of proc_pid_stat(5). The second field is a name in parentheses, which may contain anything.
fn place(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(48 - 3);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_a_name_that_looks_like_fields() {
        let fields: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        assert_eq!(place(&format!("7 (a) b (c)) {}", fields.join(" "))), Some((48, 49)));
        assert_eq!(place("7 (a) S 1 2"), None);
    }
}
