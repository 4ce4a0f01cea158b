//! The state: how each flag stands, and the file that it outlives a restart in.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fs, io};

use serde_json::Value;
use ziggurat::prelude::{Finding, Result};

#[derive(Default)]
pub(crate) struct Flags(Mutex<BTreeMap<String, bool>>);

impl Flags {
    /// From now on there are these flags. One that was there before stands as it did, another as the file has it, and else as declared.
    pub(crate) fn declare(&self, mut declared: BTreeMap<String, bool>, file: Option<&Path>) -> Result<()> {
        let saved = file.map(saved).transpose()?.unwrap_or_default();
        let mut flags = self.lock();
        for (name, stands) in &mut declared {
            if let Some(before) = flags.get(name).or_else(|| saved.get(name)) {
                *stands = *before;
            }
        }
        *flags = declared;
        Ok(())
    }

    pub(crate) fn get(&self, name: &str) -> Option<bool> {
        self.lock().get(name).copied()
    }

    pub(crate) fn turn(&self, name: &str, turned: bool) {
        if let Some(flag) = self.lock().get_mut(name) {
            *flag = turned;
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        self.lock().iter().map(|(name, stands)| (name.clone(), Value::from(*stands))).collect()
    }

    /// Writes the file anew: whoever reads it sees the old one or the new one, never a half.
    pub(crate) fn save(&self, file: &Path) {
        let half = file.with_extension("new");
        let written = fs::write(&half, format!("{:#}\n", self.to_json())).and_then(|()| fs::rename(&half, file));
        if let Err(error) = written {
            tracing::error!(file = %file.display(), "the flags cannot be saved: {error}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn saved(file: &Path) -> Result<BTreeMap<String, bool>> {
    match fs::read(file) {
        Ok(octets) => serde_json::from_slice(&octets)
            .map_err(|error| Finding::new(format!("`{}` holds no flags: {error}", file.display())).hint("mend it, or remove it")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(Finding::new(format!("cannot read `{}`: {error}", file.display()))),
    }
}
