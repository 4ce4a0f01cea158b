//! Descriptors over a Unix socket (`SCM_RIGHTS`).
//!
//! A descriptor goes with the first octet of a message. On a stream socket the receiver has it as soon as it has read that octet, and no read goes
//! beyond a message that has descriptors. So the receiver gets them in the order of the octets that they belong to.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Sends octets, of which there must be some, with a descriptor. Returns how many were sent. Does not block.
pub(crate) fn send(socket: impl AsFd, octets: &[IoSlice<'_>], descriptor: BorrowedFd<'_>) -> Result<usize, Errno> {
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, octets, &mut ancillary, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
}

/// Receives octets, and the descriptors that belong to them. Returns how many octets; 0 at the end. Does not block.
pub(crate) fn receive(socket: impl AsFd, octets: &mut [u8], descriptors: &mut impl Extend<OwnedFd>) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(socket, &mut [IoSliceMut::new(octets)], &mut ancillary, flags)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn descriptors_arrive_in_the_order_of_their_octets() {
        let (mut one, other) = UnixStream::pair().unwrap();
        let passed = [UnixStream::pair().unwrap(), UnixStream::pair().unwrap()];
        one.write_all(b"before").unwrap();
        for (passed, _) in &passed {
            assert_eq!(send(&one, &[IoSlice::new(b"with")], passed.as_fd()), Ok(4));
            one.write_all(b"after").unwrap();
        }
        drop(one);
        let (mut octets, mut descriptors) = (Vec::new(), VecDeque::new());
        let mut block = [0; 64];
        loop {
            let count = receive(&other, &mut block, &mut descriptors).unwrap();
            if count == 0 {
                break;
            }
            octets.extend_from_slice(&block[..count]);
            let begun = octets.windows(4).filter(|window| window == b"with").count();
            assert!(descriptors.len() >= begun, "a descriptor comes no later than its octets");
        }
        assert_eq!(octets, b"beforewithafterwithafter");
        for (descriptor, (_, mut other)) in descriptors.into_iter().zip(passed) {
            other.write_all(b"x").unwrap();
            assert_eq!(receive(&descriptor, &mut [0; 4], &mut Vec::new()), Ok(1));
        }
    }
}
