//! `ziggurat check --fix`: changes the file where that mends a finding.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::complain;
use crate::pipeline::{Pipeline, Registry};

/// Mends the file and says what was mended. A file with errors stays as it is: `check` reports them. The error is a message.
pub(super) fn fix(path: &Path, registry: &Registry) -> Result<(), String> {
    let cannot = |error: io::Error| format!("error: cannot fix {}: {error}", path.display());
    let Ok(octets) = fs::read(path) else { return Ok(()) };
    let Ok(text) = std::str::from_utf8(&octets) else { return Ok(()) };
    let base = path.parent().unwrap_or(Path::new(""));
    let Ok(fixed) = Pipeline::fixed(&path.display().to_string(), text, base, registry, &|name| std::env::var_os(name)) else {
        return Ok(());
    };
    if fixed.mended.is_empty() {
        return Ok(());
    }
    replace(path, &octets, fixed.text.as_bytes()).map_err(cannot)?;
    for line in fixed.mended {
        complain(&format!("fixed: {line}"), super::SUCCESS);
    }
    Ok(())
}

/// Replaces the file in one step, if it still has these octets. A link stays a link, and the permissions stay.
fn replace(path: &Path, before: &[u8], after: &[u8]) -> io::Result<()> {
    let file = path.canonicalize()?;
    let mut beside = tempfile::NamedTempFile::new_in(file.parent().unwrap_or(Path::new("/")))?;
    beside.write_all(after)?;
    beside.as_file().set_permissions(fs::metadata(&file)?.permissions())?;
    beside.as_file().sync_all()?;
    if fs::read(&file)? != before {
        return Err(io::Error::other("it has changed in the meantime"));
    }
    beside.persist(&file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_that_has_changed_in_the_meantime_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pipeline.json");
        fs::write(&file, "new").unwrap();
        assert!(replace(&file, b"old", b"fixed").is_err());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_stays_a_link_and_permissions_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("real.json"), folder.path().join("pipeline.json"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("real.json", &link).unwrap();
        replace(&link, b"old", b"fixed").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"fixed");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
