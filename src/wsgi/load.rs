//! Imports the callable that `pkg.mod:callable` names, or finds out why that fails.

use std::path::{Path, PathBuf};

use pyo3::exceptions::PyModuleNotFoundError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};
use ziggurat_middleware::Finding;

use super::arguments::Arguments;
use super::entry_point::EntryPoint;
use super::errors::format_exception;
use super::interpreter::{PythonThread, initialize};
use super::response_head::type_name;

/// `pkg.mod:callable`, `pkg.mod:factory()`, `pkg.mod` or `egg:Distribution#name`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// The option that names it.
    key: &'static str,
    /// The module, or the distribution.
    module: &'a str,
    attribute: Option<&'a str>,
    is_factory: bool,
    is_egg: bool,
}

/// What a [`Target`] names.
pub(super) struct Found<'a, 'py> {
    /// Its name in the module.
    pub(super) name: &'a str,
    /// The object. For a factory, the factory.
    pub(super) object: Bound<'py, PyAny>,
    pub(super) is_factory: bool,
}

impl<'a> Target<'a> {
    /// A module without an attribute.
    pub(super) const fn of_module(module: &'a str) -> Self {
        Self { key: "app", module, attribute: None, is_factory: false, is_egg: false }
    }

    /// Parses the value of the option `key`, without Python.
    pub(super) fn parse(key: &'static str, text: &'a str) -> Result<Self, Finding> {
        if let Some(egg) = text.strip_prefix("egg:").filter(|_| key != "worker_exit") {
            let EntryPoint { distribution, name, .. } = EntryPoint::parse(key, egg)?;
            return Ok(Self { key, module: distribution, attribute: Some(name), is_factory: true, is_egg: true });
        }
        let (module, attribute) = text.split_once(':').map_or((text, None), |(module, attribute)| (module, Some(attribute)));
        if !is_dotted_name(module) || module.ends_with(".py") {
            let finding = Finding::new(format!("`{text}` does not name a module")).at(key);
            let hint = if module.ends_with(".py") || module.contains('/') {
                let name = module.trim_end_matches(".py").trim_start_matches("./").replace('/', ".");
                format!("write the module's name, not its file: `{name}:{}`", attribute.unwrap_or("app"))
            } else {
                "write `module:callable`, as in `mysite.wsgi:application`".to_owned()
            };
            return Err(finding.hint(hint));
        }
        let Some(attribute) = attribute else { return Ok(Self { key, module, attribute: None, is_factory: false, is_egg: false }) };
        let (name, is_factory) = attribute.strip_suffix("()").map_or((attribute, false), |name| (name, true));
        if is_dotted_name(name) {
            return Ok(Self { key, module, attribute: Some(name), is_factory, is_egg: false });
        }
        let finding = Finding::new(format!("`{attribute}` does not name a callable of `{module}`")).at(key);
        Err(finding.hint(if attribute.contains('(') {
            "write `module:factory()`, and its arguments in `args` and `kwargs`"
        } else {
            "write `module:callable`, as in `mysite.wsgi:application`"
        }))
    }
}

/// Whether this could be the name of a module.
pub(crate) fn is_dotted_name(text: &str) -> bool {
    text.split('.').all(|name| {
        !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(|c| c == '_' || c.is_alphanumeric())
    })
}

/// Starts Python if needed, and imports the app that `target` names. A factory is called with `arguments`.
pub(super) fn import(target: &str, arguments: Arguments<'_>, folders: &[PathBuf]) -> Result<Py<PyAny>, Finding> {
    initialize()?;
    let target = Target::parse("app", target)?;
    // A shutdown may come during an import.
    let _busy = PythonThread::mark();
    Python::attach(|py| {
        let found = import_object(py, &target, folders)?;
        Ok(app(&target, found, arguments)?.unbind())
    })
}

