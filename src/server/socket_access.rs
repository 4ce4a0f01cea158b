//! Who may connect to a Unix socket: the mode and the group of its file.

use std::io::{self, ErrorKind};
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

use nix::unistd::Group;
use serde::{Deserialize, Serialize};

/// The mode and the group of a socket's file. Without them, the umask decides, and the group is that of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketAccess {
    /// Clients need the permission to write.
    pub mode: Option<SocketMode>,
    /// A name or a number.
    pub group: Option<String>,
}

/// Permissions in octal figures, as chmod(1) takes them: `"0660"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct SocketMode(u32);

impl SocketMode {
    /// For the user of this process alone.
    pub(super) const PRIVATE: Self = Self(0o600);
}

impl TryFrom<String> for SocketMode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = (3..=4).contains(&text.len()).then(|| u32::from_str_radix(&text, 8).ok()).flatten();
        digits
            .filter(|mode| *mode <= 0o777 && !text.starts_with('+'))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not the mode of a socket\nhint: write octal figures, as in `\"0660\"`"))
    }
}

impl From<SocketMode> for String {
    fn from(mode: SocketMode) -> Self {
        format!("{:04o}", mode.0)
    }
}

impl SocketAccess {
    /// Sets them.
    pub(super) fn apply(&self, path: &Path) -> io::Result<()> {
        if let Some(group) = &self.group {
            let id = group_id(group)?;
            lchown(path, None, Some(id))
                .map_err(|error| io::Error::new(error.kind(), format!("cannot give the socket to the group `{group}`: {error}")))?;
        }
        if let Some(mode) = self.mode {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode.0))?;
        }
        Ok(())
    }
}

fn group_id(name: &str) -> io::Result<u32> {
    match Group::from_name(name)? {
        Some(group) => Ok(group.gid.as_raw()),
        None => name.parse().map_err(|_| io::Error::new(ErrorKind::NotFound, format!("there is no group `{name}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_figures() {
        for (text, written) in [("0660", "0660"), ("777", "0777"), ("0000", "0000")] {
            assert_eq!(String::from(SocketMode::try_from(text.to_owned()).unwrap()), written);
        }
        for broken in ["", "660x", "0o660", "1777", "8", "66", "00660", "+66", "rw-rw----", "-660"] {
            assert!(SocketMode::try_from(broken.to_owned()).is_err(), "{broken}");
        }
    }
}
