//! The files of Paste Deploy, in the syntax of Python's `configparser`: sections, values of several lines, and `%(name)s`.

use super::super::remarks::Place;

/// The most options of a file.
const MOST_OPTIONS: usize = 2_000;

/// How deep a value may refer to others, as in `configparser`.
const DEEPEST: usize = 10;

/// The most references that are filled in for one value.
const MOST_REFERENCES: usize = 1_000;

/// A bound on a value that is filled in.
const LONGEST: usize = 64 * 1024;

/// A file.
#[derive(Debug)]
pub(super) struct Ini {
    /// As it is named in reports.
    pub(super) name: String,
    /// `here` and `__file__`.
    pub(super) here: String,
    pub(super) path: String,
    /// Values from outside, which fill in what the file does not set.
    pub(super) known: Vec<(String, String)>,
    /// The section `[DEFAULT]`.
    pub(super) defaults: Vec<Setting>,
    pub(super) sections: Vec<Section>,
}

/// A section with its options.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) settings: Vec<Setting>,
}

/// An option, before anything is filled in.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) value: String,
}

impl Ini {
    /// Parses a file. The errors are those at which `configparser` gives up, too.
    pub(super) fn parse(name: &str, path: &str, text: &str) -> Result<Self, String> {
        let here = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let here = if here.is_empty() { "/" } else { here }.to_owned();
        let (name_of_file, path) = (name.to_owned(), path.to_owned());
        let mut ini = Self { name: name_of_file, here, path, known: Vec::new(), defaults: Vec::new(), sections: Vec::new() };
        let mut current = Current::Nothing;
        let mut indent = 0;
        let mut count = 0;
        // Whether an option may go on in this line.
        let mut is_open = false;
        for (at, line) in text.lines().enumerate() {
            let error = |what: &str| format!("{name}:{}: {what}", at + 1);
            let written = line.trim();
            if written.starts_with(['#', ';']) {
                continue;
            }
            let inner = line.len() - line.trim_start().len();
            if written.is_empty() || (is_open && inner > indent) {
                if let Some(setting) = ini.settings(&current).filter(|_| is_open).and_then(|settings| settings.last_mut()) {
                    setting.value.push('\n');
                    setting.value.push_str(written);
                }
                continue;
            }
            indent = inner;
            if let Some(header) = written.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(header, _)| header) {
                is_open = false;
                current = match header {
                    "DEFAULT" => Current::Defaults,
                    header if ini.sections.iter().any(|section| section.name == header) => {
                        return Err(error(&format!("the section `[{header}]` is there twice")));
                    }
                    header => {
                        ini.sections.push(Section { line: at + 1, name: header.to_owned(), settings: Vec::new() });
                        Current::Section
                    }
                };
                continue;
            }
            let Some(delimiter) = written.find(['=', ':']) else {
                return Err(error(&format!("`{}` is no `name = value`", super::shown(written))));
            };
            let option = written[..delimiter].trim_end();
            let value = written[delimiter + 1..].trim_start();
            let Some(settings) = ini.settings(&current) else { return Err(error("this line stands before the first section")) };
            if option.is_empty() || settings.iter().any(|known| known.name == option) {
                return Err(error(&format!("the option `{option}` is there twice in its section, or has no name")));
            }
            settings.push(Setting { line: at + 1, name: option.to_owned(), value: value.to_owned() });
            is_open = true;
            count += 1;
            if count > MOST_OPTIONS {
                return Err(error("there are more than 2,000 options"));
            }
        }
        let all = ini.sections.iter_mut().flat_map(|section| &mut section.settings).chain(&mut ini.defaults);
        for setting in all {
            setting.value.truncate(setting.value.trim_end().len());
        }
        Ok(ini)
    }

    fn settings(&mut self, current: &Current) -> Option<&mut Vec<Setting>> {
        match current {
            Current::Nothing => None,
            Current::Defaults => Some(&mut self.defaults),
            Current::Section => self.sections.last_mut().map(|section| &mut section.settings),
        }
    }

    /// Where a line stands.
    pub(super) fn place(&self, line: usize) -> Place {
        Place::new(&self.name, line)
    }

    /// A value of a section, or of the defaults, with its `%(name)s` filled in.
    pub(super) fn filled(&self, section: Option<&Section>, setting: &Setting) -> Result<String, String> {
        let mut filling = Filling { ini: self, section, whole: String::new(), references: 0 };
        let filled = filling.fill(&setting.value, 0).map_err(|error| format!("{}: `{}`: {error}", self.place(setting.line), setting.name));
        filled.map(|()| filling.whole)
    }
}

