//! Reads the UDP datagrams to one port out of a packet capture: pcap or pcapng,
//! as tcpdump, tshark and others write them, plain or gzip.
//!
//! The containers are read by `pcap-parser`, the packets by `etherparse`; what
//! is here joins them and keeps count of what could not be used, because a trace
//! that silently lacks packets would prove nothing.

mod packet;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flate2::read::MultiGzDecoder;
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError};

use packet::{Packets, Verdict};

/// Larger than any packet; grows if a block says otherwise.
const BUFFER_BYTES: usize = 1 << 20;
/// A block that claims to be larger is damage.
const BUFFER_BYTES_MAX: usize = 64 << 20;

/// A datagram of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// Since 1970.
    pub at: Duration,
    /// Who sent it.
    pub source: SocketAddr,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// What a capture held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub packets: u64,
    /// UDP to the port.
    pub datagrams: u64,
    /// Of those, put together from fragments.
    pub reassembled: u64,
    /// Packets for others: another protocol or port.
    pub others: u64,
    /// Packets of which the capture holds only the beginning.
    pub cut_short: u64,
    /// Packets that could not be understood, or of an unknown kind of link.
    pub unreadable: u64,
    /// Datagrams of which fragments are missing.
    pub incomplete: u64,
    /// Whether the file ends within a packet, as when a capture was killed.
    pub torn: bool,
}

/// Calls `each` for every datagram to `port`, in the order of the file, and
/// stops early if it returns `false`.
pub fn read(
    path: &Path,
    port: u16,
    mut each: impl FnMut(Captured<'_>) -> Result<bool>,
) -> Result<Counts> {
    let name = || path.display().to_string();
    let file = open(path).with_context(name)?;
    let mut reader = match pcap_parser::create_reader(BUFFER_BYTES, file) {
        Ok(reader) => reader,
        Err(error) => bail!("{}: not a pcap or pcapng file ({error})", name()),
    };
    let mut capture = Capture::new(port);
    let mut starved = false;
    loop {
        match reader.next() {
            Ok((len, block)) => {
                starved = false;
                let goes_on = capture.block(&block, &mut each)?;
                drop(block);
                reader.consume(len);
                if !goes_on {
                    break;
                }
            }
            Err(PcapError::Eof) => break,
            Err(PcapError::Incomplete(_)) => {
                if reader.reader_exhausted() {
                    capture.counts.torn = true;
                    break;
                }
                if std::mem::replace(&mut starved, true) {
                    grow(reader.as_mut()).with_context(name)?;
                }
                if let Err(error) = reader.refill() {
                    bail!("{}: {error}", name());
                }
            }
            Err(PcapError::UnexpectedEof) => {
                capture.counts.torn = true;
                break;
            }
            Err(error) => bail!(
                "{}: damaged after {} packets ({error})",
                name(),
                capture.counts.packets
            ),
        }
    }
    capture.counts.incomplete += capture.packets.unfinished();
    Ok(capture.counts)
}

/// The file, unpacked if it is gzip whatever its name.
fn open(path: &Path) -> std::io::Result<Box<dyn Read + Send>> {
    let mut file = BufReader::new(File::open(path)?);
    Ok(match file.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        true => Box::new(Whole(MultiGzDecoder::new(file))),
        false => Box::new(file),
    })
}

/// Fills the buffer that it is given, so that a reader that asks once for the
/// first block gets it.
struct Whole<R>(R);

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(len) => filled += len,
                Err(_) if filled > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

fn grow(reader: &mut (dyn PcapReaderIterator + Send)) -> Result<()> {
    let wanted = reader.data().len().max(BUFFER_BYTES) * 2;
    if wanted > BUFFER_BYTES_MAX || !reader.grow(wanted) {
        bail!("a block of more than {} bytes", reader.data().len());
    }
    Ok(())
}

/// A capture under way.
struct Capture {
    packets: Packets,
    counts: Counts,
    /// Of the legacy format, which has one.
    legacy: Interface,
    /// Of the current section of a pcapng file.
    interfaces: Vec<Interface>,
}

