//! Writes values into a line. A line is written for every request, so this avoids the cost of `write!`.

use std::net::IpAddr;
use std::time::Duration;

/// A number in decimal, padded with zeros to `width` digits.
pub(super) fn number(line: &mut Vec<u8>, mut number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    while number > 0 || digits.len() - start < width {
        start -= 1;
        // A remainder by ten is a digit.
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    line.extend_from_slice(&digits[start..]);
}

/// Whole microseconds. Overflows after half a million years.
pub(super) const fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

/// An address.
pub(super) fn address(line: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (place, octet) in address.octets().into_iter().enumerate() {
                if place > 0 {
                    line.push(b'.');
                }
                number(line, octet.into(), 1);
            }
        }
        IpAddr::V6(address) => line.extend_from_slice(address.to_string().as_bytes()),
    }
}

/// Whether no octet needs an escape. (A fold, because the compiler vectorizes it.)
pub(super) fn all_plain(octets: &[u8]) -> bool {
    octets.iter().fold(true, |plain, octet| plain & is_plain(*octet))
}

/// Printable ASCII except quotes and backslashes.
pub(super) const fn is_plain(octet: u8) -> bool {
    matches!(octet, b' '..=b'~') & (octet != b'"') & (octet != b'\\')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_and_addresses_are_those_of_the_standard_library(n: u64, width in 1..12_usize, ip: IpAddr) {
            let mut line = Vec::new();
            number(&mut line, n, width);
            line.push(b' ');
            address(&mut line, ip);
            prop_assert_eq!(String::from_utf8(line).unwrap(), format!("{n:0width$} {ip}"));
        }
    }
}