/// The object that `target` names.
pub(super) fn import_object<'a, 'py>(py: Python<'py>, target: &Target<'a>, folders: &[PathBuf]) -> Result<Found<'a, 'py>, Finding> {
    extend_path(py, folders)?;
    if let (true, Some(name)) = (target.is_egg, target.attribute) {
        let (object, is_factory) = EntryPoint { key: target.key, distribution: target.module, name }.load(py)?;
        return Ok(Found { name, object, is_factory });
    }
    let module = py.import(target.module).map_err(|error| import_failed(py, target, folders, &error))?;
    let (name, object) = find(py, &module, target)?;
    Ok(Found { name, object, is_factory: target.is_factory })
}

/// Puts `folders` in front of `sys.path`, in their order.
pub(super) fn extend_path(py: Python<'_>, folders: &[PathBuf]) -> PyResult<()> {
    let path = py.import("sys")?.getattr("path")?.cast_into::<PyList>()?;
    // As str: Python ignores a `pathlib.Path` in `sys.path`.
    for folder in folders.iter().rev().map(|folder| folder.as_os_str()) {
        if !path.contains(folder)? {
            path.insert(0, folder)?;
        }
    }
    Ok(())
}

/// The application: the object itself, or what the factory returns.
fn app<'py>(target: &Target<'_>, found: Found<'_, 'py>, arguments: Arguments<'_>) -> Result<Bound<'py, PyAny>, Finding> {
    let Found { name, object, is_factory } = found;
    let callable = if is_factory {
        let (args, kwargs) = arguments.to_python(object.py())?;
        target.make(name, &object, |factory| factory.call(args, Some(&kwargs)), "the WSGI application")?
    } else {
        object
    };
    if !callable.is_callable() {
        let found = type_name(&callable);
        return Err(Finding::new(format!("`{name}` of `{}` is `{found}`, which is not callable", target.module))
            .at(target.key)
            .hint("name the WSGI application: a function or object that takes `environ` and `start_response`"));
    }
    match misuse(&callable) {
        Ok(None) => Ok(callable),
        Ok(Some((what, hint))) => Err(Finding::new(format!("`{name}` of `{}` {what}", target.module)).at(target.key).hint(match hint {
            Some(hint) => hint.to_owned(),
            None => format!("if it is a factory, write `{}:{name}()`", target.module),
        })),
        // An object that cannot be inspected is called as it is.
        Err(_) => Ok(callable),
    }
}

/// Why a callable can be no WSGI application, if its signature shows that, and a hint if it is not about a factory.
fn misuse(callable: &Bound<'_, PyAny>) -> PyResult<Option<(&'static str, Option<&'static str>)>> {
    let inspect = callable.py().import("inspect")?;
    let is_coroutine = |object: &Bound<'_, PyAny>| inspect.call_method1("iscoroutinefunction", (object,))?.is_truthy();
    if is_coroutine(callable)? || (!callable.is_instance_of::<PyType>() && is_coroutine(&callable.getattr("__call__")?)?) {
        return Ok(Some((
            "is an ASGI application, and Ziggurat serves WSGI",
            Some("name a WSGI application, or run it under an ASGI server and pass requests on with `proxy`"),
        )));
    }
    // The signature of the object itself: a decorator may take other arguments than what it wraps.
    let options = PyDict::new(callable.py());
    options.set_item("follow_wrapped", false)?;
    let signature = inspect.call_method("signature", (callable,), Some(&options))?;
    let takes = |arguments: &[&str]| signature.call_method1("bind", PyTuple::new(callable.py(), arguments)?).map(drop);
    Ok(match (takes(&["environ", "start_response"]), takes(&[])) {
        (Ok(()), _) => None,
        (Err(_), Ok(())) => Some(("takes no arguments, and an application takes `environ` and `start_response`", None)),
        (Err(_), Err(_)) => Some((
            "cannot be called with `environ` and `start_response`",
            Some("name the WSGI application: a function or object that takes these two arguments"),
        )),
    })
}

