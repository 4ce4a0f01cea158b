//! From a pipeline file to one built service: text, spanned tree, typed options, checks, stack.
