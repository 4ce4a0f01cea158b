//! A file as lints look at it: the ways that requests can take, from the outermost layer to an app.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ziggurat_middleware::units::Duration;
use ziggurat_middleware::{Behavior, Effect, Effects, ServedFolder};

use crate::apps::matching::{Condition, Match};
use crate::pipeline::fix::Fix;
use crate::pipeline::guards;
use crate::pipeline::model::{App, File, ListenEntry, Part, Route, Routes, Stack, Typed};
use crate::pipeline::secrets::Secrets;
use crate::pipeline::tree::Span;
use crate::server::{Address, Protocol};

/// A bound on the ways that lints look at. Routes within named apps within routes multiply.
const MOST_WAYS: usize = 4096;

/// A whole file.
pub(super) struct Site<'a> {
    pub(super) file: &'a File,
    pub(super) secrets: &'a Secrets,
    pub(super) base: &'a Path,
    pub(super) ways: Vec<Way<'a>>,
    /// The routes that no way leads to, each with the one that leaves nothing to it.
    pub(super) never_asked: Vec<(&'a Route, &'a Route)>,
    /// Whether the ways are all that there are.
    pub(super) is_whole: bool,
}

/// A folder that clients can read.
pub(super) struct Served<'s> {
    pub(super) stage: &'s Stage<'s>,
    /// Its links followed.
    pub(super) root: PathBuf,
    folder: &'s ServedFolder,
}

impl Served<'_> {
    /// Whether it serves this file, or what is in this folder.
    pub(super) fn shows(&self, path: &Path) -> bool {
        let is_hidden = |path: &Path| path.iter().any(|name| name.as_encoded_bytes().starts_with(b"."));
        path.strip_prefix(&self.root).is_ok_and(|inside| self.folder.dotfiles || !is_hidden(inside))
    }

    /// The path of the URL that it serves the folder at.
    pub(super) fn url(&self) -> String {
        format!("{}{}", self.stage.mount, self.folder.at.trim_end_matches('/'))
    }

    /// The path of the URL of a file or a folder in it.
    pub(super) fn url_of(&self, path: &Path) -> String {
        format!("{}/{}", self.url(), path.strip_prefix(&self.root).unwrap_or(path).display())
    }
}

/// What one request passes.
#[derive(Clone, Default)]
pub(super) struct Way<'a> {
    /// The layers, outermost first, and then the app.
    pub(super) stages: Vec<Stage<'a>>,
    /// The routes, outermost first.
    pub(super) routes: Vec<Passed<'a>>,
    /// The prefixes that the routes so far have taken off the path.
    mount: String,
}

/// A layer or an app on a way.
#[derive(Clone)]
pub(super) struct Stage<'a> {
    pub(super) part: &'a Part,
    pub(super) effects: Rc<Effects>,
    /// The stack that it is part of.
    stack: &'a Stack,
    /// How many routes are above it.
    pub(super) routes: usize,
    /// What routes above have taken off the path.
    pub(super) mount: String,
    /// Whether the file writes it, and not a composite app such as `django`.
    pub(super) is_written: bool,
    pub(super) is_app: bool,
}

/// A route on a way.
#[derive(Clone, Copy)]
pub(super) struct Passed<'a> {
    pub(super) route: &'a Route,
    pub(super) table: &'a Routes,
    pub(super) nth: usize,
    /// How many layers are above it.
    pub(super) stages: usize,
    pub(super) is_written: bool,
}

impl<'a> Site<'a> {
    pub(super) fn new(file: &'a File, secrets: &'a Secrets, base: &'a Path) -> Self {
        let mut walk = Walk { file, secrets, effects: HashMap::new(), ways: Vec::new(), entered: HashSet::new(), closed: Vec::new() };
        walk.stack(&file.stack, Way::default(), true);
        let is_whole = walk.ways.len() < MOST_WAYS;
        walk.closed.retain(|(route, _)| is_whole && !walk.entered.contains(&std::ptr::from_ref(*route)));
        Self { file, secrets, base, ways: walk.ways, never_asked: walk.closed, is_whole }
    }

