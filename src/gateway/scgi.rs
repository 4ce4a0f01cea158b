//! The variables that begin a request of SCGI, the Simple Common Gateway Interface: a netstring of names and values, each with a NUL behind it. The
//! body follows it; its length is `CONTENT_LENGTH`, the first variable.

use bytes::{Buf, BytesMut};
use memchr::memchr;

use super::{Malformed, Variables};

/// Figures of the longest length that is read.
const LENGTH: usize = 9;

/// Takes the variables at the beginning of `octets`; `None` if they are not complete. They have at most `most` octets.
///
/// # Errors
///
/// If the netstring is malformed, if the first variable is not `CONTENT_LENGTH`, if `SCGI` is not `1`, or if a name stands there twice.
pub(crate) fn take(octets: &mut BytesMut, most: usize) -> Result<Option<Variables>, Malformed> {
    const NO_LENGTH: Malformed = Malformed::Syntax("the connection does not begin with the length of a netstring");
    let colon = memchr(b':', &octets[..octets.len().min(LENGTH + 1)]);
    let figures = &octets[..colon.unwrap_or(octets.len()).min(LENGTH + 1)];
    // Netstrings have no leading zeros.
    if figures.len() > LENGTH || !figures.iter().all(u8::is_ascii_digit) || matches!(figures, [b'0', _, ..]) {
        return Err(NO_LENGTH);
    }
    let Some(colon) = colon else { return Ok(None) };
    let length: usize = std::str::from_utf8(figures).ok().and_then(|figures| figures.parse().ok()).ok_or(NO_LENGTH)?;
    if length > most {
        return Err(Malformed::TooLarge("the variables of the SCGI request are too long"));
    }
    if octets.len() < colon + 1 + length + 1 {
        return Ok(None);
    }
    let (mut rest, comma) = octets[colon + 1..].split_at(length);
    if comma.first() != Some(&b',') {
        return Err(Malformed::Syntax("the netstring of the SCGI request does not end with a comma"));
    }
    let mut variables = Variables::new();
    while !rest.is_empty() {
        let name = take_text(&mut rest)?;
        if variables.iter().any(|(known, _)| known == name) && name.starts_with(b"CONTENT_LENGTH") {
            return Err(Malformed::Syntax("`CONTENT_LENGTH` stands twice in the SCGI request"));
        }
        variables.push(name, take_text(&mut rest)?);
    }
    if variables.iter().next().is_none_or(|(name, _)| name != b"CONTENT_LENGTH") {
        return Err(Malformed::Syntax("the first variable of the SCGI request is not `CONTENT_LENGTH`"));
    }
    if variables.get("SCGI").is_none_or(|version| version != b"1") {
        return Err(Malformed::Syntax("the variable `SCGI` of the SCGI request is not `1`"));
    }
    octets.advance(colon + 1 + length + 1);
    Ok(Some(variables))
}

fn take_text<'a>(octets: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let (text, rest) = memchr(0, octets).and_then(|end| Some((octets.get(..end)?, octets.get(end + 1..)?))).ok_or(NO_NUL)?;
    *octets = rest;
    Ok(text)
}

const NO_NUL: Malformed = Malformed::Syntax("a variable of the SCGI request has no NUL behind it");

/// The octets of a request without its body. `CONTENT_LENGTH` and `SCGI` are written first, whatever `variables` have.
///
/// # Errors
///
/// If a name or a value has a NUL.
pub(crate) fn write(variables: &Variables, content_length: u64) -> Result<Vec<u8>, Malformed> {
    const OWN: [&[u8]; 2] = [b"CONTENT_LENGTH", b"SCGI"];
    let mut text = format!("CONTENT_LENGTH\0{content_length}\0SCGI\x001\0").into_bytes();
    for (name, value) in variables.iter().filter(|(name, _)| !OWN.contains(name)) {
        for part in [name, value] {
            if memchr(0, part).is_some() {
                return Err(Malformed::Syntax("a variable has a NUL, which SCGI cannot carry"));
            }
            text.extend_from_slice(part);
            text.push(0);
        }
    }
    let mut octets = format!("{}:", text.len()).into_bytes();
    octets.append(&mut text);
    octets.push(b',');
    Ok(octets)
}