/// What options are added to.
enum Current {
    Nothing,
    Defaults,
    Section,
}

/// A value that is being filled in.
struct Filling<'a> {
    ini: &'a Ini,
    section: Option<&'a Section>,
    whole: String,
    references: usize,
}

impl Filling<'_> {
    fn fill(&mut self, text: &str, depth: usize) -> Result<(), String> {
        if depth > DEEPEST {
            return Err("`%(...)s` is nested more than 10 levels deep".to_owned());
        }
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            self.whole.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                self.whole.push('%');
                rest = after;
                continue;
            }
            let reference = after.strip_prefix('(').and_then(|inside| inside.split_once(")s"));
            let (name, after) = reference.filter(|(name, _)| !name.contains(')')).ok_or("a `%` is followed by `%` or `(name)s`")?;
            self.references += 1;
            if self.references > MOST_REFERENCES || self.whole.len() > LONGEST {
                return Err("its references are too many, or its value too long".to_owned());
            }
            let value = self.value(name).ok_or_else(|| format!("`%({})s` is set nowhere", super::shown(name)))?;
            if value.contains('%') {
                self.fill(&value, depth + 1)?
            } else {
                self.whole.push_str(&value)
            }
            rest = after;
        }
        self.whole.push_str(rest);
        Ok(())
    }

    fn value(&self, name: &str) -> Option<String> {
        let of = |settings: &[Setting]| settings.iter().find(|setting| setting.name == name).map(|setting| setting.value.clone());
        self.section
            .and_then(|section| of(&section.settings))
            .or_else(|| of(&self.ini.defaults))
            .or_else(|| match name {
                "here" => Some(self.ini.here.replace('%', "%%")),
                "__file__" => Some(self.ini.path.replace('%', "%%")),
                _ => None,
            })
            .or_else(|| self.ini.known.iter().find(|(known, _)| known == name).map(|(_, value)| value.replace('%', "%%")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[DEFAULT]\nname: Site\n# a comment\n[app:main]\nuse = egg:Site#main\n  ; in a value\nlist =\n    a\n\n    b %(name)s\nat = %(here)s/%(list)s 100%%\n";

    #[test]
    fn values_are_read_and_filled_in_as_configparser_does() {
        let ini = Ini::parse("site.ini", "/srv/site.ini", TEXT).unwrap();
        let section = &ini.sections[0];
        assert_eq!((section.line, section.name.as_str()), (4, "app:main"));
        let filled: Vec<String> = section.settings.iter().map(|setting| ini.filled(Some(section), setting).unwrap()).collect();
        assert_eq!(filled, ["egg:Site#main", "\na\n\nb Site", "/srv/\na\n\nb Site 100%"]);
    }

    #[test]
    fn what_configparser_refuses_is_refused_with_its_line() {
        for (text, expected) in [
            ("a = b\n", "x.ini:1: this line stands before the first section"),
            ("[a]\nb\n", "x.ini:2: `b` is no `name = value`"),
            ("[a]\n[a]\n", "x.ini:2: the section `[a]` is there twice"),
            ("[a]\nb = 1\nb = 2\n", "x.ini:3: the option `b` is there twice"),
        ] {
            let error = Ini::parse("x.ini", "/x.ini", text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        for (value, expected) in [
            ("%(nothing)s", "x.ini:2: `b`: `%(nothing)s` is set nowhere"),
            ("100%", "x.ini:2: `b`: a `%` is followed by"),
            ("%(b)s", "x.ini:2: `b`: `%(...)s` is nested"),
        ] {
            let ini = Ini::parse("x.ini", "/x.ini", &format!("[a]\nb = {value}\n")).unwrap();
            let error = ini.filled(Some(&ini.sections[0]), &ini.sections[0].settings[0]).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn references_that_multiply_end() {
        let grows: String = (0..9).map(|at| format!("a{at} = {}\n", format!("%(a{})s", at + 1).repeat(50))).collect();
        let ini = Ini::parse("x.ini", "/x.ini", &format!("[a]\n{grows}a9 =\n")).unwrap();
        let error = ini.filled(Some(&ini.sections[0]), &ini.sections[0].settings[0]).unwrap_err();
        assert!(error.contains("too many"), "{error}");
    }
}