impl Target<'_> {
    /// Whether it names only a module.
    pub(super) const fn is_module(&self) -> bool {
        self.attribute.is_none()
    }

    /// Whether it is a factory of apps.
    pub(super) const fn is_factory(&self) -> bool {
        self.is_factory
    }

    /// Calls the factory `name`. The result has to be callable.
    pub(super) fn make<'py>(
        &self,
        name: &str,
        factory: &Bound<'py, PyAny>,
        call: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
        product: &str,
    ) -> Result<Bound<'py, PyAny>, Finding> {
        let py = factory.py();
        let made = call(factory).map_err(|error| {
            let message = format!("the factory `{name}` of `{}` raised `{}`", self.module, kind(py, &error));
            Finding::new(message).at(self.key).note(traceback(py, &error))
        })?;
        if made.is_callable() {
            return Ok(made);
        }
        let message = format!("the factory `{name}` of `{}` returned `{}`, which is not callable", self.module, type_name(&made));
        Err(Finding::new(message).at(self.key).hint(format!("a factory returns {product}")))
    }

    /// The finding about a call of `name` that raised an exception.
    pub(super) fn raised(&self, py: Python<'_>, name: &str, error: &PyErr) -> Finding {
        let message = format!("`{name}` of `{}` raised `{}` when it was called", self.module, kind(py, error));
        Finding::new(message).at(self.key).note(traceback(py, error))
    }

    /// The finding about a call of `name` whose result is not callable.
    pub(super) fn returned(&self, name: &str, found: &Bound<'_, PyAny>) -> Finding {
        let message = format!("`{name}` of `{}` returned `{}`, which is not callable", self.module, type_name(found));
        Finding::new(message).at(self.key)
    }
}

/// The attribute that the target names; without a name, `application` or `app`.
fn find<'a, 'py>(py: Python<'py>, module: &Bound<'py, PyModule>, target: &Target<'a>) -> Result<(&'a str, Bound<'py, PyAny>), Finding> {
    let Some(name) = target.attribute else {
        let usual = ["application", "app"].into_iter().find_map(|name| Some((name, module.getattr_opt(name).ok()??)));
        return usual.ok_or_else(|| {
            Finding::new(format!("module `{}` has neither `application` nor `app`", target.module)).at(target.key).hint(format!(
                "name the callable: `{}:callable`{}",
                target.module,
                alike(module.as_any(), "application")
            ))
        });
    };
    let mut found = module.clone().into_any();
    for part in name.split('.') {
        found = found.getattr(part).map_err(|error| {
            let owner = if found.is(module) { format!("module `{}`", target.module) } else { format!("`{}`", type_name(&found)) };
            let finding = Finding::new(format!("{owner} has no attribute `{part}`")).at(target.key);
            let finding =
                if error.is_instance_of::<pyo3::exceptions::PyAttributeError>(py) { finding } else { finding.note(traceback(py, &error)) };
            match alike(&found, part) {
                _ if is_pythons_own(py, target.module) => {
                    finding.hint(format!("`{}` is a module of Python itself; give yours another name", target.module))
                }
                hint if hint.is_empty() => finding.hint("write `module:callable`"),
                hint => finding.hint(hint.trim_start_matches("; ").to_owned()),
            }
        })?;
    }
    Ok((name, found))
}

/// Whether the standard library has a module of this name, which hides the site's.
fn is_pythons_own(py: Python<'_>, module: &str) -> bool {
    let asked = || py.import("sys")?.getattr("stdlib_module_names")?.contains(module);
    asked().unwrap_or(false)
}

/// A hint with a similar name in `owner`.
fn alike(owner: &Bound<'_, PyAny>, wanted: &str) -> String {
    let names = owner.dir().and_then(|names| names.extract::<Vec<String>>()).unwrap_or_default();
    let callables = names.into_iter().filter(|name| {
        !name.starts_with('_')
            && owner.getattr(name.as_str()).is_ok_and(|value| value.is_callable() && !value.is_instance_of::<pyo3::types::PyType>())
    });
    let close = callables.map(|name| (strsim::jaro_winkler(&name, wanted), name)).filter(|(likeness, _)| *likeness > 0.75);
    close.max_by(|a, b| a.0.total_cmp(&b.0)).map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"))
}