    /// The pairs of stages that one request meets, the upper one first.
    pub(super) fn pairs<'s>(
        &'s self,
        upper: impl Fn(&Stage<'a>) -> bool + 's,
        lower: impl Fn(&Stage<'a>) -> bool + 's,
    ) -> impl Iterator<Item = (&'s Stage<'a>, &'s Stage<'a>)> {
        let mut found = Vec::new();
        for way in &self.ways {
            for (at, above) in way.stages.iter().enumerate().filter(|(_, stage)| upper(stage)) {
                found.extend(way.stages[at + 1..].iter().filter(|stage| lower(stage)).map(|below| (above, below)));
            }
        }
        found.into_iter()
    }

    /// The stages of all ways, each layer and app once.
    pub(super) fn stages(&self) -> impl Iterator<Item = &Stage<'a>> {
        let mut seen = HashSet::new();
        self.ways.iter().flat_map(|way| &way.stages).filter(move |stage| seen.insert(std::ptr::from_ref(stage.part)))
    }

    /// Removes a layer that another one above makes needless, if every request that meets it has met that.
    pub(super) fn removed_below(&self, lower: &Stage<'a>, upper: &Stage<'a>) -> Option<Fix> {
        let at = |way: &Way<'a>, stage: &Stage<'a>| way.first(|own| std::ptr::eq(own.part, stage.part));
        let has_met = |way: &Way<'a>| at(way, lower).is_none_or(|below| at(way, upper).is_some_and(|above| above < below));
        let is_possible = lower.is_written && !lower.is_app && self.is_whole && self.ways.iter().all(has_met);
        is_possible.then(|| Fix::Remove { item: lower.span() })
    }

    /// The folder or file that a path in the file names, with its links followed; `None` if it is not there.
    pub(super) fn real(&self, path: &Path) -> Option<PathBuf> {
        let path = self.base.join(path);
        if path.as_os_str().is_empty() { Path::new(".").canonicalize().ok() } else { path.canonicalize().ok() }
    }

    /// As [`Site::real`], of a file that need not be there yet.
    pub(super) fn real_file(&self, path: &Path) -> Option<PathBuf> {
        self.real(path).or_else(|| Some(self.real(path.parent()?)?.join(path.file_name()?)))
    }

    /// The folders that clients can read, where they are there.
    pub(super) fn served_folders(&self) -> Vec<Served<'_>> {
        let folders = self.stages().flat_map(|stage| {
            stage.effects.iter().filter_map(move |effect| match effect {
                Effect::ServesFolder(folder) => Some(Served { stage, root: self.real(&folder.root)?, folder }),
                _ => None,
            })
        });
        folders.collect()
    }

    /// What the stages use, by `used`, that clients can read in a served folder: the stage, the path as written, and the stage that serves it.
    pub(super) fn published<'s>(&'s self, used: impl Fn(&'s Effect) -> Option<&'s Path>) -> Vec<(&'s Stage<'a>, &'s Path, &'s Stage<'s>)> {
        let folders = self.served_folders();
        let stages = self.stages().flat_map(|stage| stage.effects.iter().map(move |effect| (stage, effect)));
        let found = stages.filter_map(|(stage, effect)| {
            let path = used(effect)?;
            let real = self.real_file(path)?;
            let folder = folders.iter().find(|folder| folder.shows(&real))?;
            Some((stage, path, folder.stage))
        });
        found.collect()
    }

    /// The addresses that other machines can connect to, as far as the file says.
    pub(super) fn public(&self) -> impl Iterator<Item = &'a ListenEntry> {
        self.file.listen.iter().filter(|entry| is_public(&entry.listen.address) && entry.listen.protocol == Protocol::Http)
    }

    /// The addresses where front servers connect. These say who their client is, and by which scheme it comes.
    pub(super) fn gateways(&self) -> impl Iterator<Item = &'a ListenEntry> {
        self.file.listen.iter().filter(|entry| entry.listen.protocol != Protocol::Http)
    }

    /// An address that other machines can connect to without TLS.
    pub(super) fn in_clear_text(&self) -> Option<&'a ListenEntry> {
        self.public().find(|entry| entry.tls.is_none())
    }
}