/// What a packet's interface says of it.
#[derive(Clone, Copy)]
struct Interface {
    link: Linktype,
    ticks_per_second: u64,
    /// In seconds.
    offset: i64,
    snap_len: u32,
}

/// A packet with its time.
struct Packet<'a> {
    interface: Interface,
    at: Duration,
    data: &'a [u8],
    original_len: u32,
}

impl Capture {
    fn new(port: u16) -> Capture {
        Capture {
            packets: Packets::new(port),
            counts: Counts::default(),
            legacy: Interface {
                link: Linktype::NULL,
                ticks_per_second: 1_000_000,
                offset: 0,
                snap_len: 0,
            },
            interfaces: Vec::new(),
        }
    }

    fn block(
        &mut self,
        block: &PcapBlockOwned<'_>,
        each: &mut impl FnMut(Captured<'_>) -> Result<bool>,
    ) -> Result<bool> {
        let packet = match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.legacy.link = header.network;
                if header.is_nanosecond_precision() {
                    self.legacy.ticks_per_second = 1_000_000_000;
                }
                return Ok(true);
            }
            PcapBlockOwned::Legacy(packet) => {
                let ticks = u64::from(packet.ts_usec);
                Packet {
                    interface: self.legacy,
                    at: Duration::from_secs(packet.ts_sec.into()) + self.legacy.time(ticks),
                    data: &packet.data[..packet.data.len().min(packet.caplen as usize)],
                    original_len: packet.origlen,
                }
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                self.interfaces.clear();
                return Ok(true);
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                self.interfaces.push(Interface {
                    link: interface.linktype,
                    // An exponent out of range: nobody writes that.
                    ticks_per_second: interface.ts_resolution().unwrap_or(1_000_000),
                    offset: interface.ts_offset(),
                    snap_len: interface.snaplen,
                });
                return Ok(true);
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let Some(&interface) = self.interfaces.get(packet.if_id as usize) else {
                    self.counts.packets += 1;
                    self.counts.unreadable += 1;
                    return Ok(true);
                };
                let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                Packet {
                    interface,
                    at: interface.time(ticks),
                    data: packet.packet_data(),
                    original_len: packet.origlen,
                }
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let Some(&interface) = self.interfaces.first() else {
                    self.counts.packets += 1;
                    self.counts.unreadable += 1;
                    return Ok(true);
                };
                // Its length is not written down, only what follows from the
                // longest that the interface keeps; and it has no time.
                let kept = match interface.snap_len {
                    0 => packet.origlen,
                    most => packet.origlen.min(most),
                };
                Packet {
                    interface,
                    at: Duration::ZERO,
                    data: &packet.data[..packet.data.len().min(kept as usize)],
                    original_len: packet.origlen,
                }
            }
            PcapBlockOwned::NG(_) => return Ok(true),
        };
        self.packet(&packet, each)
    }

    fn packet(
        &mut self,
        packet: &Packet<'_>,
        each: &mut impl FnMut(Captured<'_>) -> Result<bool>,
    ) -> Result<bool> {
        let counts = &mut self.counts;
        counts.packets += 1;
        let is_cut = (packet.data.len() as u64) < u64::from(packet.original_len);
        let link = packet.interface.link;
        match self.packets.take(link, packet.data, is_cut) {
            Verdict::Datagram(source, payload, is_reassembled) => {
                counts.datagrams += 1;
                counts.reassembled += u64::from(is_reassembled);
                return each(Captured {
                    at: packet.at,
                    source,
                    payload,
                });
            }
            Verdict::Other => counts.others += 1,
            Verdict::CutShort => counts.cut_short += 1,
            Verdict::Unreadable => counts.unreadable += 1,
            Verdict::Fragment => {}
        }
        Ok(true)
    }
}

impl Interface {
    fn time(self, ticks: u64) -> Duration {
        let per_second = self.ticks_per_second.max(1);
        let nanos = u128::from(ticks % per_second) * 1_000_000_000 / u128::from(per_second);
        let seconds = (ticks / per_second).saturating_add_signed(self.offset);
        Duration::new(seconds, nanos as u32)
    }
}

#[cfg(test)]
mod tests;
