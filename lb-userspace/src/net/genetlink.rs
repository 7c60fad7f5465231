//! Generic netlink: what rtnetlink does not tell of an interface. No crate that we have speaks it for these families.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use netlink_packet_core::{NLA_F_NESTED, NlaBuffer, NlasIterator};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

/// The family that knows the others (`GENL_ID_CTRL`, linux/genetlink.h), its one request that matters here, and
/// attributes of that.
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// `NLM_F_REQUEST | NLM_F_ACK` and `NLMSG_ERROR` (linux/netlink.h).
const REQUEST: u16 = 0x1 | 0x4;
const ERROR: u16 = 0x2;
/// Lengths of `struct nlmsghdr` and `struct genlmsghdr`.
const HEADER: usize = 16;
const HEADERS: usize = HEADER + 4;

/// The kernel answers at once; this is for a kernel that does not at all.
const PATIENCE: TimeVal = TimeVal::new(2, 0);

/// A socket for requests to one family, each answered before the next.
#[derive(Debug)]
pub(super) struct Genetlink {
    socket: OwnedFd,
    family: u16,
}

impl Genetlink {
    /// Opens a socket for requests to the family of this name.
    ///
    /// # Errors
    /// `NotFound`: the kernel has no such family.
    pub(super) fn open(family: &str) -> io::Result<Self> {
        let protocol = SockProtocol::NetlinkGeneric;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &PATIENCE)?;
        let control = Self { socket, family: CONTROL };
        let answer = control.ask(GET_FAMILY, &text(FAMILY_NAME, family))?;
        let id = find(&answer, FAMILY_ID).and_then(|id| Some(u16::from_ne_bytes(id.try_into().ok()?)));
        let id = id.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { family: id, ..control })
    }

    /// Sends a request with these attributes; the attributes of the answer, if there is more to it than success.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn ask(&self, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
        let mut message = Vec::with_capacity(HEADERS + attributes.len());
        let length = u32::try_from(HEADERS + attributes.len()).map_err(io::Error::other)?;
        message.extend(length.to_ne_bytes());
        message.extend(self.family.to_ne_bytes());
        message.extend(REQUEST.to_ne_bytes());
        // Sequence number and port: the kernel fills the port in, and there is one request at a time.
        message.extend([0; 8]);
        // The version of both families that are asked, and two bytes that are reserved.
        message.extend([command, 1, 0, 0]);
        message.extend(attributes);
        sendto(self.socket.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut answer = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            let mut rest = &buffer[..length];
            while let Some((kind, content, behind)) = split(rest) {
                match kind {
                    ERROR => return acknowledged(content).map(|()| answer),
                    _ => answer = content.get(HEADERS - HEADER..).unwrap_or_default().to_vec(),
                }
                rest = behind;
            }
        }
    }
}

/// The first message's type and content, and what comes behind it.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let content = bytes.get(HEADER..length)?;
    Some((kind, content, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// `struct nlmsgerr`: 0, or a negative error number.
fn acknowledged(content: &[u8]) -> io::Result<()> {
    let number = content.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    if number == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-number)) }
}

/// An attribute, with what it is padded with.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    // Values here are names and numbers.
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An attribute that is made of attributes.
pub(super) fn nested(kind: u16, attributes: &[u8]) -> Vec<u8> {
    attribute(kind | NLA_F_NESTED, attributes)
}

/// An attribute that is a text.
pub(super) fn text(kind: u16, text: &str) -> Vec<u8> {
    attribute(kind, &[text.as_bytes(), &[0]].concat())
}

/// The attributes, up to the first that makes no sense.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(Result::ok).filter_map(|found: NlaBuffer<&[u8]>| {
        let (kind, length) = (found.kind(), usize::from(found.length()));
        Some((kind, found.into_inner().get(4..length)?))
    })
}

/// The value of the first attribute of this kind.
pub(super) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// The same, if it is a number of 32 bits.
pub(super) fn find_u32(bytes: &[u8], kind: u16) -> Option<u32> {
    find(bytes, kind).and_then(|value| Some(u32::from_ne_bytes(value.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_behind_the_padding_of_others() {
        let bytes = [text(1, "eth0"), attribute(3, &7_u32.to_ne_bytes())].concat();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(find(&bytes, 1), Some(&b"eth0\0"[..]));
        assert_eq!(find_u32(&bytes, 3), Some(7));
        assert_eq!(find_u32(&bytes, 2), None);
        let outer = nested(5, &bytes);
        assert_eq!(find(&outer, 5).and_then(|inner| find_u32(inner, 3)), Some(7));
    }

    #[test]
    fn a_message_that_is_cut_off_is_none() {
        assert_eq!(split(&[0; 3]), None);
        let mut message = [20_u32.to_ne_bytes(), [2, 0, 0, 0]].concat();
        message.resize(16, 0);
        assert_eq!(split(&message), None, "it says that it has 20 bytes");
        message.extend([0; 4]);
        assert_eq!(split(&message), Some((2, &[0; 4][..], &[][..])));
    }

    #[test]
    fn the_kernels_error_is_an_error() {
        assert!(acknowledged(&0_i32.to_ne_bytes()).is_ok());
        let error = acknowledged(&(-libc::EPERM).to_ne_bytes()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }

    /// A family that every kernel has.
    #[test]
    fn the_kernel_answers() {
        assert!(Genetlink::open("nlctrl").is_ok());
        assert_eq!(Genetlink::open("no-such").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
