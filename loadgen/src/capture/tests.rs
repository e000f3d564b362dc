//! Captures written by hand, in both formats and over every kind of link.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, PacketBuilder};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

const PORT: u16 = 9125;
const FROM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);
const TO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 8);

/// When, in microseconds, and what.
type Frame = (u64, Vec<u8>);

/// An IPv4 packet.
fn ipv4(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(FROM.octets(), TO.octets(), 64)
        .udp(from, to)
        .write(&mut packet, payload)
        .expect("written");
    packet
}

/// An IPv6 packet.
fn ipv6(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let host = Ipv6Addr::LOCALHOST.octets();
    PacketBuilder::ipv6(host, host, 64)
        .udp(from, to)
        .write(&mut packet, payload)
        .expect("written");
    packet
}

/// Behind some bytes.
fn behind(link: &[u8], packet: &[u8]) -> Vec<u8> {
    [link, packet].concat()
}

fn ethernet(tags: &[u8], kind: [u8; 2], packet: &[u8]) -> Vec<u8> {
    [&[0; 12], tags, &kind, packet].concat()
}

/// A UDP datagram in IPv4 packets that carry so many bytes each.
fn fragments(payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let whole = ipv4(1000, PORT, payload);
    let udp = &whole[20..];
    let count = udp.len().div_ceil(size);
    let fragment = |(index, part): (usize, &[u8])| {
        let mut header =
            Ipv4Header::new(0, 64, IpNumber::UDP, FROM.octets(), TO.octets()).expect("a header");
        header.identification = 77;
        header.dont_fragment = false;
        header.more_fragments = index + 1 < count;
        header.fragment_offset =
            IpFragOffset::try_new((index * size / 8) as u16).expect("an offset");
        header.set_payload_len(part.len()).expect("short enough");
        header.header_checksum = header.calc_header_checksum();
        behind(&header.to_bytes(), part)
    };
    udp.chunks(size).enumerate().map(fragment).collect()
}

/// A pcap file; times are in microseconds, the snap length cuts packets.
fn pcap(link: u32, snap: usize, frames: &[Frame]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut put = |value: u32| file.extend_from_slice(&value.to_be_bytes());
    for value in [0xa1b2_c3d4, 2 << 16 | 4, 0, 0, 65_535, link] {
        put(value);
    }
    for (at, frame) in frames {
        let kept = frame.len().min(snap);
        let mut put = |value: u64| file.extend_from_slice(&(value as u32).to_be_bytes());
        put(at / 1_000_000);
        put(at % 1_000_000);
        put(kept as u64);
        put(frame.len() as u64);
        file.extend_from_slice(&frame[..kept]);
    }
    file
}

/// A pcapng file with one section for each list of frames, each with its link;
/// times are written in nanoseconds.
fn pcapng(sections: &[(u16, &[Frame])]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let len = (12 + body.len()) as u32;
        for part in [
            &kind.to_le_bytes()[..],
            &len.to_le_bytes(),
            body,
            &len.to_le_bytes(),
        ] {
            file.extend_from_slice(part);
        }
    };
    for (link, frames) in sections {
        let magic = 0x1a2b_3c4d_u32.to_le_bytes();
        block(
            0x0a0d_0d0a,
            &[&magic[..], &[1, 0, 0, 0], &[0xff; 8]].concat(),
        );
        // Snap length, then if_tsresol = 9 and the end of options.
        let options = [9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
        block(1, &[&link.to_le_bytes()[..], &[0; 6], &options].concat());
        for (at, frame) in *frames {
            let ticks = at * 1000;
            let mut body = vec![0; 4];
            for value in [ticks >> 32, ticks, frame.len() as u64, frame.len() as u64] {
                body.extend_from_slice(&(value as u32).to_le_bytes());
            }
            body.extend_from_slice(frame);
            body.resize(body.len().next_multiple_of(4), 0);
            block(6, &body);
        }
    }
    file
}

/// A datagram found: when, from whom, and what.
type Found = (u64, SocketAddr, Vec<u8>);

fn read_bytes(bytes: &[u8]) -> Result<(Vec<Found>, Counts)> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), bytes)?;
    let mut found = Vec::new();
    let counts = read(file.path(), PORT, |captured| {
        let at = u64::try_from(captured.at.as_micros())?;
        found.push((at, captured.source, captured.payload.to_vec()));
        Ok(true)
    })?;
    Ok((found, counts))
}

fn payloads(bytes: &[u8]) -> (Vec<Vec<u8>>, Counts) {
    let (found, counts) = read_bytes(bytes).expect("read");
    (
        found.into_iter().map(|(_, _, payload)| payload).collect(),
        counts,
    )
}

#[test]
fn every_link_is_read() {
    let four = ipv4(1000, PORT, b"a:1|c");
    let six = ipv6(1000, PORT, b"a:1|c");
    let sll = [0, 0, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0];
    let mut sll2 = [0; 20];
    sll2[..2].copy_from_slice(&[0x86, 0xdd]);
    for (link, frame) in [
        (1, ethernet(&[], [8, 0], &four)),
        (1, ethernet(&[], [0x86, 0xdd], &six)),
        (1, ethernet(&[0x81, 0, 0, 5], [8, 0], &four)),
        (
            1,
            ethernet(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6], [8, 0], &four),
        ),
        // Padded to the shortest frame: the padding is not payload.
        (1, behind(&ethernet(&[], [8, 0], &four), &[0; 13])),
        (113, behind(&sll, &four)),
        (276, behind(&sll2, &six)),
        (0, behind(&[2, 0, 0, 0], &four)),
        (0, behind(&[0, 0, 0, 30], &six)),
        (108, behind(&[0, 0, 0, 2], &four)),
        (101, four.clone()),
        (12, six.clone()),
        (228, four.clone()),
        (229, six.clone()),
    ] {
        let (found, counts) = payloads(&pcap(link, 65_535, &[(0, frame)]));
        assert_eq!(found, [b"a:1|c"], "link {link}: {counts:?}");
    }
    let (found, counts) = payloads(&pcap(147, 65_535, &[(0, four)]));
    assert_eq!((found.len(), counts.unreadable), (0, 1));
}

