//! Frames as pcapng (draft-ietf-opsawg-pcapng): for Wireshark and its kin.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER_PERMISSIVE;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};
use pcap_file::{DataLink, PcapError};

use super::fate;
use crate::control::api::TracedFrame;

/// `if_tsresol` of nanoseconds: 10^-9. Of the crate's writer all times are.
const NANOSECONDS: u8 = 9;

/// A file that is being written.
pub(super) struct Capture<W: Write> {
    writer: PcapNgWriter<W>,
    /// By their number in the file.
    interfaces: Vec<String>,
    snap: u32,
}

impl<W: Write> Capture<W> {
    /// Begins a file of frames of which there are at most `snap` bytes.
    pub(super) fn begin(out: W, snap: u32) -> io::Result<Self> {
        let writer = concat!("lb ", env!("CARGO_PKG_VERSION"));
        let header = SectionHeaderBlock {
            options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(writer))],
            ..SectionHeaderBlock::default()
        };
        let writer = PcapNgWriter::with_section_header(out, header).map_err(failed)?;
        Ok(Self { writer, interfaces: Vec::new(), snap })
    }

    /// A frame, with what became of it as a comment.
    pub(super) fn frame(&mut self, frame: &TracedFrame) -> io::Result<()> {
        let bytes = bytes(frame.bytes.as_deref().unwrap_or_default())?;
        let packet = EnhancedPacketBlock {
            interface_id: self.interface(&frame.interface)?,
            timestamp: since_1970(&frame.time)?,
            original_len: frame.length,
            data: Cow::Owned(bytes),
            options: vec![EnhancedPacketOption::Comment(Cow::Owned(fate(frame)))],
        };
        self.write(packet)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.writer.get_mut().flush()
    }

    /// The number of an interface, which is described when its first frame comes.
    fn interface(&mut self, name: &str) -> io::Result<u32> {
        let known = self.interfaces.iter().position(|known| known == name);
        let place = match known {
            Some(place) => place,
            None => {
                self.write(InterfaceDescriptionBlock {
                    linktype: DataLink::ETHERNET,
                    snaplen: self.snap,
                    options: vec![
                        InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                        InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
                    ],
                })?;
                self.interfaces.push(name.to_owned());
                self.interfaces.len() - 1
            }
        };
        u32::try_from(place).map_err(io::Error::other)
    }

    fn write<'a>(&mut self, block: impl PcapNgBlock<'a>) -> io::Result<()> {
        self.writer.write_pcapng_block(block).map(|_| ()).map_err(failed)
    }
}

fn failed(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

fn since_1970(time: &str) -> io::Result<Duration> {
    let time = humantime::parse_rfc3339(time).map_err(io::Error::other)?;
    time.duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)
}

/// Hexadecimal digits as bytes.
fn bytes(digits: &str) -> io::Result<Vec<u8>> {
    HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::{Block, PcapNgReader};

    use super::*;
    use crate::control::api::TraceVerdict;

    fn frame(interface: &str, bytes: &str) -> TracedFrame {
        TracedFrame {
            time: "2026-11-22T05:06:30.123456789Z".to_owned(),
            interface: interface.to_owned(),
            verdict: TraceVerdict::Drop,
            reason: Some("drop_denied".to_owned()),
            length: 60,
            bytes: Some(bytes.to_owned()),
            ..TracedFrame::default()
        }
    }

    /// What another program reads of it.
    #[test]
    fn what_is_written_is_read_again() {
        let mut capture = Capture::begin(Vec::new(), 256).expect("a vector takes everything");
        for (interface, bytes) in [("eth0", "00ff10"), ("eth1", ""), ("eth0", "0a")] {
            capture.frame(&frame(interface, bytes)).expect("a vector takes everything");
        }
        let file = capture.writer.into_inner();
        let mut reader = PcapNgReader::new(&file[..]).expect("a header");
        let (mut interfaces, mut packets) = (Vec::new(), Vec::new());
        while let Some(block) = reader.next_block() {
            match block.expect("a whole block").into_owned() {
                Block::InterfaceDescription(interface) => interfaces.push(interface),
                Block::EnhancedPacket(packet) => packets.push(packet),
                other => panic!("{other:?}"),
            }
        }
        let names: Vec<_> = interfaces.iter().map(|interface| &interface.options[0]).collect();
        assert_eq!(
            names,
            ["eth0", "eth1"].map(|name| InterfaceDescriptionOption::IfName(name.into())).each_ref()
        );
        assert!(interfaces.iter().all(|interface| interface.snaplen == 256));
        assert_eq!(packets.iter().map(|packet| packet.interface_id).collect::<Vec<_>>(), [0, 1, 0]);
        assert_eq!((&packets[0].data[..], packets[0].original_len), (&[0, 0xff, 0x10][..], 60));
        assert_eq!(packets[0].timestamp.subsec_nanos(), 123_456_789);
        let comment = EnhancedPacketOption::Comment("drop, drop_denied".into());
        assert_eq!(packets[0].options, [comment]);
    }

    #[test]
    fn what_is_not_hexadecimal_is_an_error() {
        assert!(bytes("0g").is_err());
        assert_eq!(bytes("00fF").expect("digits"), [0, 255]);
    }
}
