//! A configuration of uWSGI: its options, those of other files and sections, loops, placeholders, and variables of the environment.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use super::super::read as text_of;
use super::super::remarks::{Place, Remarks, Treatment};
use super::super::value::{Value, escaped, variable};
use super::options::{MOST_OPTIONS, canonical};
use super::syntax::{Form, Line, unread};

/// An option with its value.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) name: String,
    pub(super) value: Value,
    pub(super) place: Place,
    /// As it is written.
    pub(super) theirs: String,
    /// Whether a placeholder of the file names it.
    pub(super) is_used: bool,
}

/// How deep files may be read within each other.
const DEEPEST: usize = 8;

/// The most sections that are read.
const MOST_SECTIONS: usize = 64;

/// The options of a configuration.
#[derive(Default)]
pub(super) struct Options {
    pub(super) given: Vec<Given>,
    /// Names of options in lines that are decided when uWSGI starts, and where they stand.
    pub(super) undecided: Vec<(String, Place)>,
}

/// How often a file is read for the values of placeholders that stand above them.
const MOST_PASSES: usize = 8;

/// Reads a configuration of uWSGI: one section of a file, and what it names below the folder of the file.
pub(super) fn read(file: &str, text: &str, section: &str, remarks: &mut Remarks) -> Result<Options, String> {
    let folder = Path::new(file).parent().unwrap_or(Path::new("")).to_owned();
    let mut below = HashMap::new();
    // uWSGI fills in placeholders when it has read everything.
    for _ in 0..MOST_PASSES {
        let mut unsaid = Remarks::default();
        let mut reader = Reader::new(folder.clone(), &below, &mut unsaid);
        reader.section(file, text, section)?;
        let known = reader.known;
        if known == below {
            break;
        }
        below = known;
    }
    let mut reader = Reader::new(folder, &below, remarks);
    reader.section(file, text, section)?;
    let Reader { mut given, undecided, used, sections, remarks, .. } = reader;
    for given in &mut given {
        given.is_used = used.contains(&given.name);
    }
    if Form::of(file, text).is_none_or(|form| form == Form::Ini) {
        let read: Vec<&str> = sections.iter().filter(|(known, _)| known == file).map(|(_, section)| section.as_str()).collect();
        unread(file, text, &read, remarks);
    }
    Ok(Options { given, undecided })
}

struct Reader<'a> {
    /// Other files are read below it.
    folder: PathBuf,
    remarks: &'a mut Remarks,
    given: Vec<Given>,
    undecided: Vec<(String, Place)>,
    /// The values that placeholders have.
    known: HashMap<String, String>,
    /// Those that they have at the end of the file.
    below: &'a HashMap<String, String>,
    /// Names in placeholders.
    used: HashSet<String>,
    /// How many lines have been read.
    lines: usize,
    /// Files and sections that have been read.
    sections: Vec<(String, String)>,
    /// Those that are being read, the outermost first.
    open: Vec<(String, String)>,
}

impl<'a> Reader<'a> {
    fn new(folder: PathBuf, below: &'a HashMap<String, String>, remarks: &'a mut Remarks) -> Self {
        Self {
            folder,
            remarks,
            given: Vec::new(),
            undecided: Vec::new(),
            known: HashMap::new(),
            below,
            used: HashSet::new(),
            lines: 0,
            sections: Vec::new(),
            open: Vec::new(),
        }
    }

    fn section(&mut self, file: &str, text: &str, section: &str) -> Result<(), String> {
        let form = Form::of(file, text).unwrap_or(Form::Ini);
        let lines = form.lines(file, text, section, self.remarks)?;
        let name = (file.to_owned(), section.to_owned());
        self.sections.push(name.clone());
        self.open.push(name);
        self.lines(file, text, &lines, false);
        self.open.pop();
        Ok(())
    }

