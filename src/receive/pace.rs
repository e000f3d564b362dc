//! How long a receiver lets datagrams gather before it takes them.
//!
//! Waking a thread costs more than reading a datagram, so a receiver that woke
//! for each would mostly wake. Instead it rests after each drain and then finds
//! many at once. What they wait in is the socket's buffer, which must not
//! overflow meanwhile:
//!
//! - No rest is longer than half the time in which a burst of
//!   [`BURST_PER_SECOND`] small datagrams fills the buffer.
//! - After each rest the receiver looks how full the buffer has become, and
//!   takes the next rest so that it comes to be filled to a quarter. A flood
//!   thus ends all rests.
//!
//! Whoever looks at the numbers rings a bell first (see `bell`), so the delay is
//! never seen.

use std::time::Duration;

use crate::sys::socket_options::ReceiveMemory;

/// How long datagrams may gather.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gather {
    /// For as long as the receive buffer can surely take a burst, at most
    /// [`AUTO_MAX`].
    #[default]
    Auto,
    /// For as long as this, and shorter while the buffer is filling. Zero
    /// switches gathering off.
    AtMost(Duration),
}

/// Beyond this nothing more is gained: waking up has become a few per cent of
/// the cost.
pub const AUTO_MAX: Duration = Duration::from_millis(20);

/// A burst to be survived: what one core sends at its best.
const BURST_PER_SECOND: u64 = 400_000;

/// What the kernel takes of the buffer for a small datagram.
const SMALL_DATAGRAM_BYTES: u64 = 770;

/// A rest that is shorter costs more than it saves.
const REST_MIN: Duration = Duration::from_micros(50);

/// How full a rest is to leave the buffer: one part in this many.
const FILL_PARTS: u64 = 4;

/// The rests of one receiver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    rest: Duration,
    rest_max: Duration,
}

impl Pace {
    /// The pace for a socket whose buffer is so large; none rests if that is
    /// unknown.
    pub(super) fn new(gather: Gather, memory: Option<ReceiveMemory>) -> Pace {
        let granted = memory.map_or(0, |memory| u64::from(memory.granted));
        let rest_max = match gather {
            Gather::Auto => worthwhile(longest_safe(granted).min(AUTO_MAX)),
            Gather::AtMost(longest) => longest,
        };
        Pace {
            rest: rest_max,
            rest_max,
        }
    }

    /// Whether this receiver ever rests.
    pub(super) fn rests(&self) -> bool {
        !self.rest_max.is_zero()
    }

    /// How long to rest now.
    pub(super) fn rest(&self) -> Duration {
        self.rest
    }

    /// Takes note of how full the buffer was after the last rest.
    pub(super) fn found(&mut self, memory: ReceiveMemory) {
        let ideal = u64::from(memory.granted) / FILL_PARTS;
        let used = u64::from(memory.used).max(1);
        let rest_ns = self.rest.as_nanos().min(u64::MAX.into()) as u64;
        let fitting = Duration::from_nanos(rest_ns.saturating_mul(ideal) / used);
        // Lengthened with care, shortened at once.
        let longer = (self.rest * 2).max(REST_MIN);
        let fitting = if self.rest.is_zero() && used < ideal {
            longer
        } else {
            fitting.min(longer)
        };
        self.rest = worthwhile(fitting).min(self.rest_max);
    }

    /// Takes note that datagrams come faster than they are delivered.
    pub(super) fn overrun(&mut self) {
        self.rest = Duration::ZERO;
    }
}

/// A rest, unless it is too short to be one.
fn worthwhile(rest: Duration) -> Duration {
    if rest < REST_MIN {
        Duration::ZERO
    } else {
        rest
    }
}

/// Half the time in which a burst of small datagrams fills so large a buffer.
fn longest_safe(granted_bytes: u64) -> Duration {
    let datagrams = granted_bytes / SMALL_DATAGRAM_BYTES;
    Duration::from_secs(datagrams) / BURST_PER_SECOND as u32 / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u32 = 1 << 20;

    fn memory(used: u32, granted: u32) -> ReceiveMemory {
        ReceiveMemory {
            used,
            granted,
            drops: 0,
        }
    }

    fn pace(gather: Gather, granted: u32) -> Pace {
        Pace::new(gather, Some(memory(0, granted)))
    }

    fn rest_us(pace: &Pace) -> u128 {
        pace.rest().as_micros()
    }

    #[test]
    fn the_longest_rest_follows_from_the_buffer() {
        assert_eq!(rest_us(&pace(Gather::Auto, 8 * MIB)), 13_617);
        assert_eq!(rest_us(&pace(Gather::Auto, 16 * MIB)), 20_000);
        assert_eq!(rest_us(&pace(Gather::Auto, 4 * MIB)), 6_808);
        assert_eq!(rest_us(&pace(Gather::Auto, 208 * 1024)), 345);
        let given = Duration::from_millis(50);
        assert_eq!(pace(Gather::AtMost(given), 8 * MIB).rest(), given);
        assert!(!pace(Gather::AtMost(Duration::ZERO), 8 * MIB).rests());
        assert!(!pace(Gather::Auto, 20_000).rests());
        assert!(!Pace::new(Gather::Auto, None).rests());
    }

    #[test]
    fn rests_shrink_with_the_fill_down_to_none_and_grow_back() {
        let mut pace = pace(Gather::AtMost(Duration::from_millis(10)), 8 * MIB);
        pace.found(memory(MIB, 8 * MIB));
        assert_eq!(rest_us(&pace), 10_000);
        pace.found(memory(4 * MIB, 8 * MIB));
        assert_eq!(rest_us(&pace), 5_000);
        for _ in 0..7 {
            pace.found(memory(8 * MIB, 8 * MIB));
        }
        assert!(pace.rest().is_zero() && pace.rests());
        pace.found(memory(3 * MIB, 8 * MIB));
        assert!(pace.rest().is_zero());
        pace.found(memory(MIB, 8 * MIB));
        assert_eq!(rest_us(&pace), 50);
        pace.found(memory(0, 8 * MIB));
        assert_eq!(rest_us(&pace), 100);
        for _ in 0..7 {
            pace.found(memory(0, 8 * MIB));
        }
        assert_eq!(rest_us(&pace), 10_000);
        pace.overrun();
        assert!(pace.rest().is_zero());
    }

    #[test]
    fn a_steady_load_comes_to_a_steady_rest() {
        // 40 MiB a second into 1 MiB: a quarter of it in 6.25 ms.
        let mut pace = pace(Gather::AtMost(Duration::from_millis(20)), MIB);
        for _ in 0..20 {
            let used = 40.0 * f64::from(MIB) * pace.rest().as_secs_f64();
            pace.found(memory(used.min(f64::from(MIB)) as u32, MIB));
        }
        assert!(rest_us(&pace).abs_diff(6250) < 100, "{:?}", pace.rest());
    }
}