pub(super) fn is_public(address: &Address) -> bool {
    match address {
        Address::Tcp { host: None, .. } => true,
        Address::Tcp { host: Some(host), .. } => match host.parse::<std::net::IpAddr>() {
            Ok(address) => !address.is_loopback(),
            Err(_) => !host.eq_ignore_ascii_case("localhost"),
        },
        _ => false,
    }
}

impl<'a> Way<'a> {
    /// The stages above this one.
    pub(super) fn above(&self, nth: usize) -> &[Stage<'a>] {
        &self.stages[..nth]
    }

    /// The index of the outermost stage that is like this.
    pub(super) fn first(&self, is: impl Fn(&Stage<'a>) -> bool) -> Option<usize> {
        self.stages.iter().position(is)
    }

    /// Whether every request on it comes by https.
    pub(super) fn is_https_only(&self) -> bool {
        let takes_http = |passed: &Passed<'_>| {
            let mount = passed.route.mount.as_ref().map(|mount| &mount.value);
            let by_http = passed.route.condition.as_ref().map_or_else(Match::default, |keys| keys.value.clone()).by_http();
            let mut before = passed.before();
            before.any(|earlier| earlier.asked().covers(&Condition::new(Some(&by_http), mount)))
        };
        self.conditions().any(Match::asks_for_https) || self.routes.iter().any(takes_http)
    }

    /// Whether every request on it comes by http.
    pub(super) fn asks_for_http(&self) -> bool {
        self.conditions().any(Match::asks_for_http)
    }

    /// Whether only some clients come to its end: its routes and its layers keep strangers out.
    pub(super) fn asks_who(&self) -> bool {
        self.routes.iter().any(|passed| guards::is_for_some(&passed.table.routes, passed.nth)) || self.stages.iter().any(Stage::asks_who)
    }

    /// The time that its routes give the app: the innermost one counts.
    pub(super) fn deadline(&self) -> Option<&'a Typed<Duration>> {
        self.routes.iter().rev().find_map(|passed| passed.route.deadline.as_ref())
    }

    /// The first of its routes whose requests are none of these, as far as the request is the same at this stage as it was there.
    pub(super) fn excluding(&self, asked: &Condition<'_>, at: usize) -> Option<&'a Route> {
        self.unchanged(at).find(|route| route.asked().excludes(asked))
    }

    /// The route that leaves no request on this way to the next one: one above that takes other requests, or one before it in its table that takes all of them.
    fn closes(&self, next: Passed<'a>) -> Option<&'a Route> {
        let at = self.stages.len();
        self.excluding(&next.route.asked(), at)
            .or_else(|| self.unchanged(at).find_map(|above| next.before().find(|route| route.asked().covers(&above.asked()))))
    }

    /// Its routes above the stage with this index, from which requests arrive there as they were.
    fn unchanged(&self, at: usize) -> impl Iterator<Item = &'a Route> {
        let routes = self.routes.iter().enumerate().filter(move |(depth, passed)| {
            let is_mounted = self.routes[*depth..].iter().any(|passed| passed.route.mount.is_some());
            !is_mounted && self.stages.get(passed.stages..at).is_some_and(|between| !between.iter().any(Stage::changes_requests))
        });
        routes.map(|(_, passed)| passed.route)
    }

    fn conditions(&self) -> impl Iterator<Item = &'a Match> {
        self.routes.iter().filter_map(|passed| Some(&passed.route.condition.as_ref()?.value))
    }
}

impl<'a> Passed<'a> {
    /// The routes before it in its table that always take requests.
    fn before(&self) -> impl Iterator<Item = &'a Route> + use<'a> {
        self.table.routes[..self.nth].iter().filter(|route| route.is_enabled() && route.enabled.is_none())
    }
}

