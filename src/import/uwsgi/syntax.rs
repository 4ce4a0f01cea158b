//! The three forms of uWSGI's files, as lists of options: `.ini`, XML and YAML. Options may be repeated in each.

use saphyr_parser::{Event, Parser};

use super::super::remarks::{Place, Remarks, Treatment};

/// An option as it is written.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) name: String,
    /// None for an option that is only named.
    pub(super) value: Option<String>,
}

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Ini,
    Xml,
    Yaml,
}

impl Form {
    /// The form of a configuration of uWSGI; none if it is something else.
    pub(super) fn of(name: &str, text: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        let has_line = |wanted: &str| text.lines().any(|line| line.trim_end() == wanted);
        if lower.ends_with(".xml") {
            text.contains("<uwsgi").then_some(Self::Xml)
        } else if lower.ends_with(".yaml") || lower.ends_with(".yml") {
            has_line("uwsgi:").then_some(Self::Yaml)
        } else {
            text.lines().any(|line| line.trim() == "[uwsgi]").then_some(Self::Ini)
        }
    }

    /// The options of a section of a file.
    pub(super) fn lines(self, file: &str, text: &str, section: &str, remarks: &mut Remarks) -> Result<Vec<Line>, String> {
        match self {
            Self::Ini => match ini(text, section) {
                lines if lines.is_empty() => Err(format!("`{file}` has no section `[{section}]`")),
                lines => Ok(lines),
            },
            _ if section != "uwsgi" => Err(format!("`{file}`: sections are those of an `.ini`")),
            Self::Xml => xml(file, text, remarks).map_err(|error| format!("{file}: {error}")),
            Self::Yaml => yaml(file, text, remarks).map_err(|error| format!("{file}: {error}")),
        }
    }
}

/// A section of an `.ini`.
fn ini(text: &str, section: &str) -> Vec<Line> {
    sections(text).filter(|(known, _)| *known == section).map(|(_, line)| line).collect()
}

/// The options of an `.ini`, each with its section.
fn sections(text: &str) -> impl Iterator<Item = (&str, Line)> {
    let mut section = "";
    text.lines().enumerate().filter_map(move |(at, line)| {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
            return None;
        }
        let (name, value) = line.split_once('=').map_or((line, None), |(name, value)| (name.trim(), Some(value.trim().to_owned())));
        (!line.is_empty() && !line.starts_with([';', '#'])).then(|| (section, Line { number: at + 1, name: name.to_owned(), value }))
    })
}

/// Remarks about the sections of an `.ini` that are not read.
pub(super) fn unread(file: &str, text: &str, read: &[&str], remarks: &mut Remarks) {
    for (section, line) in sections(text).filter(|(section, _)| !read.contains(section)) {
        let note = if section.is_empty() { "it stands in no section".to_owned() } else { format!("the section `[{section}]` is not read") };
        remarks.add(&Place::new(file, line.number), &format!("{} = ...", line.name), Treatment::Dropped, note);
    }
}

/// The children of the first element `uwsgi`.
fn xml(file: &str, text: &str, remarks: &mut Remarks) -> Result<Vec<Line>, String> {
    let document = roxmltree::Document::parse(text).map_err(|error| format!("it is no XML: {error}"))?;
    let mut roots = document.descendants().filter(|node| node.has_tag_name("uwsgi"));
    let root = roots.next().ok_or("it has no element `uwsgi`")?;
    // Counted once: the library looks for the line of each node from the beginning.
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    let line = |node: roxmltree::Node<'_, '_>| Line {
        number: ends.partition_point(|end| *end < node.range().start) + 1,
        name: node.tag_name().name().to_owned(),
        value: node.text().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()),
    };
    for other in roots.flat_map(|root| root.children()).filter(roxmltree::Node::is_element).map(line) {
        remarks.add(&Place::new(file, other.number), &other.name, Treatment::Dropped, "only the first element `uwsgi` is read");
    }
    Ok(root.children().filter(roxmltree::Node::is_element).map(line).collect())
}

/// The entries of `uwsgi`; a list is the same option several times.
fn yaml(file: &str, text: &str, remarks: &mut Remarks) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    // Of mappings and lists; options stand at a depth of 2.
    let mut depth = 0_usize;
    let mut key: Option<String> = None;
    let mut is_ours = false;
    let mut is_value = false;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| format!("it is no YAML: {error}"))?;
        match event {
            Event::Alias(_) => return Err(format!("line {}: aliases are not read: write the value in its place", span.start.line())),
            Event::MappingStart(..) if is_ours && depth > 1 => {
                return Err(format!("line {}: the value of an option is a text or a list", span.start.line()));
            }
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                depth += 1;
                is_value = false;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                depth = depth.saturating_sub(1);
                if depth == 2 {
                    key = None;
                }
                is_ours &= depth > 1;
            }
            Event::Scalar(scalar, ..) if depth == 1 => {
                is_ours = !is_value && scalar == "uwsgi";
                is_value = !is_value;
            }
            Event::Scalar(scalar, ..) if is_ours && depth <= 3 => match (&key, depth) {
                (None, 2) => key = Some(scalar.into_owned()),
                (Some(name), _) => {
                    lines.push(Line { number: span.start.line(), name: name.clone(), value: Some(scalar.into_owned()) });
                    if depth == 2 {
                        key = None;
                    }
                }
                (None, _) => {}
            },
            Event::Scalar(..) => {
                remarks.once(&Place::new(file, span.start.line()), "...", Treatment::Dropped, "only the key `uwsgi` is read")
            }
            _ => {}
        }
    }
    Ok(lines)
}