/// The finding about a module that cannot be imported.
pub(super) fn import_failed(py: Python<'_>, target: &Target<'_>, folders: &[PathBuf], error: &PyErr) -> Finding {
    let module = target.module;
    let missing = error
        .is_instance_of::<PyModuleNotFoundError>(py)
        .then(|| error.value(py).getattr("name").and_then(|name| name.extract::<String>()).ok())
        .flatten();
    let finding = match &missing {
        Some(name) if is_part_of(name, module) => {
            let looked = folders.iter().map(|folder| format!("`{}`", folder.display())).collect::<Vec<_>>().join(", ");
            return Finding::new(format!("there is no module `{name}`"))
                .at(target.key)
                .hint(format!("looked in {looked} and in {}; `path` names the folders to look in", environment()));
        }
        Some(name) => {
            let top = name.split('.').next().unwrap_or(name);
            Finding::new(format!("module `{module}` cannot be imported: there is no module `{name}`"))
                .hint(format!("is `{top}` installed in {}?", environment()))
        }
        None => Finding::new(format!("module `{module}` cannot be imported: it raised `{}`", kind(py, error))),
    };
    finding.at(target.key).note(traceback(py, error))
}

/// The finding about other code that raised an exception.
pub(super) fn raised(py: Python<'_>, who: &str, error: &PyErr) -> Finding {
    Finding::new(format!("{who} raised `{}`", kind(py, error))).at("app").note(traceback(py, error))
}

/// Whether `name` is `module` or a parent package of it.
fn is_part_of(name: &str, module: &str) -> bool {
    module.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

pub(super) fn environment() -> String {
    match std::env::var_os("VIRTUAL_ENV").filter(|folder| !folder.is_empty()) {
        Some(folder) => format!("the virtual environment `{}`", Path::new(&folder).display()),
        None => match virtual_environment() {
            Some(folder) => format!("the virtual environment `{folder}`"),
            None => "the system's Python (no virtual environment is active)".to_owned(),
        },
    }
}

/// The virtual environment whose interpreter runs, if that is one: a program that is installed in a virtual environment uses it.
fn virtual_environment() -> Option<String> {
    Python::try_attach(|py| {
        let sys = py.import("sys")?;
        let (prefix, base) = (sys.getattr("prefix")?.extract::<String>()?, sys.getattr("base_prefix")?.extract::<String>()?);
        PyResult::Ok((prefix != base).then_some(prefix))
    })?
    .ok()?
}

pub(super) fn kind(py: Python<'_>, error: &PyErr) -> String {
    error.get_type(py).name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string())
}

/// The traceback without frames of the import system.
pub(super) fn traceback(py: Python<'_>, error: &PyErr) -> String {
    let text = format_exception(py, error);
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("File \"<frozen importlib"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_module_and_perhaps_a_callable_or_a_factory() {
        let target = |module, attribute, is_factory| Ok(Target { key: "app", module, attribute, is_factory, is_egg: false });
        assert_eq!(Target::parse("app", "mysite.wsgi:application"), target("mysite.wsgi", Some("application"), false));
        assert_eq!(Target::parse("app", "hello:make()"), target("hello", Some("make"), true));
        assert_eq!(Target::parse("app", "hello:site.app"), target("hello", Some("site.app"), false));
        assert_eq!(Target::parse("app", "hello"), target("hello", None, false));
    }

    #[test]
    fn what_is_no_target_is_refused_with_what_to_write() {
        for (text, hint) in [
            ("", "module:callable"),
            ("hello:", "module:callable"),
            (":app", "module:callable"),
            ("hello..x:app", "module:callable"),
            ("hello:a b", "module:callable"),
            ("hello:make(1)", "`args` and `kwargs`"),
            ("egg:hello#a#b", "`egg:Distribution#name`"),
            ("./site/hello.py:app", "`site.hello:app`"),
            ("hello.py", "`hello:app`"),
        ] {
            let finding = Target::parse("app", text).unwrap_err();
            assert!(finding.hint.as_deref().unwrap_or_default().contains(hint), "{text}: {finding}");
        }
    }
}
