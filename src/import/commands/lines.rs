//! Lines of files that start servers, with their continuations.

/// How lines go on, and which say nothing.
pub(super) struct Syntax {
    /// The last character of a line that goes on.
    pub(super) goes_on: char,
    pub(super) comments: &'static [char],
    /// Whether texts follow a line up to a word: `<<EOF`.
    pub(super) has_documents: bool,
}

impl Syntax {
    pub(super) const SHELL: Self = Self { goes_on: '\\', comments: &['#'], has_documents: true };
    pub(super) const UNIT: Self = Self { goes_on: '\\', comments: &['#', ';'], has_documents: false };
}

/// Lines with their continuations, each with the number of its first.
pub(super) fn logical_lines(text: &str, syntax: &Syntax) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut continues = false;
    // The words that end texts below the last line.
    let mut documents: Vec<String> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(end) = documents.first() {
            if line.trim_start_matches('\t') == end {
                documents.remove(0);
            }
            continue;
        }
        if line.trim_start().starts_with(syntax.comments) {
            continue;
        }
        let (part, goes_on) = line.strip_suffix(syntax.goes_on).map_or((line, false), |part| (part, true));
        match lines.last_mut().filter(|_| continues) {
            Some((_, whole)) => {
                whole.push(' ');
                whole.push_str(part.trim());
            }
            None => lines.push((at + 1, part.trim().to_owned())),
        }
        continues = goes_on;
        if syntax.has_documents
            && !continues
            && let Some((_, whole)) = lines.last()
        {
            documents = ends_of_documents(whole);
        }
    }
    lines.retain(|(_, line)| !line.is_empty());
    lines
}

/// The words after `<<` and `<<-`.
fn ends_of_documents(line: &str) -> Vec<String> {
    let parts: Vec<&str> = line.split("<<").collect();
    let word = |part: &&str| {
        let word = part.trim_start_matches('-').trim_start().trim_start_matches(['"', '\'']);
        let word: String = word.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        (word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && !part.starts_with('<')).then_some(word)
    };
    parts.iter().skip(1).filter_map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_follow_a_line_are_no_lines_of_their_own() {
        let lines = |text: &str| logical_lines(text, &Syntax::SHELL).into_iter().map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!(lines("cat > a <<EOF\ngunicorn a:b\nEOF\ngunicorn c:d"), [1, 4]);
        assert_eq!(lines("cat <<-'A' <<\"B\"\n1\n\tA\n2\nB\nx"), [1, 6]);
        assert_eq!(lines("cat <<< EOF\nx $((1<<2))\ny"), [1, 2, 3]);
        assert_eq!(lines("a \\\n# b\n c\nd"), [1, 4]);
    }
}
