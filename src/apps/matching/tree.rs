//! Sorted lists of numbers by what begins as a request does, segment by segment.

use std::collections::HashMap;

/// Segments beyond these are not looked at, so that neither a file nor a request decides how deep a tree is.
const DEEPEST: usize = 32;

/// A tree of segments: of paths, or of the labels of hosts.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// What follows a segment that has to be this one.
    literal: HashMap<Box<[u8]>, Tree>,
    /// What follows a segment that may be any.
    any: Option<Box<Tree>>,
    /// What ends here.
    whole: Vec<u32>,
    /// What may end here and may go on.
    open: Vec<u32>,
}

impl Tree {
    /// Adds a number, which is at least as high as all before it. A segment that may be any is `None`.
    pub(super) fn insert<'s>(&mut self, segments: impl Iterator<Item = Option<&'s [u8]>>, mut is_open: bool, number: u32) {
        let mut node = self;
        for (depth, segment) in segments.enumerate() {
            if depth == DEEPEST {
                is_open = true;
                break;
            }
            node = match segment {
                Some(literal) => node.literal.entry(literal.into()).or_default(),
                None => node.any.get_or_insert_default(),
            };
        }
        let list = if is_open { &mut node.open } else { &mut node.whole };
        if list.last() != Some(&number) {
            list.push(number);
        }
    }

    /// Every list whose numbers were added with segments that may be these, or that include all that these may be. Each is sorted, and none is empty.
    pub(super) fn walk<'t, 's>(&'t self, mut segments: impl Iterator<Item = Option<&'s [u8]>> + Clone, found: &mut impl FnMut(&'t [u32])) {
        if !self.open.is_empty() {
            found(&self.open);
        }
        let Some(segment) = segments.next() else {
            if !self.whole.is_empty() {
                found(&self.whole);
            }
            return;
        };
        if let Some(any) = &self.any {
            any.walk(segments.clone(), found);
        }
        if let Some(next) = segment.and_then(|literal| self.literal.get(literal)) {
            next.walk(segments, found);
        }
    }
}