    fn lines(&mut self, file: &str, text: &str, lines: &[Line], is_loop: bool) {
        let mut is_in_block = false;
        let mut rest = lines.iter().enumerate();
        while let Some((at, Line { number, name, value })) = rest.next() {
            let place = Place::new(file, *number);
            let written = value.as_ref().map_or_else(|| name.clone(), |value| format!("{name} = {value}"));
            self.lines += 1;
            if self.lines > MOST_OPTIONS {
                if self.lines == MOST_OPTIONS + 1 {
                    let note = "nothing is read from here on: the file is too long";
                    self.remarks.add(&place, &written, Treatment::Dropped, note);
                }
                break;
            }
            match name.as_str() {
                "endif" | "endfor" | "end-if" | "end-for" => {
                    is_in_block = false;
                    self.remarks.add(&place, &written, Treatment::Dropped, "the end of the lines that are not decided here");
                }
                "for" | "for-times" if !is_loop && !is_in_block => {
                    let body: Vec<Line> = lines[at + 1..].iter().take_while(|line| !is_end(&line.name)).cloned().collect();
                    match self.values(name, value.as_deref().unwrap_or_default(), file) {
                        Some(values) => {
                            self.remarks.add(&place, &written, Treatment::Taken, "the lines up to its end are read for each value");
                            for value in values {
                                self.known.insert("_".to_owned(), escaped(&value));
                                self.lines(file, text, &body, true);
                            }
                            self.known.remove("_");
                            if let Some((_, end)) = rest.nth(body.len()) {
                                self.remarks.add(&Place::new(file, end.number), &end.name, Treatment::Taken, "the end of the loop");
                            }
                        }
                        None => {
                            is_in_block = true;
                            self.remarks.add(&place, &written, Treatment::Dropped, UNDECIDED);
                        }
                    }
                }
                begins if begins.starts_with("if-") || begins == "for" || begins.starts_with("for-") => {
                    is_in_block = true;
                    self.remarks.add(&place, &written, Treatment::Dropped, UNDECIDED);
                }
                _ if is_in_block => {
                    self.undecided.push((canonical(name), place.clone()));
                    self.remarks.add(&place, &written, Treatment::Dropped, "it depends on the line above that is not decided here");
                }
                "ini" | "include" => self.other(file, text, &place, &written, value.as_deref().unwrap_or_default()),
                "set-placeholder" | "set-ph" | "set" => self.set(file, place, &written, value.as_deref().unwrap_or_default()),
                _ => self.option(file, place, name, value.as_deref(), &written),
            }
        }
    }

    /// The values of a loop, if they are constant.
    fn values(&mut self, name: &str, value: &str, file: &str) -> Option<Vec<String>> {
        let values = self.filled(value, file).plain_text()?;
        let values: Vec<String> = match name {
            "for" => values.split_whitespace().map(str::to_owned).collect(),
            _ => (1..=values.trim().parse::<usize>().ok().filter(|times| *times <= MOST_OPTIONS)?).map(|at| at.to_string()).collect(),
        };
        (values.len() <= MOST_OPTIONS).then_some(values)
    }

    fn option(&mut self, file: &str, place: Place, name: &str, value: Option<&str>, written: &str) {
        let plain = without_comment(value.unwrap_or("true"));
        let theirs = if name == "env" { format!("env = {}", plain.split('=').next().unwrap_or_default()) } else { written.to_owned() };
        let filled = if value.is_some() { self.filled(plain, file) } else { Value::Bool(true) };
        if let Some(text) = filled.text() {
            self.known.insert(name.to_owned(), text);
        }
        self.given.push(Given { name: name.to_owned(), value: filled, place, theirs, is_used: false });
    }

    /// `set-placeholder = name=value`: a variable; with `set`, an option, too.
    fn set(&mut self, file: &str, place: Place, written: &str, value: &str) {
        match value.split_once('=') {
            Some((name, value)) if written.starts_with("set-") => {
                if let Some(text) = self.filled(value.trim(), file).text() {
                    self.known.insert(name.trim().to_owned(), text);
                }
                self.remarks.add(&place, written, Treatment::Taken, "a variable of the file: it is filled in where it is used");
            }
            Some((name, value)) => self.option(file, place, name.trim(), Some(value.trim()), written),
            None => self.remarks.add(&place, written, Treatment::Dropped, "it is no `name=value`"),
        }
    }

    /// Reads another file, or another section of this one: `base.ini`, `base.ini:common`, `:common`.
    fn other(&mut self, file: &str, text: &str, place: &Place, written: &str, value: &str) {
        let Some(named) = self.filled(value, file).plain_text() else {
            return self.remarks.add(place, written, Treatment::Dropped, "its name is not known before uWSGI starts: import it by itself");
        };
        let (path, section) = path_and_section(&named);
        let other = if path.is_empty() { file.to_owned() } else { self.folder.join(path).display().to_string() };
        let read = if self.open.iter().any(|(file, open)| *file == other && open == section) {
            Err("it is being read: it names itself".to_owned())
        } else if self.open.len() > DEEPEST {
            Err(format!("files are read up to {DEEPEST} levels deep"))
        } else if self.sections.len() >= MOST_SECTIONS {
            Err(format!("{MOST_SECTIONS} sections are read at most"))
        } else if !is_below(path) {
            Err("only files below the folder of this one are read: copy it there, and import again".to_owned())
        } else {
            let text = if path.is_empty() { Ok(text.to_owned()) } else { text_of(Path::new(&other)) };
            text.and_then(|text| self.section(&other, &text, section))
        };
        match read {
            Ok(()) => self.remarks.add(place, written, Treatment::Taken, format!("the options of `[{section}]` of `{other}` are read")),
            Err(error) => self.remarks.add(place, written, Treatment::Dropped, error.lines().next().unwrap_or_default()),
        }
    }

