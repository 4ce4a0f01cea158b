//! `docs/explain.md`, word for word: its file is written, its commands are run, and what they print stands below them.
//!
//! `ZIGGURAT_BLESS=1` writes what they print into the page.

use std::fs;
use std::path::Path;

use crate::support::{command, folder_of};

#[test]
fn the_page_shows_what_explain_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/explain.md");
    let page = fs::read_to_string(&path).unwrap();
    let folder = folder_of(&[("staticfiles/site.css", "body { color: black }\n")]);
    let mut blocks = page.split("```");
    let mut rewritten = blocks.next().unwrap().to_owned();
    let mut questions = 0;
    while let (Some(block), Some(text)) = (blocks.next(), blocks.next()) {
        let (language, body) = block.split_once('\n').unwrap();
        let body = match language {
            "json file=pipeline.json" => {
                fs::write(folder.path().join("pipeline.json"), body).unwrap();
                body.to_owned()
            }
            "console" => {
                questions += 1;
                let line = body.lines().next().unwrap();
                format!("{line}\n{}", printed(folder.path(), line))
            }
            other => panic!("`{other}` is no block of this page"),
        };
        rewritten.push_str(&format!("```{language}\n{body}```{text}"));
    }
    assert!(questions >= 10, "{questions}");
    if std::env::var_os("ZIGGURAT_BLESS").is_some() {
        fs::write(&path, rewritten).unwrap();
    } else {
        assert_same(&page, &rewritten);
    }
}

fn printed(folder: &Path, line: &str) -> String {
    let words = shlex::split(line.strip_prefix("$ ziggurat ").unwrap()).unwrap();
    let output = command(folder).args(words).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let text = text.replace(&format!("{}/", folder.display()), "").replace(&format!("{}/", folder.canonicalize().unwrap().display()), "");
    // When the file was written, and which version that is, differs.
    let stable = text.lines().filter(|line| !line.contains("sets `etag") && !line.contains("last-modified"));
    stable.map(|line| format!("{line}\n")).collect()
}

/// Fails at the first line that differs.
fn assert_same(page: &str, printed: &str) {
    for (number, (shown, real)) in page.lines().zip(printed.lines()).enumerate() {
        assert_eq!(shown, real, "docs/explain.md:{}", number + 1);
    }
    assert_eq!(page.lines().count(), printed.lines().count());
}
