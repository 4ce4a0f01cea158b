//! Sockets that systemd passed to this process (sd_listen_fds(3)). The protocol itself is the crate sd-notify's.

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;

/// The descriptors that were passed under this `FileDescriptorName=`, or all of them. Child processes inherit none of the descriptors that were
/// passed.
pub(super) fn passed(name: Option<&str>) -> io::Result<Vec<RawFd>> {
    let passed: Vec<_> = sd_notify::listen_fds_with_names()?.collect();
    choose(&passed, name).map_err(|reason| io::Error::new(ErrorKind::NotFound, reason))
}

fn choose(passed: &[(RawFd, String)], name: Option<&str>) -> Result<Vec<RawFd>, String> {
    let is_chosen = |given: &str| name.is_none_or(|name| name == given);
    let chosen: Vec<_> = passed.iter().filter(|(_, given)| is_chosen(given)).map(|(number, _)| *number).collect();
    match name {
        _ if !chosen.is_empty() => Ok(chosen),
        Some(name) if !passed.is_empty() => {
            let mut names: Vec<_> = passed.iter().map(|(_, given)| format!("`{given}`")).collect();
            names.dedup();
            Err(format!(
                "systemd passed no socket of this name, only {}\nhint: write `FileDescriptorName={name}` in the socket unit",
                names.join(", ")
            ))
        }
        _ => {
            Err("systemd passed no socket to this process\nhint: start the server by a socket unit, or write an address to listen on"
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed() -> Vec<(RawFd, String)> {
        [(3, "http"), (4, "admin"), (5, "http")].map(|(number, name)| (number, name.to_owned())).into()
    }

    #[test]
    fn all_sockets_are_chosen_or_those_of_a_name() {
        assert_eq!(choose(&passed(), None), Ok(vec![3, 4, 5]));
        assert_eq!(choose(&passed(), Some("http")), Ok(vec![3, 5]));
    }

    #[test]
    fn an_error_names_the_sockets_that_were_passed() {
        assert!(choose(&[], None).unwrap_err().contains("\nhint: "));
        assert!(choose(&[], Some("http")).unwrap_err().contains("\nhint: "));
        let error = choose(&passed(), Some("https")).unwrap_err();
        assert!(error.contains("`http`, `admin`") && error.contains("FileDescriptorName=https"), "{error}");
    }

    #[test]
    fn a_process_that_systemd_did_not_start_has_no_sockets() {
        assert_eq!(super::passed(None).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