impl Stage<'_> {
    pub(super) fn has(&self, behavior: Behavior) -> bool {
        self.part.kind.has(behavior)
    }

    pub(super) fn does(&self, effect: &Effect) -> bool {
        self.effects.iter().any(|own| own == effect)
    }

    pub(super) fn name(&self) -> &'static str {
        self.part.kind.name
    }

    /// Whether it is of the same kind as another one, with the same options.
    pub(super) fn has_options_of(&self, other: &Self) -> bool {
        self.name() == other.name() && self.part.options.is_like(&other.part.options)
    }

    pub(super) fn span(&self) -> Span {
        self.part.options.span.clone()
    }

    /// Whether it is a layer that keeps strangers out.
    pub(super) fn asks_who(&self) -> bool {
        !self.is_app && guards::asks_who(self.part, &self.effects)
    }

    /// Whether it is a layer that ends requests which it does not like.
    pub(super) fn refuses(&self) -> bool {
        !self.is_app && self.effects.iter().any(|effect| matches!(effect, Effect::RefusesWith(_)))
    }

    /// Whether a condition that holds above it may not hold below it.
    fn changes_requests(&self) -> bool {
        let changes = [Behavior::TrustsProxies, Behavior::RewritesPath, Behavior::RunsPython];
        let sets = |effect: &Effect| matches!(effect, Effect::SetsRequestHeader(_) | Effect::RemovesRequestHeader(_));
        !self.is_app && (changes.iter().any(|change| self.has(*change)) || self.effects.iter().any(sets))
    }

    /// Moves this layer above another one of the same list.
    pub(super) fn moved_above(&self, other: &Self) -> Option<Fix> {
        let is_possible = std::ptr::eq(self.stack, other.stack) && self.is_written && !self.is_app && !other.is_app;
        is_possible.then(|| Fix::MoveAbove { layer: self.span(), other: other.span() })
    }

    /// Moves this layer below another one of the same list.
    pub(super) fn moved_below(&self, other: &Self) -> Option<Fix> {
        let is_possible = std::ptr::eq(self.stack, other.stack) && self.is_written && !self.is_app && !other.is_app;
        is_possible.then(|| Fix::MoveBelow { layer: self.span(), other: other.span() })
    }
}

struct Walk<'a, 's> {
    file: &'a File,
    secrets: &'s Secrets,
    /// By the address of the part, which does not move.
    effects: HashMap<*const Part, Rc<Effects>>,
    ways: Vec<Way<'a>>,
    /// The routes that some way leads to.
    entered: HashSet<*const Route>,
    /// Those that some way does not lead to, each with the one that leaves nothing to it.
    closed: Vec<(&'a Route, &'a Route)>,
}

impl<'a> Walk<'a, '_> {
    fn stack(&mut self, stack: &'a Stack, mut way: Way<'a>, is_written: bool) {
        for layer in &stack.layers {
            let stage = self.stage(layer, stack, &way, is_written, false);
            way.stages.push(stage);
        }
        if self.ways.len() >= MOST_WAYS {
            return;
        }
        match &stack.app {
            App::Part(app) => {
                let stage = self.stage(app, stack, &way, is_written, true);
                way.stages.push(stage);
                self.ways.push(way);
            }
            App::Named(id, _) => {
                let file = self.file;
                self.stack(&file.apps[*id].stack, way, is_written);
            }
            App::Routes(table) => {
                let is_written = is_written && table.composite.is_none();
                for (nth, route) in table.routes.iter().enumerate() {
                    let passed = Passed { route, table, nth, stages: way.stages.len(), is_written };
                    if !route.is_enabled() {
                        continue;
                    }
                    match way.closes(passed) {
                        Some(by) if is_written => self.closed.push((route, by)),
                        Some(_) => {}
                        None => {
                            self.entered.insert(route);
                            let mut way = way.clone();
                            way.routes.push(passed);
                            way.mount.push_str(route.mount.as_ref().map_or("", |mount| mount.value.as_str()));
                            self.stack(&route.stack, way, is_written);
                        }
                    }
                }
            }
        }
    }

    fn stage(&mut self, part: &'a Part, stack: &'a Stack, way: &Way<'a>, is_written: bool, is_app: bool) -> Stage<'a> {
        let effects = self.effects.entry(part).or_insert_with(|| Rc::new(part.kind.effects(&part.options, self.secrets)));
        Stage { part, effects: Rc::clone(effects), stack, routes: way.routes.len(), mount: way.mount.clone(), is_written, is_app }
    }
}