    /// A value whose placeholders are filled in.
    fn filled(&mut self, text: &str, file: &str) -> Value {
        self.used.extend(text.split("%(").skip(1).filter_map(|rest| Some(operand(rest.split_once(')')?.0).0.to_owned())));
        filled(text, file, |name| self.known.get(name).or_else(|| self.below.get(name)).cloned())
    }
}

const UNDECIDED: &str = "it is decided when uWSGI starts: the lines up to its end are dropped";

fn is_end(name: &str) -> bool {
    matches!(name, "endfor" | "end-for")
}

/// `base.ini:common`; without a section, it is `uwsgi`.
pub(super) fn path_and_section(name: &str) -> (&str, &str) {
    name.rsplit_once(':').unwrap_or((name, "uwsgi"))
}

/// Whether a path leads into a folder, and not out of it.
pub(super) fn is_below(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// A placeholder with a number that is added or subtracted: `%(port + 1)`.
fn operand(inside: &str) -> (&str, Option<i64>) {
    let parts: Vec<&str> = inside.split_whitespace().collect();
    match parts[..] {
        [name, sign @ ("+" | "-"), number] => match number.parse::<i64>() {
            Ok(number) if number >= 0 => (name, Some(if sign == "+" { number } else { -number })),
            _ => (inside, None),
        },
        _ => (inside, None),
    }
}

/// Numbers and switches end where they do: uWSGI does not read on, so that many files have comments there. Of a text, everything counts.
fn without_comment(value: &str) -> &str {
    let word = value.split_whitespace().next().unwrap_or_default();
    let rest = value[word.len()..].trim_start();
    let ends = word.bytes().all(|octet| octet.is_ascii_digit()) || matches!(word, "true" | "false");
    if ends && rest.starts_with([';', '#']) { word } else { value }
}

/// A value whose placeholders are filled in: `%(name)`, `%d` and others of its kind, `$(NAME)`.
fn filled(text: &str, file: &str, known: impl Fn(&str) -> Option<String>) -> Value {
    let code = || Value::Code(text.to_owned());
    if text.starts_with("@(") {
        return code();
    }
    if text == "%k" {
        return Value::Cores;
    }
    let mut whole = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['%', '$']) {
        whole.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let inside = after.strip_prefix('(').and_then(|inside| inside.split_once(')'));
        match (&rest[at..=at], inside) {
            ("$", Some((name, _))) => match variable(name, None) {
                Some(reference) => whole.push_str(&reference),
                None => return code(),
            },
            ("%", Some((inside, _))) => {
                let (name, number) = operand(inside);
                let value = match (known(name), number) {
                    (Some(value), Some(number)) => {
                        value.parse::<i64>().ok().and_then(|value| value.checked_add(number)).map(|sum| sum.to_string())
                    }
                    (value, _) => value,
                };
                match value {
                    Some(value) if whole.len() + value.len() <= 4096 => whole.push_str(&value),
                    _ => return code(),
                }
            }
            ("%", None) => match after.chars().next().and_then(|letter| of_file(letter, file)) {
                Some(part) => whole.push_str(&escaped(&part)),
                None => return code(),
            },
            _ => whole.push_str("$$"),
        }
        rest = match (inside, &rest[at..=at]) {
            (Some((_, rest)), _) => rest,
            (None, "%") => after.get(1..).unwrap_or_default(),
            (None, _) => after,
        };
    }
    whole.push_str(rest);
    Value::Text(whole)
}

/// What a letter after `%` says of the file: paths are relative to the folder that the pipeline file is written for.
fn of_file(letter: char, file: &str) -> Option<String> {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    match letter {
        'd' => Some("./".to_owned()),
        'n' => Some(stem.to_owned()),
        's' => Some(name.to_owned()),
        'p' => Some(format!("./{name}")),
        'e' => Some(name.rsplit_once('.').map_or("", |(_, extension)| extension).to_owned()),
        'c' => Some(folder.rsplit('/').next().filter(|folder| !folder.is_empty() && *folder != ".")?.to_owned()),
        '%' => Some("%".to_owned()),
        _ => None,
    }
}
