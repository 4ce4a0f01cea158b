//! The user and the groups of a worker.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, initgroups, setgid, setgroups, setuid};
use ziggurat_middleware::Finding;

/// Makes this process run as `user` and `group`, permanently. Both are names or numbers.
///
/// # Errors
///
/// A [`Finding`] about `user` or `group`: unknown, or this process may not switch to it.
pub(crate) fn become_user(user: Option<&str>, group: Option<&str>) -> Result<(), Finding> {
    Identity::named(user, group)?.map_or(Ok(()), Identity::assume)
}

/// A fact about the program: the user and the group that the server becomes before it runs code of others.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerIdentity {
    pub(crate) user: Option<String>,
    pub(crate) group: Option<String>,
}

/// A user and a group that a process may become.
pub(crate) struct Identity {
    user: Option<Named>,
    gid: Gid,
}

impl Identity {
    /// Those of these names or numbers; `None` without any.
    ///
    /// # Errors
    ///
    /// Which of them is unknown.
    pub(crate) fn named(user: Option<&str>, group: Option<&str>) -> Result<Option<Self>, Finding> {
        let user = user.map(named_user).transpose()?;
        let group = group.map(named_group).transpose()?;
        match (group.or(user.as_ref().and_then(|user| user.group)), user) {
            (Some(gid), user) => Ok(Some(Self { user, gid })),
            (None, None) => Ok(None),
            (None, Some(user)) => {
                Err(Finding::new(format!("user `{}` has no group of its own", user.shown)).at("user").hint("name one: `group`"))
            }
        }
    }

    /// The numbers of the user and the group.
    pub(crate) fn ids(&self) -> (Option<u32>, u32) {
        (self.user.as_ref().map(|user| user.uid.as_raw()), self.gid.as_raw())
    }

    /// These of a worker, where the server has some of its own.
    ///
    /// # Errors
    ///
    /// As [`Identity::named`].
    pub(crate) fn of_worker(user: Option<&str>, group: Option<&str>, server: &ServerIdentity) -> Result<Option<Self>, Finding> {
        if user.is_none() && group.is_none() {
            return Ok(None);
        }
        Self::named(user.or(server.user.as_deref()), group)
    }

    /// Whether this process has them. It needs no privilege then.
    pub(crate) fn is_current(&self) -> bool {
        self.user.as_ref().is_none_or(|user| user.uid == geteuid()) && self.gid == getegid()
    }

    /// Takes them on, for good and for all threads of this process, with the supplementary groups of the user.
    ///
    /// # Errors
    ///
    /// If this process may not.
    pub(crate) fn assume(self) -> Result<(), Finding> {
        if self.is_current() {
            return Ok(());
        }
        let Self { user, gid } = self;
        let groups = match user.as_ref().and_then(|user| user.name.as_deref()) {
            Some(name) => initgroups(name, gid),
            None => setgroups(&[gid]),
        };
        let become_all = groups.and_then(|()| setgid(gid)).and_then(|()| user.as_ref().map_or(Ok(()), |user| setuid(user.uid)));
        become_all.map_err(|error| {
            let (field, shown) = user.map_or_else(|| ("group", gid.to_string()), |user| ("user", user.shown));
            Finding::new(format!("cannot become `{shown}`: {}", error.desc()))
                .at(field)
                .hint(format!("only root may act as another: start the server as root, or leave `{field}` out"))
        })
    }
}

/// Whether this process is root's.
pub(crate) fn is_root() -> bool {
    geteuid().is_root()
}

struct Named {
    shown: String,
    uid: Uid,
    /// Its name, if the system's user database has an entry.
    name: Option<CString>,
    group: Option<Gid>,
}

fn named_user(shown: &str) -> Result<Named, Finding> {
    let unknown = || Finding::new(format!("there is no user `{shown}`")).at("user");
    let entry = match User::from_name(shown) {
        Ok(Some(user)) => Some(user),
        Ok(None) => {
            let uid = shown.parse().map(Uid::from_raw).map_err(|_| unknown().hint("name a user of this machine, or give its number"))?;
            match User::from_uid(uid) {
                Ok(Some(user)) => Some(user),
                _ => return Ok(Named { shown: shown.to_owned(), uid, name: None, group: None }),
            }
        }
        Err(_) => None,
    };
    let entry = entry.ok_or_else(|| unknown().hint("the list of users cannot be read"))?;
    Ok(Named { shown: shown.to_owned(), uid: entry.uid, name: CString::new(entry.name).ok(), group: Some(entry.gid) })
}

fn named_group(shown: &str) -> Result<Gid, Finding> {
    match Group::from_name(shown) {
        Ok(Some(group)) => Ok(group.gid),
        _ => shown.parse().map(Gid::from_raw).map_err(|_| {
            Finding::new(format!("there is no group `{shown}`")).at("group").hint("name a group of this machine, or give its number")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_user_or_group_is_an_error_at_its_field() {
        let finding = become_user(Some("no-such-user"), None).unwrap_err();
        assert_eq!((finding.message.as_str(), finding.path.as_slice()), ("there is no user `no-such-user`", &["user".into()][..]));
        let finding = become_user(None, Some("no-such-group")).unwrap_err();
        assert_eq!((finding.message.as_str(), finding.path.as_slice()), ("there is no group `no-such-group`", &["group".into()][..]));
    }

    #[test]
    fn an_unknown_number_needs_a_group() {
        let finding = become_user(Some("3999999999"), None).unwrap_err();
        assert!(finding.message.contains("no group of its own"), "{finding}");
    }

    #[test]
    fn nothing_changes_for_the_current_identity() {
        assert!(become_user(None, None).is_ok());
        assert!(become_user(Some(&geteuid().to_string()), Some(&getegid().to_string())).is_ok());
    }
}
