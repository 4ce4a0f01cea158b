//! "Did you mean ...?"

/// The name among `known` that is closest to `written`, if any is close.
pub(crate) fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace(['-', ' '], "_");
    let written = plain(written);
    let rated = known.into_iter().map(|name| {
        let likeness = strsim::jaro_winkler(&written, &plain(name));
        let slip = strsim::damerau_levenshtein(&written, &plain(name)) <= 1 + written.len() / 5;
        (if slip { likeness + 1.0 } else { likeness }, name)
    });
    rated.filter(|(likeness, _)| *likeness > 0.85).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

/// "did you mean `level`? Options are `above`, `level`", or the list alone.
pub(crate) fn suggestion<'a>(written: &str, plural: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let (list, count) = (list(known.clone()), known.clone().into_iter().count());
    match closest(written, known) {
        Some(name) => format!("did you mean `{name}`? {plural} are {list}"),
        None if count == 0 => format!("it has no {}", plural.to_lowercase()),
        None if count == 1 => format!("the only one is {list}"),
        None => format!("{} are {list}", plural.to_lowercase()),
    }
}

/// "`a`, `b`, `c`".
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_and_other_spellings_are_recognised() {
        let known = ["above", "level", "with", "access_log", "body_limit"];
        for (written, meant) in
            [("levle", "level"), ("Level", "level"), ("wiht", "with"), ("accessLog", "access_log"), ("access-log", "access_log")]
        {
            assert_eq!(closest(written, known), Some(meant));
        }
        assert_eq!(closest("cache", known), None);
    }
}
