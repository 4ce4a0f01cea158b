//! The packet that begins a request of the uwsgi protocol. The body follows it; its length is `CONTENT_LENGTH`.
//!
//! ```text
//! modifier1 (1 octet)   length (2, little-endian)   modifier2 (1)   variables
//! variable: length (2, little-endian)   name   length (2, little-endian)   value
//! ```

use bytes::{Buf, BytesMut};

use super::{Malformed, Variables};

/// The modifiers of a packet tell the server which of its plugins a request is for. 0 is a request for a Python app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) modifier1: u8,
    pub(crate) modifier2: u8,
    pub(crate) variables: Variables,
}

const HEADER: usize = 4;

/// Takes the packet at the beginning of `octets`; `None` if it is not complete. Its variables have at most `most` octets.
pub(crate) fn take(octets: &mut BytesMut, most: usize) -> Result<Option<Packet>, Malformed> {
    let [modifier1, low, high, modifier2, ..] = octets[..] else { return Ok(None) };
    let length = usize::from(u16::from_le_bytes([low, high]));
    if length > most {
        return Err(Malformed::TooLarge("the variables of the uwsgi packet are too long"));
    }
    if octets.len() < HEADER + length {
        return Ok(None);
    }
    let mut rest = &octets[HEADER..HEADER + length];
    let mut variables = Variables::new();
    while !rest.is_empty() {
        let name = take_text(&mut rest)?;
        variables.push(name, take_text(&mut rest)?);
    }
    octets.advance(HEADER + length);
    Ok(Some(Packet { modifier1, modifier2, variables }))
}

fn take_text<'a>(octets: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    const CUT: Malformed = Malformed::Syntax("a variable of the uwsgi packet is longer than the packet");
    let length = usize::from(octets.try_get_u16_le().map_err(|_| CUT)?);
    octets.split_off(..length).ok_or(CUT)
}

/// The octets of a packet.
///
/// # Errors
///
/// If the variables are longer than a packet can be.
pub(crate) fn write(packet: &Packet) -> Result<Vec<u8>, Malformed> {
    const LONG: Malformed = Malformed::TooLarge("the variables are longer than a uwsgi packet can be");
    let mut octets = vec![packet.modifier1, 0, 0, packet.modifier2];
    for (name, value) in packet.variables.iter() {
        for text in [name, value] {
            octets.extend(u16::try_from(text.len()).map_err(|_| LONG)?.to_le_bytes());
            octets.extend_from_slice(text);
        }
    }
    let length = u16::try_from(octets.len() - HEADER).map_err(|_| LONG)?;
    octets[1..3].copy_from_slice(&length.to_le_bytes());
    Ok(octets)
}
