//! What a worker inherits of the server's environment.

use std::ffi::OsStr;
use std::process::Command;

/// What every worker has: the basics of a process, and what it needs to run in the server's virtual environment and to log as the server does.
const ALWAYS: [&str; 11] =
    ["PATH", "HOME", "LANG", "LC_*", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "PYTHON*", "NO_COLOR", "ZIGGURAT_LOG"];

/// The variables that a worker inherits.
#[derive(Clone, Debug)]
pub(crate) enum Inherited {
    /// All but these.
    Except(Vec<String>),
    /// Those that match one of these patterns, and those that every worker has. A `*` at the end stands for anything.
    Only(Vec<String>),
}

impl Inherited {
    /// Removes the others from the environment of a command.
    pub(crate) fn apply(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os().filter(|(name, _)| !self.has(name)) {
            command.env_remove(name);
        }
    }

    fn has(&self, name: &OsStr) -> bool {
        let name = name.to_string_lossy();
        let matches = |pattern: &str| pattern.strip_suffix('*').map_or(name == pattern, |prefix| name.starts_with(prefix));
        let is_listed = match self {
            Self::Except(names) => !names.iter().any(|withheld| name == *withheld),
            Self::Only(patterns) => patterns.iter().any(|pattern| matches(pattern)),
        };
        is_listed || ALWAYS.into_iter().any(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_variables_and_those_that_a_worker_needs_are_inherited() {
        let inherited = Inherited::Only(vec!["LANG".to_owned(), "DJANGO_*".to_owned()]);
        let has = |name: &str| inherited.has(OsStr::new(name));
        assert!(["LANG", "DJANGO_SETTINGS_MODULE", "VIRTUAL_ENV", "PYTHONPATH"].into_iter().all(has));
        assert!(!["LANGUAGE", "XDJANGO_", "SECRET"].into_iter().any(has));
        let withheld = Inherited::Except(vec!["SECRET".to_owned(), "VIRTUAL_ENV".to_owned()]);
        assert_eq!(["SECRET", "VIRTUAL_ENV", "OTHER"].map(|name| withheld.has(OsStr::new(name))), [false, true, true]);
    }
}
