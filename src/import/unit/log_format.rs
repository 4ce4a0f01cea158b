//! The format of Unit's access log in the atoms of `access_log`.

/// Variables of Unit, and the atoms that they are.
const VARIABLES: &[(&str, &str)] = &[
    ("remote_addr", "%(h)s"),
    ("time_local", "%(t)s"),
    ("request_line", "%(r)s"),
    ("method", "%(m)s"),
    ("uri", "%(U)s"),
    ("request_uri", "%(U)s%(q)s"),
    ("status", "%(s)s"),
    ("body_bytes_sent", "%(B)s"),
    ("request_time", "%(L)s"),
    ("header_referer", "%(f)s"),
    ("header_user_agent", "%(a)s"),
];

/// The format in our atoms; what has no atom is the error.
pub(super) fn ours(format: &str) -> Result<String, &str> {
    let mut text = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at].replace('%', "%%"));
        let after = &rest[at + 1..];
        let (name, end) = match after.strip_prefix('{').and_then(|inside| inside.find('}')) {
            Some(end) => (&after[1..=end], end + 2),
            None => {
                let end = after.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        let known = VARIABLES.iter().find(|(variable, _)| *variable == name).map(|(_, atom)| (*atom).to_owned());
        let header = |prefix, letter| name.strip_prefix(prefix).map(|header: &str| format!("%({{{}}}{letter})s", header.replace('_', "-")));
        let atom = known.or_else(|| header("header_", 'i')).or_else(|| header("response_header_", 'o'));
        text.push_str(&atom.ok_or(name)?);
        rest = &after[end..];
    }
    // The brackets are part of the atom.
    Ok((text + &rest.replace('%', "%%")).replace("[%(t)s]", "%(t)s"))
}
