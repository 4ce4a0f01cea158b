//! The pages of the lints in `docs/lints`, and `ziggurat lints`.

use std::fmt::Write;

use super::{Harm, LINTS, Lint};

/// `ziggurat lints`: one line each.
pub(crate) fn listing() -> String {
    let mut text = String::new();
    for harm in Harm::ALL {
        let _ = writeln!(text, "{}:\n", harm.title());
        for lint in of(harm) {
            let _ = writeln!(text, "  {:<26} {}", lint.id, lint.summary);
        }
        text.push('\n');
    }
    text.push_str("`ziggurat lints ID` prints the page of one.\n");
    text
}

/// Each page with its path below `docs/lints/`, the index last.
pub(crate) fn pages() -> Vec<(String, String)> {
    let mut pages: Vec<_> = LINTS.iter().map(|lint| (format!("{}.md", lint.id), lint.page())).collect();
    pages.push(("README.md".to_owned(), index()));
    pages
}

fn of(harm: Harm) -> impl Iterator<Item = &'static Lint> {
    LINTS.iter().copied().filter(move |lint| lint.harm == harm)
}

fn index() -> String {
    let mut text = "# Lints\n\nGenerated. What `ziggurat check` warns of although every layer is sound: the order of layers and routes, and what they do together. `ziggurat lints` lists the same.\n\n\
        - `ziggurat check --strict` makes warnings errors, for continuous integration.\n\
        - `ziggurat check --fix` changes the file where moving, removing or changing one value is all it takes. *fix* marks these lints.\n\
        - [`allow`](../pipeline.md#lints) says that an order is meant.\n"
        .to_owned();
    for harm in Harm::ALL {
        let _ = write!(text, "\n## {}\n\n| lint | finds | |\n| --- | --- | --- |\n", harm.title());
        for lint in of(harm) {
            let _ = writeln!(text, "| [`{0}`]({0}.md) | {1} | {2} |", lint.id, lint.summary, if lint.is_fixed { "fix" } else { "" });
        }
    }
    text
}

impl Lint {
    /// Its page.
    pub(crate) fn page(&self) -> String {
        let Self { id, summary, why, allow, wrong, right, .. } = self;
        let mut text = format!("# `{id}`\n\nGenerated. {summary}\n\n{}\n\n## Wrong\n\n", flat(why));
        if let [first, rest @ ..] = wrong.files {
            let _ = write!(text, "With the file `{first}`");
            for file in rest {
                let _ = write!(text, ", `{file}`");
            }
            text.push_str(":\n\n");
        }
        let fix = if self.is_fixed { "`ziggurat check --fix` makes this of it:\n\n" } else { "" };
        let _ = write!(
            text,
            "```json not-a-pipeline\n{}\n```\n\n## Right\n\n{fix}```json\n{}\n```\n\n## When to allow it\n\n{}\n",
            wrong.text.trim(),
            right.trim(),
            flat(allow)
        );
        text
    }
}

/// Paragraphs without the line ends and the indentation of the source.
fn flat(text: &str) -> String {
    let paragraphs = text.trim().split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}
