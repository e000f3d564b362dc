//! The only unsafe code of the program: a safe face on each kernel facility
//! that no library offers in the shape we need.
//!
//! Nothing here knows what a datagram means or which thread does what; the
//! `receive` module decides, these files only keep the kernel's contracts.

pub mod affinity;
mod buf_ring;
pub mod event;
pub mod mmsg;
mod pages;
pub mod poll;
pub mod readiness;
pub mod seccomp;
pub mod socket_options;
pub mod uring;

/// Room for the payload of one datagram, in bytes: the most that the length
/// field of UDP can say. A Unix datagram may be longer; it arrives truncated.
pub const PAYLOAD_BYTES_MAX: usize = 65_535;

/// A datagram as the kernel handed it over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// It was longer than [`PAYLOAD_BYTES_MAX`]; its rest is lost.
    Truncated,
}
