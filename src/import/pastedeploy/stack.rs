//! Apps and filters of Paste Deploy as a stack of the pipeline file: filters are layers, and a map of paths is a table of routes.

use serde_json::{Map, Value as Json, json};

use super::super::NotImported;
use super::super::remarks::Treatment::{Approximated, Dropped, Taken};
use super::super::value::escaped;
use super::loader::{Factory, Loader, Part, Protocol, Target};
use super::native::native;
use super::urlmap;

/// Python layers over an app.
pub(super) struct Stack {
    pub(super) layers: Vec<Map<String, Json>>,
    pub(super) app: App,
}

/// What stands at the bottom.
pub(super) enum App {
    Wsgi(Map<String, Json>),
    Routes(Vec<Route>),
}

/// A stack with its `match` and `mount`.
pub(super) struct Route {
    pub(super) condition: Map<String, Json>,
    pub(super) stack: Stack,
}

impl Stack {
    /// The stack of a part. `is_inside` says whether a Python layer stands above it.
    pub(super) fn of(loader: &mut Loader, part: Part, is_inside: bool) -> Result<Self, NotImported> {
        match part {
            Part::Filtered(filters, below) => {
                let mut layers: Vec<Map<String, Json>> = filters.into_iter().flat_map(|filter| of_filter(loader, filter)).collect();
                let below = Self::of(loader, *below, is_inside || !layers.is_empty())?;
                layers.extend(below.layers);
                Ok(Self { layers, app: below.app })
            }
            Part::Factory(factory) => {
                let app = match urlmap::is_urlmap(&factory) {
                    true => App::Routes(urlmap::routes(loader, &factory, is_inside)?),
                    false => App::Wsgi(of_app(loader, &factory)),
                };
                Ok(Self { layers: Vec::new(), app })
            }
        }
    }

    /// Gives the options of processes to the part that starts them. Those that it cannot have are returned.
    pub(super) fn run_by(&mut self, options: &Map<String, Json>) -> Vec<String> {
        let has_several = self.app.count() != 1;
        if let (Some(layer), true) = (self.layers.first_mut(), has_several) {
            let (ours, rest): (Vec<_>, Vec<_>) =
                options.iter().partition(|(name, _)| matches!(name.as_str(), "workers" | "threads" | "path"));
            layer.extend(ours.into_iter().map(|(name, value)| (name.clone(), value.clone())));
            return rest.into_iter().map(|(name, _)| name.clone()).collect();
        }
        match &mut self.app {
            App::Wsgi(wsgi) => wsgi.extend(options.clone()),
            App::Routes(routes) => return routes.iter_mut().flat_map(|route| route.stack.run_by(options)).collect(),
        }
        Vec::new()
    }

    /// The values of `layers` and `app`.
    pub(super) fn into_json(self) -> (Vec<Json>, Json) {
        let layers = self.layers.into_iter().map(|layer| json!({ "wsgi": layer })).collect();
        let app = match self.app {
            App::Wsgi(wsgi) => json!({ "wsgi": wsgi }),
            App::Routes(routes) => json!({ "routes": routes.into_iter().map(Route::into_json).collect::<Vec<_>>() }),
        };
        (layers, app)
    }
}

impl App {
    /// How many `wsgi` apps there are.
    fn count(&self) -> usize {
        match self {
            Self::Wsgi(_) => 1,
            Self::Routes(routes) => routes.iter().map(|route| route.stack.app.count()).sum(),
        }
    }
}

impl Route {
    fn into_json(self) -> Json {
        let (layers, app) = self.stack.into_json();
        let mut route = self.condition;
        if !layers.is_empty() {
            route.insert("layers".into(), layers.into());
        }
        route.insert("app".into(), app);
        route.into()
    }
}

/// The layers of a filter, which may have others around it.
fn of_filter(loader: &mut Loader, part: Part) -> Vec<Map<String, Json>> {
    match part {
        Part::Filtered(outer, inner) => outer.into_iter().chain([*inner]).flat_map(|filter| of_filter(loader, filter)).collect(),
        Part::Factory(factory) => {
            let name = name(&factory);
            let note = note("layer `wsgi`", &name, &factory);
            loader.remarks.once(&factory.place, &factory.theirs, Taken, note);
            vec![called("middleware", name, loader, &factory)]
        }
    }
}

fn of_app(loader: &mut Loader, factory: &Factory) -> Map<String, Json> {
    if let (Protocol::Composite, Some((file, section))) = (factory.protocol, &factory.section) {
        let ini = &loader.files[*file];
        let section = section.split_once(':').map_or("main", |(_, name)| name.trim());
        let app = json!({
            "app": "paste.deploy:loadapp()",
            "args": [escaped(&format!("config:{}", ini.path))],
            "kwargs": { "name": escaped(section), "global_conf": dictionary(&factory.global) },
        });
        let note =
            "app `paste.deploy:loadapp()`: this factory loads other sections, so Paste Deploy reads the file when a worker starts: keep it";
        loader.remarks.once(&factory.place, &factory.theirs, Approximated, note);
        for item in &factory.local {
            loader.remarks.once(
                &item.place,
                &format!("{} = {}", item.name, item.value),
                Approximated,
                "Paste Deploy reads it when a worker starts",
            );
        }
        loader.leaves_sections = true;
        return if let Json::Object(app) = app { app } else { Map::new() };
    }
    let name = name(factory);
    let note = note("`app`", &name, factory);
    loader.remarks.once(&factory.place, &factory.theirs, Taken, note);
    called("app", name, loader, factory)
}

/// The name of the code, as `wsgi` writes it.
fn name(factory: &Factory) -> String {
    match (&factory.target, factory.protocol) {
        (Target::Egg(name), _) => format!("egg:{name}"),
        (Target::Object(name), Protocol::FilterApp) => name.clone(),
        (Target::Object(name), _) => format!("{name}()"),
    }
}

fn note(what: &str, name: &str, factory: &Factory) -> String {
    let native = native(&factory.target).map_or(String::new(), |native| format!("; could be native: {native}"));
    format!("{what}: {}{native}", Json::from(name))
}

/// Options of `wsgi`: the code, the global configuration as its argument, and its own as keywords.
fn called(key: &str, name: String, loader: &mut Loader, factory: &Factory) -> Map<String, Json> {
    let mut options = Map::from_iter([(key.to_owned(), Json::from(escaped(&name)))]);
    options.insert("args".into(), json!([dictionary(&factory.global)]));
    let mut keywords = Map::new();
    for item in &factory.local {
        if matches!(factory.target, Target::Object(_)) && item.name.starts_with("paste.") && item.name.ends_with("_factory") {
            loader.remarks.once(&item.place, &format!("{} = {}", item.name, item.value), Dropped, "the section names its code already");
            continue;
        }
        loader.remarks.once(&item.place, &format!("{} = ...", item.name), Taken, "`kwargs`");
        keywords.insert(item.name.clone(), escaped(&item.value).into());
    }
    if !keywords.is_empty() {
        options.insert("kwargs".into(), keywords.into());
    }
    options
}

fn dictionary(values: &[(String, String)]) -> Json {
    values.iter().map(|(name, value)| (name.clone(), Json::from(escaped(value)))).collect::<Map<_, _>>().into()
}
