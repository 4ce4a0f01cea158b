//! What the system tells of other processes.

/// The id of a process's parent, if the process exists.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// The resident memory of a process in octets, if the process exists.
pub(crate) fn memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    resident(&status)
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_where_it_is_told() {
        assert_eq!(resident("Name:\tziggurat\nVmRSS:\t   10240 kB\nRssAnon:\t 1 kB\n"), Some(10 << 20));
        assert_eq!(resident("Name:\tziggurat\n"), None);
        assert!(memory(std::process::id()).is_some_and(|octets| octets > 0));
    }
}
