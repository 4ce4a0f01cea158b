//! What became of each setting, as text for people and as JSON for programs.

use std::fmt::Write;

use serde_json::{Value, json};

/// A bound on a setting as it is quoted.
const LONGEST: usize = 120;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: String,
    /// Counted from 1; 0 for what no line says.
    pub(super) line: usize,
}

impl Place {
    pub(super) fn new(file: &str, line: usize) -> Self {
        Self { file: file.to_owned(), line }
    }

    /// Where a server has a value that no file says.
    pub(super) fn default() -> Self {
        Self::new("(default)", 0)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line == 0 || self.file.starts_with('(') { f.write_str(&self.file) } else { write!(f, "{}:{}", self.file, self.line) }
    }
}

/// How a setting is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// The pipeline does the same.
    Taken,
    /// The pipeline does something similar.
    Approximated,
    /// The pipeline does nothing about it.
    Dropped,
}

impl Treatment {
    const fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Approximated => "approximated",
            Self::Dropped => "dropped",
        }
    }
}

#[derive(Debug)]
struct Remark {
    place: Place,
    theirs: String,
    treatment: Treatment,
    note: String,
}

/// The remarks about a configuration.
#[derive(Debug, Default)]
pub(crate) struct Remarks(Vec<Remark>);

impl Remarks {
    pub(super) fn add(&mut self, place: &Place, theirs: &str, treatment: Treatment, note: impl Into<String>) {
        let line = theirs.split_whitespace().collect::<Vec<_>>().join(" ");
        let cut: String = line.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
        let theirs = if cut.len() < line.len() { format!("{cut}...") } else { cut };
        self.0.push(Remark { place: place.clone(), theirs, treatment, note: note.into() });
    }

    /// Adds a remark about a line, unless there is one.
    pub(super) fn once(&mut self, place: &Place, theirs: &str, treatment: Treatment, note: impl Into<String>) {
        if !self.0.iter().any(|remark| remark.place == *place && (place.line > 0 || remark.theirs == theirs)) {
            self.add(place, theirs, treatment, note);
        }
    }

    /// Adds the remarks of another part of the configuration.
    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// In the order of the files and their lines; what no line says comes last.
    pub(super) fn sorted(mut self) -> Self {
        let mut files: Vec<String> = Vec::new();
        for remark in &self.0 {
            if remark.place.line > 0 && !files.contains(&remark.place.file) {
                files.push(remark.place.file.clone());
            }
        }
        let rank = |file: &String| files.iter().position(|known| known == file).unwrap_or(files.len());
        self.0.sort_by_key(|remark| (rank(&remark.place.file), remark.place.line));
        self
    }

    /// A line for each remark, and their numbers.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for Remark { place, theirs, treatment, note } in &self.0 {
            let _ = writeln!(text, "{}: {place}: `{theirs}`: {note}", treatment.name());
        }
        let count = |wanted| self.0.iter().filter(|remark| remark.treatment == wanted).count();
        let [taken, approximated, dropped] = [Treatment::Taken, Treatment::Approximated, Treatment::Dropped].map(count);
        let _ = writeln!(text, "{taken} taken, {approximated} approximated, {dropped} dropped");
        text
    }

    /// A record for each remark.
    pub(crate) fn to_json(&self) -> Value {
        let record = |Remark { place, theirs, treatment, note }: &Remark| {
            let line = (place.line > 0).then_some(place.line);
            let file = line.map(|_| &place.file);
            json!({ "treatment": treatment.name(), "file": file, "line": line, "setting": theirs, "note": note })
        };
        self.0.iter().map(record).collect()
    }
}
