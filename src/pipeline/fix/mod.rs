//! Changes to the text of a file that mend a finding: `ziggurat check --fix`. Comments and formatting stay.

mod list;

use std::path::Path;

use super::diagnostic::{Diagnostic, Report};
use super::read::expand::Environment;
use super::read::text::{Dialect, parse};
use super::tree::{Node, Span, Value};
use super::{Pipeline, Registry};
use list::List;

/// A text with its fixes.
pub(crate) struct Fixed {
    pub(crate) text: String,
    /// What was mended, each in one line.
    pub(crate) mended: Vec<String>,
}

impl Pipeline {
    /// Mends what can be mended in a text, one finding after the other, until nothing is left. A change that does not mend its finding, or makes another one, is not made.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::from_text`].
    pub(crate) fn fixed(name: &str, text: &str, base: &Path, registry: &Registry, environment: Environment<'_>) -> Result<Fixed, Report> {
        let read = |text: &str| Self::from_text(name, text, base, registry, environment).map(|pipeline| pipeline.warnings);
        let (mut fixed, mut report) = (Fixed { text: text.to_owned(), mended: Vec::new() }, read(text)?);
        let mut refused = 0;
        // Each change leaves fewer findings, and one that is refused is not tried again: the loop ends.
        while let Some(finding) = report.diagnostics().iter().filter(|finding| finding.fix.is_some()).nth(refused) {
            let changed = finding.fix.as_ref().and_then(|fix| fix.applied(&fixed.text, Dialect::of(Path::new(name))));
            let after = changed.and_then(|text| Some((read(&text).ok()?, text))).filter(|(after, _)| is_better(&report, after));
            match after {
                Some((after, text)) => {
                    fixed.mended.push(report.line(finding));
                    (fixed.text, report) = (text, after);
                    refused = 0;
                }
                None => refused += 1,
            }
        }
        Ok(fixed)
    }
}

/// Whether there are fewer findings, and none of a kind that there was not.
fn is_better(before: &Report, after: &Report) -> bool {
    let count = |report: &Report, finding: &Diagnostic| report.diagnostics().iter().filter(|other| other.id == finding.id).count();
    after.len() < before.len() && after.diagnostics().iter().all(|finding| count(after, finding) <= count(before, finding))
}

/// One change. Layers are known by the spans of their options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fix {
    /// Puts a layer right above another one of the same list.
    MoveAbove { layer: Span, other: Span },
    /// Puts a layer right below another one of the same list.
    MoveBelow { layer: Span, other: Span },
    /// Removes an item of a list, and the list if it was the only one.
    Remove { item: Span },
    /// Writes another value.
    Replace { value: Span, with: String },
}

impl Fix {
    /// The text with this change, or `None` where it cannot be made without touching something else.
    pub(crate) fn applied(&self, text: &str, dialect: Dialect) -> Option<String> {
        let tree = parse(text, dialect).ok()?;
        let changed = match self {
            Self::MoveAbove { layer, other } => Self::moved(text, &tree, layer, other, 0),
            Self::MoveBelow { layer, other } => Self::moved(text, &tree, layer, other, 1),
            Self::Remove { item } => {
                let (array, nth) = innermost(&tree, item)?;
                // A list of nothing else goes with its key.
                let emptied = if is_alone(text, array) { entry_with(&tree, array) } else { None };
                let (list, nth) = emptied.unwrap_or((array, nth));
                List::of(text, list)?.removed(nth)
            }
            Self::Replace { value, with } => {
                let node = exact(&tree, value).filter(|node| !text[node.span.clone()].contains("${"))?;
                Some(format!("{}{with}{}", &text[..node.span.start], &text[node.span.end..]))
            }
        }?;
        // The change has to be the one that is meant, whatever comments and formatting there are.
        parse(&changed, dialect).is_ok().then_some(changed)
    }

    fn moved(text: &str, tree: &Node, layer: &Span, other: &Span, below: usize) -> Option<String> {
        let ((array, from), (same, to)) = (innermost(tree, layer)?, innermost(tree, other)?);
        if !std::ptr::eq(array, same) || from == to {
            return None;
        }
        // The index that the layer gets once it is taken out.
        let to = if from < to { to - 1 } else { to } + below;
        List::of(text, array)?.moved(from, to)
    }
}

/// The innermost list of layers or of entries with this span in one of its items, and the index of the item.
fn innermost<'a>(node: &'a Node, span: &Span) -> Option<(&'a Node, usize)> {
    let holds = |node: &Node| node.span.start <= span.start && span.end <= node.span.end;
    let inner = node.children().find(|(_, child)| holds(child)).and_then(|(_, child)| innermost(child, span));
    match &node.value {
        // A list within the options of the layer is none of layers.
        Value::Array(items) => {
            let nth = items.iter().position(holds)?;
            match inner {
                Some(inner) if !is_of_layer(&items[nth], span) => Some(inner),
                _ => Some((node, nth)),
            }
        }
        _ => inner,
    }
}

/// Whether a list has one item, and nothing else between its brackets.
fn is_alone(text: &str, array: &Node) -> bool {
    let mut items = array.children().map(|(_, item)| &item.span);
    let (Some(item), None) = (items.next(), items.next()) else { return false };
    let is_blank = |span: Span| text.get(span).is_some_and(|around| around.trim_matches(',').trim().is_empty());
    is_blank(array.span.start + 1..item.start) && is_blank(item.end..array.span.end - 1)
}

/// The object with this value, and the number of its entry.
fn entry_with<'a>(node: &'a Node, value: &Node) -> Option<(&'a Node, usize)> {
    let nth = node.children().position(|(_, child)| std::ptr::eq(child, value)).filter(|_| node.is_object());
    nth.map(|nth| (node, nth)).or_else(|| node.children().find_map(|(_, child)| entry_with(child, value)))
}

/// Whether this item is the layer with these options: its name, or an object with the options as a value.
fn is_of_layer(item: &Node, options: &Span) -> bool {
    item.span == *options || matches!(&item.value, Value::Object(entries) if entries.iter().any(|entry| entry.value.span == *options))
}

fn exact<'a>(node: &'a Node, span: &Span) -> Option<&'a Node> {
    if node.span == *span {
        return Some(node);
    }
    node.children().find_map(|(_, child)| exact(child, span))
}