#[test]
fn only_udp_to_the_port_is_taken_and_all_is_counted() {
    let mut tcp = Vec::new();
    PacketBuilder::ipv4(FROM.octets(), TO.octets(), 64)
        .tcp(1, PORT, 0, 0)
        .write(&mut tcp, b"a:1|c")
        .expect("written");
    let frames = [
        (5_000_000, ipv4(1000, PORT, b"a:1|c\n")),
        (5_000_001, ipv4(1000, 53, b"b:1|c")),
        (5_000_002, ipv4(PORT, 1000, b"c:1|c")),
        (5_000_003, tcp),
        (5_000_004, b"garbage".to_vec()),
        (6_000_000, ipv4(1001, PORT, b"")),
    ];
    let expected = [
        (
            5_000_000,
            SocketAddr::from((FROM, 1000)),
            b"a:1|c\n".to_vec(),
        ),
        (6_000_000, SocketAddr::from((FROM, 1001)), Vec::new()),
    ];
    let counted = Counts {
        packets: 6,
        datagrams: 2,
        others: 3,
        unreadable: 1,
        ..Counts::default()
    };
    for file in [pcap(101, 65_535, &frames), pcapng(&[(101, &frames)])] {
        let (found, counts) = read_bytes(&file).expect("read");
        assert_eq!(found, expected);
        assert_eq!(counts, counted);
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&file).expect("packed");
        let (found, _) = read_bytes(&packed.finish().expect("packed")).expect("read");
        assert_eq!(found, expected);
    }
}

#[test]
fn sections_have_their_own_links() {
    let first = [(1, ethernet(&[], [8, 0], &ipv4(1000, PORT, b"a:1|c")))];
    let second = [(2, ipv4(1000, PORT, b"b:1|c"))];
    let (found, _) = payloads(&pcapng(&[(1, &first), (101, &second)]));
    assert_eq!(found, [b"a:1|c", b"b:1|c"]);
}

#[test]
fn fragments_are_put_together() {
    let payload: Vec<u8> = (0..3000_u32).map(|i| b'a' + (i % 26) as u8).collect();
    let mut parts = fragments(&payload, 1400);
    assert_eq!(parts.len(), 3);
    parts.swap(0, 2);
    let framed: Vec<_> = parts.iter().map(|part| (0, part.clone())).collect();
    let (found, counts) = payloads(&pcap(101, 65_535, &framed));
    assert_eq!(found, [payload]);
    assert_eq!(
        (counts.packets, counts.datagrams, counts.reassembled),
        (3, 1, 1)
    );
    let (found, counts) = payloads(&pcap(101, 65_535, &framed[..2]));
    assert_eq!((found.len(), counts.incomplete), (0, 1));
}

#[test]
fn what_is_cut_is_counted() {
    let frames = [
        (0, ipv4(1000, PORT, b"airflow.job_start:1|c")),
        (0, ipv4(1000, 53, b"airflow.job_start:1|c")),
    ];
    let (found, counts) = payloads(&pcap(101, 40, &frames));
    assert_eq!((found.len(), counts.cut_short, counts.others), (0, 1, 1));

    let whole = pcap(101, 65_535, &frames);
    let (found, counts) = payloads(&whole[..whole.len() - 5]);
    assert_eq!((found.len(), counts.torn), (1, true));
}

#[test]
fn other_files_are_refused() {
    for bytes in [&b""[..], b"{\"t_us\": 1}", &[0x1f, 0x8b, 8]] {
        let error = read_bytes(bytes).expect_err("no capture");
        assert!(format!("{error:#}").contains("not a pcap"), "{error:#}");
    }
}

#[test]
fn a_capture_larger_than_the_buffer() {
    let frames: Vec<_> = (0..40_000)
        .map(|i| (i, ipv4(1000, PORT, b"airflow.x:1|c")))
        .collect();
    for file in [pcap(101, 65_535, &frames), pcapng(&[(101, &frames)])] {
        assert!(file.len() > BUFFER_BYTES);
        let (found, counts) = payloads(&file);
        assert_eq!((found.len(), counts.torn), (frames.len(), false));
    }
}

#[test]
fn captured_traffic_survives_being_packets() {
    let traces = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/traces");
    for name in ["airflow-3.3.2-datadog", "airflow-2.11.2-plain"] {
        let path = format!("{traces}/{name}.jsonl.gz");
        let trace = crate::trace::Trace::read(Path::new(&path)).expect("a trace");
        let all: Vec<Found> = trace
            .datagrams()
            .map(|(datagram, _)| {
                let at = datagram.at.as_micros() as u64;
                let from = SocketAddr::from((FROM, datagram.source));
                (at, from, datagram.payload.to_vec())
            })
            .collect();
        let frames: Vec<Frame> = all
            .iter()
            .map(|(at, from, payload)| (*at, ipv4(from.port(), PORT, payload)))
            .collect();
        for file in [pcap(101, 65_535, &frames), pcapng(&[(101, &frames)])] {
            let (found, counts) = read_bytes(&file).expect("read");
            assert_eq!(counts.datagrams, all.len() as u64);
            assert!(found == all, "{name} differs");
        }
    }
}
