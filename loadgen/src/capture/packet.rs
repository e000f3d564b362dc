//! From a captured packet to a datagram: link, IP and UDP headers, fragments.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};

use etherparse::defrag::IpDefragPool;
use etherparse::{
    EtherType, IpNumber, LaxSlicedPacket, NetSlice, SlicedPacket, TransportSlice, UdpSlice,
};
use pcap_parser::Linktype;

/// A datagram that misses fragments for this many packets will never have them.
const FRAGMENT_PATIENCE_PACKETS: u64 = 100_000;

/// What a packet turned out to be.
#[derive(Debug)]
pub(super) enum Verdict<'a> {
    /// UDP to the port: sender, payload, and whether it came in fragments.
    Datagram(SocketAddr, &'a [u8], bool),
    /// Something else.
    Other,
    /// A part of a datagram.
    Fragment,
    /// UDP to the port, but the capture does not hold all of it.
    CutShort,
    /// Not a packet, or of an unknown kind of link.
    Unreadable,
}

/// Takes packets, one after the other.
#[derive(Debug)]
pub(super) struct Packets {
    port: u16,
    fragments: IpDefragPool<u64>,
    reassembled: Vec<u8>,
    seen: u64,
    given_up: u64,
}

impl Packets {
    /// For datagrams to this port.
    pub(super) fn new(port: u16) -> Packets {
        Packets {
            port,
            fragments: IpDefragPool::new(),
            reassembled: Vec::new(),
            seen: 0,
            given_up: 0,
        }
    }

    /// Reads a packet. `is_cut`: its end was not captured.
    pub(super) fn take<'a>(
        &'a mut self,
        link: Linktype,
        data: &'a [u8],
        is_cut: bool,
    ) -> Verdict<'a> {
        self.seen += 1;
        if self.seen.is_multiple_of(FRAGMENT_PATIENCE_PACKETS) {
            let seen = self.seen;
            self.forget_fragments(|at| seen - at < FRAGMENT_PATIENCE_PACKETS);
        }
        if is_cut {
            return self.cut(link, data);
        }
        let Some(packet) = slice(link, data) else {
            return Verdict::Unreadable;
        };
        let Some(from) = packet.net.as_ref().and_then(sender) else {
            return Verdict::Other;
        };
        if packet.is_ip_payload_fragmented() {
            return self.fragment(&packet, from);
        }
        match &packet.transport {
            Some(TransportSlice::Udp(udp)) => self.udp(from, udp),
            _ => Verdict::Other,
        }
    }

    /// How many datagrams never got all their fragments.
    pub(super) fn unfinished(&mut self) -> u64 {
        self.forget_fragments(|_| false);
        self.given_up
    }

    fn udp<'a>(&self, from: IpAddr, udp: &UdpSlice<'a>) -> Verdict<'a> {
        match udp.destination_port() == self.port {
            true => {
                let source = SocketAddr::new(from, udp.source_port());
                Verdict::Datagram(source, udp.payload(), false)
            }
            false => Verdict::Other,
        }
    }

    fn fragment<'a>(&'a mut self, packet: &SlicedPacket<'_>, from: IpAddr) -> Verdict<'a> {
        let seen = self.seen;
        match self.fragments.process_sliced_packet(packet, seen, ()) {
            Ok(Some(whole)) if whole.ip_number == IpNumber::UDP => {
                self.reassembled.clone_from(&whole.payload);
                self.fragments.return_buf(whole);
                match UdpSlice::from_slice(&self.reassembled).map(|udp| self.udp(from, &udp)) {
                    Ok(Verdict::Datagram(source, payload, _)) => {
                        Verdict::Datagram(source, payload, true)
                    }
                    Ok(verdict) => verdict,
                    Err(_) => Verdict::Unreadable,
                }
            }
            Ok(Some(_)) => Verdict::Other,
            Ok(None) => Verdict::Fragment,
            Err(_) => Verdict::Unreadable,
        }
    }

    /// Whether a packet without its end would have been ours.
    fn cut(&self, link: Linktype, data: &[u8]) -> Verdict<'static> {
        let ports = ip_of(link, data).and_then(|ip| match ip {
            Ip::Packet(data) => LaxSlicedPacket::from_ip(data).ok(),
            Ip::EtherType(kind, data) => Some(LaxSlicedPacket::from_ether_type(kind, data)),
            Ip::Ethernet(data) => LaxSlicedPacket::from_ethernet(data).ok(),
        });
        match ports.and_then(|packet| packet.transport) {
            Some(TransportSlice::Udp(udp)) if udp.destination_port() != self.port => Verdict::Other,
            Some(TransportSlice::Tcp(_)) => Verdict::Other,
            _ => Verdict::CutShort,
        }
    }

    /// Counts those whose last packet does not pass.
    fn forget_fragments(&mut self, is_kept: impl Fn(u64) -> bool) {
        // The pool asks more than once, so asking and counting are two.
        let forgotten = Cell::new(0);
        self.fragments.retain(|&at| {
            forgotten.update(|count| count + u64::from(!is_kept(at)));
            true
        });
        self.fragments.retain(|&at| is_kept(at));
        self.given_up += forgotten.get();
    }
}

/// A packet without what its link put before it.
enum Ip<'a> {
    Ethernet(&'a [u8]),
    EtherType(EtherType, &'a [u8]),
    Packet(&'a [u8]),
}

fn slice(link: Linktype, data: &[u8]) -> Option<SlicedPacket<'_>> {
    match ip_of(link, data)? {
        Ip::Ethernet(data) => SlicedPacket::from_ethernet(data).ok(),
        Ip::EtherType(kind, data) => SlicedPacket::from_ether_type(kind, data).ok(),
        Ip::Packet(data) => SlicedPacket::from_ip(data).ok(),
    }
}

fn ip_of(link: Linktype, data: &[u8]) -> Option<Ip<'_>> {
    /// Raw IP as OpenBSD and others number it.
    const RAW_OTHERS: [Linktype; 2] = [Linktype(12), Linktype(14)];
    let ether_type = |at: usize| {
        let bytes = data.get(at..at + 2)?;
        Some(EtherType(u16::from_be_bytes([bytes[0], bytes[1]])))
    };
    let ip = match link {
        Linktype::ETHERNET => Ip::Ethernet(data),
        // Linux "cooked", from `-i any`: packet type, link type, address, then
        // the protocol; the second version begins with it.
        Linktype::LINUX_SLL => Ip::EtherType(ether_type(14)?, data.get(16..)?),
        Linktype::LINUX_SLL2 => Ip::EtherType(ether_type(0)?, data.get(20..)?),
        // BSD's loopback: an address family, in the byte order of whoever
        // captured. IPv4 is 2 everywhere, IPv6 differs, and the packet says it
        // too.
        Linktype::NULL | Linktype::LOOP => Ip::Packet(data.get(4..)?),
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 => Ip::Packet(data),
        link if RAW_OTHERS.contains(&link) => Ip::Packet(data),
        _ => return None,
    };
    Some(ip)
}

fn sender(net: &NetSlice<'_>) -> Option<IpAddr> {
    match net {
        NetSlice::Ipv4(ip) => Some(ip.header().source_addr().into()),
        NetSlice::Ipv6(ip) => Some(ip.header().source_addr().into()),
        NetSlice::Arp(_) => None,
    }
}
