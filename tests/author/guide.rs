//! The guide, done word for word: every block of docs/guide is written, run or looked up, in the order of its index.

use std::fs;
use std::path::{Path, PathBuf};

use crate::curl::curl;
use crate::support::Program;
use crate::workshop::{Workshop, without_cargo};

#[test]
fn the_guide_done_word_for_word_works() {
    let mut reader = Reader { workshop: Workshop::new("guide"), folder: PathBuf::new(), server: None };
    for chapter in chapters() {
        let text = fs::read_to_string(guide().join(&chapter)).unwrap();
        for block in blocks(&chapter, &text) {
            reader.work_through(&block);
        }
        reader.server = None;
    }
}

/// Whoever follows the guide.
struct Reader {
    workshop: Workshop,
    /// Where the shell is.
    folder: PathBuf,
    server: Option<Program>,
}

/// A fenced block.
struct Block {
    /// `docs/guide/x.md:12`, for messages.
    place: String,
    language: String,
    /// `file=src/lib.rs`: what is to be done with it.
    role: Option<(String, String)>,
    text: String,
}

impl Reader {
    fn work_through(&mut self, block: &Block) {
        let role = block.role.as_ref().map(|(role, path)| (role.as_str(), path.as_str()));
        match (block.language.as_str(), role) {
            ("rust" | "toml" | "json" | "python", Some(("file", path))) => self.write(path, &block.text),
            ("diff", Some(("file", path))) => self.change(block, path),
            ("rust", None) => self.must_have_written(block),
            ("json", None) => self.must_be_a_pipeline(block),
            ("console", None) => self.type_in(block),
            ("text", None) => {}
            (language, role) => panic!("{}: nobody tries what is marked `{language}` and {role:?}", block.place),
        }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.workshop.path(&self.folder).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Replaces what the block shows without `+` by what it shows without `-`.
    fn change(&self, block: &Block, path: &str) {
        let file = self.workshop.path(&self.folder).join(path);
        let text = fs::read_to_string(&file).unwrap();
        let without = |sign: char| -> String {
            let lines = block.text.lines().filter(|line| !line.starts_with(sign));
            lines.map(|line| line.get(1..).unwrap_or_default().to_owned() + "\n").collect()
        };
        let (old, new) = (without('+'), without('-'));
        assert_eq!(text.matches(&old).count(), 1, "{}: this stands not once in {path}:\n{old}", block.place);
        fs::write(file, text.replace(&old, &new)).unwrap();
    }

    /// What is quoted stands in a source of the crate.
    fn must_have_written(&self, block: &Block) {
        let crate_ = self.workshop.path(&self.folder);
        let sources = ["src", "tests"].iter().filter_map(|folder| fs::read_dir(crate_.join(folder)).ok()).flatten();
        let found = sources
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
            .any(|source| dedented(&source).contains(&dedented(&block.text)));
        assert!(found, "{}: this stands in no file:\n{}", block.place, block.text);
    }

    fn must_be_a_pipeline(&self, block: &Block) {
        self.write("snippet.json", &block.text);
        let is_crate = self.workshop.path(&self.folder).join("Cargo.toml").is_file();
        let program = if is_crate { "cargo run --quiet --" } else { "ziggurat" };
        let (success, report) = self.workshop.run(&self.folder, &format!("{program} show snippet.json"));
        assert!(success, "{}: {report}", block.place);
        fs::remove_file(self.workshop.path(&self.folder).join("snippet.json")).unwrap();
    }

    fn type_in(&mut self, block: &Block) {
        for (command, expected) in commands(&block.text) {
            let output = self.enter(&block.place, command, expected.lines().any(|line| line.starts_with("error")));
            assert!(agrees(&output, &expected), "{}: `{command}` prints:\n{output}\nand the guide says:\n{expected}", block.place);
        }
    }

    /// Runs a command, and gives what it prints.
    fn enter(&mut self, place: &str, command: &str, may_fail: bool) -> String {
        if let Some(folder) = command.strip_prefix("cd ") {
            self.folder.push(folder);
            assert!(self.workshop.path(&self.folder).is_dir(), "{place}: no folder {folder}");
            return String::new();
        }
        if ["cargo run", "ziggurat run"].contains(&command) {
            // The one before has been ended by Ctrl-C.
            self.server = None;
            let program = self.workshop.serve(&self.folder, command);
            let log = without_cargo(&program.log()).replace(&program.address().to_string(), "127.0.0.1:8000");
            self.server = Some(program);
            return log;
        }
        if command.starts_with("curl ") {
            let server = self.server.as_ref().unwrap_or_else(|| panic!("{place}: nothing serves"));
            return curl(server, command);
        }
        let (success, output) = self.workshop.run(&self.folder, command);
        assert!(success || may_fail, "{place}: `{command}` fails:\n{output}");
        output
    }
}

fn guide() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide")
}

/// The chapters in the order of the index, which names all of them.
fn chapters() -> Vec<String> {
    let index = fs::read_to_string(guide().join("README.md")).unwrap();
    let linked = |line: &str| Some(line.split_once("](")?.1.split_once(')')?.0.to_owned());
    let chapters: Vec<String> =
        index.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit())).filter_map(linked).collect();
    let mut files: Vec<String> = fs::read_dir(guide()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.retain(|file| file != "README.md");
    files.sort();
    let mut named = chapters.clone();
    named.sort();
    assert_eq!(named, files, "the index names every chapter, and no other");
    chapters
}

fn blocks(chapter: &str, text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (at, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), open) {
            (Some(info), false) => {
                let (language, role) = info.split_once(' ').unwrap_or((info, ""));
                let role = role.split_once('=').map(|(role, path)| (role.to_owned(), path.to_owned()));
                let place = format!("docs/guide/{chapter}:{}", at + 1);
                blocks.push(Block { place, language: language.to_owned(), role, text: String::new() });
                open = true;
            }
            (Some(_), true) => open = false,
            (None, true) => blocks.last_mut().unwrap().text.push_str(&format!("{line}\n")),
            (None, false) => {}
        }
    }
    assert!(!open, "docs/guide/{chapter}: a block has no end");
    blocks
}

/// Commands, each with the output that the guide shows.
fn commands(text: &str) -> Vec<(&str, String)> {
    let mut commands: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command, String::new())),
            (None, Some((_, output))) => output.push_str(&format!("{line}\n")),
            (None, None) => panic!("a block of commands begins with `$ `: {text}"),
        }
    }
    commands
}

/// Whether a command printed what the guide shows: nothing shown agrees with all, and three dots stand for anything.
fn agrees(output: &str, expected: &str) -> bool {
    let mut pieces = expected.trim().split("...").map(str::trim);
    let Some(mut rest) = output.trim().strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let mut last = None;
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
        last = Some(piece);
    }
    expected.trim().is_empty() || rest.trim().is_empty() || last == Some("")
}

fn dedented(text: &str) -> String {
    text.lines().map(|line| line.trim_start().to_owned() + "\n").collect()
}
