//! Series to bytes.

/// The formats of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// `MetricFamily` messages, each behind its length.
    ProtobufDelimited,
    /// The same as multi-line prototext.
    ProtobufText,
    /// The same as prototext, a family a line.
    ProtobufCompactText,
}
