//! Name-value pairs of FastCGI (section 3.4). A length below 128 is one octet, any other is four with the highest bit set.

use bytes::{Buf, BufMut, BytesMut};

use crate::gateway::{Malformed, Variables};

/// Reads the pairs of a whole stream.
pub(crate) fn read(stream: &[u8]) -> Result<Variables, Malformed> {
    let mut rest = stream;
    let mut variables = Variables::new();
    while !rest.is_empty() {
        let (name, value) = (length(&mut rest)?, length(&mut rest)?);
        variables.push(rest.split_off(..name).ok_or(CUT)?, rest.split_off(..value).ok_or(CUT)?);
    }
    Ok(variables)
}

const CUT: Malformed = Malformed::Syntax("a name-value pair is longer than the FastCGI stream that it is in");

fn length(octets: &mut &[u8]) -> Result<usize, Malformed> {
    let first = *octets.first().ok_or(CUT)?;
    if first < 0x80 {
        octets.advance(1);
        return Ok(usize::from(first));
    }
    let length = octets.try_get_u32().map_err(|_| CUT)? & 0x7fff_ffff;
    usize::try_from(length).map_err(|_| CUT)
}

/// Appends pairs. A name or a value that is longer than 31 bits can say is left out with its pair.
pub(crate) fn write(variables: &Variables, out: &mut BytesMut) {
    for (name, value) in variables.iter() {
        let (Some(name_length), Some(value_length)) = (long(name), long(value)) else { continue };
        for length in [name_length, value_length] {
            if length < 0x80 {
                out.put_u8(length as u8);
            } else {
                out.put_u32(length | 0x8000_0000);
            }
        }
        out.put_slice(name);
        out.put_slice(value);
    }
}

fn long(text: &[u8]) -> Option<u32> {
    u32::try_from(text.len()).ok().filter(|length| *length < 0x8000_0000)
}
