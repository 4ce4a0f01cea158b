//! The text of a list or of an object, item by item, with the comments that belong to each.

use crate::pipeline::tree::{Node, Span, Value};

/// The text of a list in its file. The entries of an object are items, too.
pub(super) struct List<'a> {
    before: &'a str,
    items: Vec<Item<'a>>,
    /// Between the last item, with its comment, and the closing bracket.
    end: &'a str,
    /// Whether a comma follows the last item.
    trailing: bool,
    after: &'a str,
}

/// The text around an item, in its order.
#[derive(Clone, Copy)]
struct Item<'a> {
    /// White space that belongs to the position, not to the item.
    space: &'a str,
    /// Comments above it, with what is between them and the item.
    comments: &'a str,
    text: &'a str,
    /// Between the item and its comma.
    then: &'a str,
    /// Behind the comma on the same line: a comment.
    note: &'a str,
}

impl<'a> List<'a> {
    /// The items of an array, or the entries of an object.
    pub(super) fn of(text: &'a str, array: &Node) -> Option<Self> {
        let spans: Vec<Span> = match &array.value {
            Value::Array(items) => items.iter().map(|item| item.span.clone()).collect(),
            Value::Object(entries) => entries.iter().map(|entry| entry.key_span.start..entry.value.span.end).collect(),
            _ => return None,
        };
        let mut items = Vec::new();
        let (mut at, mut trailing) = (array.span.start + 1, false);
        for (nth, span) in spans.iter().enumerate() {
            let lead = text.get(at..span.start)?;
            let space = lead.len() - lead.trim_start().len();
            let next = spans.get(nth + 1).map_or(array.span.end - 1, |next| next.start);
            let (then, note, has_comma) = behind(text, span.end..next)?;
            items.push(Item { space: &lead[..space], comments: &lead[space..], text: &text[span.clone()], then, note });
            at = span.end + then.len() + usize::from(has_comma) + note.len();
            trailing = has_comma;
        }
        Some(Self {
            before: &text[..=array.span.start],
            items,
            end: text.get(at..array.span.end - 1)?,
            trailing,
            after: &text[array.span.end - 1..],
        })
    }

    /// The file with an item at another index.
    pub(super) fn moved(mut self, from: usize, to: usize) -> Option<String> {
        let spaces: Vec<&str> = self.items.iter().map(|item| item.space).collect();
        if from >= self.items.len() || to >= self.items.len() {
            return None;
        }
        let item = self.items.remove(from);
        self.items.insert(to, item);
        for (item, space) in self.items.iter_mut().zip(spaces) {
            item.space = space;
        }
        Some(self.written())
    }

    /// The file without an item, unless it has comments of its own.
    pub(super) fn removed(mut self, nth: usize) -> Option<String> {
        let has_comments = |item: &Item<'_>| [item.comments, item.then, item.note].iter().any(|text| !text.trim().is_empty());
        if self.items.get(nth).is_none_or(has_comments) {
            return None;
        }
        let removed = self.items.remove(nth);
        if let (0, Some(first)) = (nth, self.items.first_mut()) {
            first.space = removed.space;
        }
        Some(self.written())
    }

    fn written(&self) -> String {
        let mut text = self.before.to_owned();
        for (nth, item) in self.items.iter().enumerate() {
            let is_last = nth + 1 == self.items.len();
            text.extend([item.space, item.comments, item.text, item.then]);
            text.push_str(if is_last && !self.trailing { "" } else { "," });
            text.push_str(item.note);
            let next = self.items.get(nth + 1).map_or(self.end, |next| next.space);
            if item.note.contains("//") && !next.starts_with(['\n', '\r']) {
                text.push('\n');
            }
        }
        text + self.end + self.after
    }
}

/// What follows an item up to the next one or the end of the list: the text before its comma, the comment behind it on the same line, and whether there is a comma.
fn behind(text: &str, span: Span) -> Option<(&str, &str, bool)> {
    let between = text.get(span)?;
    let comma = comma(between);
    let (then, rest) = match comma {
        Some(at) => (&between[..at], &between[at + 1..]),
        None => ("", between),
    };
    let line = &rest[..rest.find(['\n', '\r']).unwrap_or(rest.len())];
    let comment = line.trim();
    // A comment that begins here and ends on another line stays where it is.
    let is_note = comment.starts_with("//") && line.len() < rest.len()
        || comment.starts_with("/*") && comment.ends_with("*/") && line.len() < rest.len();
    Some((then, if is_note { line.trim_end() } else { "" }, comma.is_some()))
}

/// Where the comma is, comments left out.
fn comma(text: &str) -> Option<usize> {
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        at += if rest.starts_with("//") {
            rest.find(['\n', '\r']).unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with(',') {
            return Some(at);
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::*;

    /// The text with the item at one index moved to another.
    fn moved(text: &str, from: usize, to: usize) -> String {
        let tree = parse(text, Dialect::Jsonc).unwrap();
        let (_, array) = tree.children().next().unwrap();
        let moved = List::of(text, array).unwrap().moved(from, to).unwrap();
        let items = |text: &str| {
            let tree = parse(text, Dialect::Jsonc).unwrap();
            let (_, array) = tree.children().next().unwrap();
            array.children().map(|(_, item)| text[item.span.clone()].to_owned()).collect::<Vec<_>>()
        };
        let mut expected = items(text);
        let item = expected.remove(from);
        expected.insert(to, item);
        assert_eq!(items(&moved), expected, "{moved}");
        moved
    }

    #[test]
    fn a_line_moves_with_the_comments_above_and_beside_it() {
        let text = "{ \"layers\": [\n  \"a\", // about a\n  // about b\n  \"b\", /* beside b */\n\n  \"c\" // about c\n] }";
        let expected = "{ \"layers\": [\n  \"c\", // about c\n  \"a\", // about a\n\n  // about b\n  \"b\" /* beside b */\n] }";
        assert_eq!(moved(text, 2, 0), expected);
    }

    #[test]
    fn commas_stay_between_the_items_however_they_stand() {
        assert_eq!(moved(r#"{ "layers": ["a", {"b": 1},"c"] }"#, 2, 0), r#"{ "layers": ["c", "a",{"b": 1}] }"#);
        assert_eq!(moved("{ \"layers\": [\n  \"a\",\n  \"b\",\n] }", 1, 0), "{ \"layers\": [\n  \"b\",\n  \"a\",\n] }");
        moved("{ \"layers\": [\"a\", // about a\n \"b\"] }", 0, 1);
        moved("{ \"layers\": [\"a\" /* , */ , \"b\" // last\n] }", 1, 0);
        moved("{ \"layers\": [ // all\n \"a\"\n , \"b\"] }", 0, 1);
    }

    #[test]
    fn a_line_with_a_comment_of_its_own_is_not_removed() {
        let text = "{ \"layers\": [\n  \"a\",\n  // why\n  \"b\"\n] }";
        let tree = parse(text, Dialect::Jsonc).unwrap();
        let (_, array) = tree.children().next().unwrap();
        assert_eq!(List::of(text, array).unwrap().removed(0).unwrap(), "{ \"layers\": [\n  // why\n  \"b\"\n] }");
        assert!(List::of(text, array).unwrap().removed(1).is_none());
    }
}
