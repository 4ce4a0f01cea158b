//! The pages themselves: every pipeline that one shows is accepted, and every link leads somewhere.
//!
//! A ```` ```json ```` block is a pipeline file, or a part of one that [`completed`] makes whole. A block that is meant to be wrong, or is no pipeline, is
//! marked ```` ```json not-a-pipeline ````. The blocks of `docs/guide` are run by `tests/author`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use ziggurat::pipeline::{Kind, Pipeline, Registry, schema};

/// Folders with pages, besides `docs/guide`.
const FOLDERS: [&str; 5] = ["docs", "docs/deploy", "docs/layers", "docs/apps", "docs/lints"];

#[test]
fn every_pipeline_that_a_page_shows_is_accepted() {
    let registry = ziggurat::builtin();
    let validator = jsonschema::validator_for(&schema(&registry)).unwrap();
    let (mut shown, mut wrong) = (BTreeSet::new(), Vec::new());
    for page in ["README.md".into()].into_iter().chain(FOLDERS.iter().flat_map(|folder| pages(folder))) {
        for block in blocks(&read(&page), "json") {
            shown.insert(page.clone());
            if let Err(error) = accepted(&page, &block, &registry, &validator) {
                wrong.push(format!("{page}:{}: {error}", block.line));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(shown.len() > 15, "{shown:?}");
}

fn accepted(page: &str, block: &Block, registry: &Registry, validator: &jsonschema::Validator) -> Result<(), String> {
    let whole = completed(page, &block.text)?;
    // A site's settings are read by the program alone: `tests/black_box/django_guide.rs` does that.
    if !whole.contains(r#""django":"#) {
        // A finding then names the line of the page.
        let text = "\n".repeat(block.line) + &whole;
        let pipeline = Pipeline::from_text(page, &text, Path::new(""), registry, &|_| None).map_err(|report| report.to_string())?;
        if !pipeline.warnings().is_empty() {
            return Err(pipeline.warnings().to_string());
        }
    }
    let value: Value = serde_json::from_str(&whole).map_err(|error| error.to_string())?;
    let errors: Vec<String> = validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    if errors.is_empty() { Ok(()) } else { Err(format!("the schema refuses it: {}", errors.join("; "))) }
}

/// Layers and apps that examples and templates bring along are not known here: `tests/programs.rs` builds those.
#[test]
fn no_pipeline_of_the_project_raises_a_finding() {
    let mut files = vec![PathBuf::from("pipeline.json")];
    for folder in ["examples", "src/new/template"] {
        pipelines(Path::new(folder), &mut files);
    }
    let (mut found, mut checked) = (Vec::new(), 0);
    for file in files.iter().filter(|file| !read(file).contains(r#""django":"#)) {
        let read = Pipeline::from_text("pipeline.json", &read(file), &root().join(file.parent().unwrap()), &ziggurat::builtin(), &|_| None);
        let Ok(pipeline) = read else { continue };
        checked += 1;
        if !pipeline.warnings().is_empty() {
            found.push(format!("{}:\n{}", file.display(), pipeline.warnings()));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n\n"));
    assert!(checked > 6, "{checked} of {files:?}");
}

/// The pipeline files below a folder.
fn pipelines(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            pipelines(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "json" || extension == "jsonc") && read(&path).contains("\"app\":")
        {
            files.push(path);
        }
    }
}

/// A whole pipeline file of what a page shows.
///
/// | shown | becomes |
/// | --- | --- |
/// | an object with `app`, and neither `match` nor `mount` | itself |
/// | an object with other keys of a file, such as `layers` | a file with an app |
/// | an object with `match` or `mount` | a route of a file |
/// | an object with one key, the name of an app, on a page of `docs/apps` | the app of a file |
/// | an object with one key, the name of a layer | the only layer of a file |
/// | an object with one key, the name of an app | the app of a file |
/// | a list | the layers of a file |
fn completed(page: &str, text: &str) -> Result<String, String> {
    const APP: &str = r#""app": { "wsgi": "mysite.wsgi:application" }"#;
    const KEYS: [&str; 5] = ["$schema", "listen", "server", "apps", "layers"];
    let registry = ziggurat::builtin();
    let is = |kinds: &[Kind], name: &str| name == "routes" || kinds.iter().any(|kind| kind.name == name);
    let text = text.trim_end();
    let block = match serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))? {
        Value::Array(_) => return Ok(format!("{{ \"layers\": {text}, {APP} }}")),
        Value::Object(block) => block,
        _ => return Err("neither an object nor a list".to_owned()),
    };
    let keys: Vec<&str> = block.keys().map(String::as_str).collect();
    match keys[..] {
        _ if block.contains_key("match") || block.contains_key("mount") => Ok(format!("{{ \"app\": {{ \"routes\": [{text}] }} }}")),
        _ if block.contains_key("app") => Ok(text.to_owned()),
        [first, ..] if KEYS.contains(&first) => Ok(format!("{}, {APP} }}", text.strip_suffix('}').unwrap_or(text))),
        [name] if page.starts_with("docs/apps/") && is(registry.apps(), name) => Ok(format!("{{ \"app\": {text} }}")),
        [name] if is(registry.layers(), name) => Ok(format!("{{ \"layers\": [{text}], {APP} }}")),
        [name] if is(registry.apps(), name) => Ok(format!("{{ \"app\": {text} }}")),
        _ => Err("neither a pipeline nor a part of one: mark it `json not-a-pipeline`".to_owned()),
    }
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let mut all: Vec<String> = FOLDERS.iter().chain(&["docs/guide", "bench", "."]).flat_map(|folder| pages(folder)).collect();
    let examples = fs::read_dir(root().join("examples")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    all.extend(examples.map(|name| format!("examples/{name}/README.md")).filter(|page| root().join(page).is_file()));
    all.push("examples/README.md".into());
    let mut broken = Vec::new();
    for page in &all {
        for link in links(&read(page)) {
            let (path, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { PathBuf::from(page) } else { Path::new(page).parent().unwrap().join(path) };
            let found = root().join(&target).exists() && (heading.is_empty() || headings(&read(&target)).contains(heading));
            if !found {
                broken.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_script_that_a_page_names_is_there() {
    let mut missing = Vec::new();
    for page in FOLDERS.iter().chain(&["docs/guide", "bench", "."]).flat_map(|folder| pages(folder)) {
        let text = read(&page);
        let words = text.split(|letter: char| !(letter.is_alphanumeric() || "/_-.".contains(letter)));
        let scripts = words.filter(|word| word.starts_with("bench/") && word.ends_with(".py"));
        missing.extend(scripts.filter(|script| !root().join(script).is_file()).map(|script| format!("{page}: {script}")));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(page: impl AsRef<Path>) -> String {
    fs::read_to_string(root().join(page)).unwrap()
}

/// The pages of a folder, without those of folders in it.
fn pages(folder: &str) -> Vec<String> {
    let names = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut pages: Vec<String> = names.filter(|name| name.ends_with(".md")).map(|name| format!("{folder}/{name}")).collect();
    pages.sort();
    pages
}

/// A fenced block, its fences left out.
struct Block {
    /// Lines of the page above its text.
    line: usize,
    /// What stands behind the opening fence.
    info: String,
    text: String,
}

/// The fenced blocks of a page, indented ones in lists included.
fn fenced(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (at, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), open) {
            (Some(info), false) => {
                blocks.push(Block { line: at + 1, info: info.trim().to_owned(), text: String::new() });
                open = true;
            }
            (Some(_), true) => open = false,
            (None, true) => blocks.last_mut().unwrap().text.push_str(&format!("{line}\n")),
            (None, false) => {}
        }
    }
    blocks
}

fn blocks(text: &str, info: &str) -> Vec<Block> {
    fenced(text).into_iter().filter(|block| block.info == info).collect()
}

/// A page without its fenced blocks.
fn prose(text: &str) -> String {
    let mut open = false;
    let outside = |line: &&str| {
        let fence = line.trim_start().starts_with("```");
        open ^= fence;
        !open && !fence
    };
    text.lines().filter(outside).map(|line| line.to_owned() + "\n").collect()
}

/// Where the links of a page lead, those to other sites left out.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let targets = prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
    targets.filter(|target| !target.contains("://")).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn headings(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    let titles = prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let anchor = |title: String| {
        let kept = title.chars().filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter));
        kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    };
    titles.map(anchor).collect()
}
