//! The record layer: headers, and a datagram split into its records (RFC 6347 section 4.1).

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// The one-byte message that announces the next epoch.
    ChangeCipherSpec,
    /// An alert: level and description.
    Alert,
    /// Fragments of handshake messages.
    Handshake,
    /// The application's bytes.
    ApplicationData,
}

impl ContentType {
    fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            20 => Some(Self::ChangeCipherSpec),
            21 => Some(Self::Alert),
            22 => Some(Self::Handshake),
            23 => Some(Self::ApplicationData),
            _ => None,
        }
    }

    pub(super) fn wire(self) -> u8 {
        match self {
            Self::ChangeCipherSpec => 20,
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::ApplicationData => 23,
        }
    }
}

/// The header of a record, as the peer wrote it: nothing in it is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// What the record carries.
    pub content_type: ContentType,
    /// The version as it stands on the wire, `0xfefd` for DTLS 1.2.
    pub version: u16,
    /// 0 before the ChangeCipherSpec, 1 after it.
    pub epoch: u16,
    /// The 48-bit sequence number within the epoch.
    pub number: u64,
    /// Bytes that follow the header.
    pub length: usize,
}

impl RecordHeader {
    /// Length of a header, in bytes.
    pub const LEN: usize = 13;

    /// Reads the header at the front of `datagram`. `None` where there is none: too short, an unknown content
    /// type, another protocol's version, or a length that reaches past the datagram's end.
    pub fn peek(datagram: &[u8]) -> Option<Self> {
        let (header, rest) = datagram.split_first_chunk::<{ Self::LEN }>()?;
        let [kind, v0, v1, e0, e1, n0, n1, n2, n3, n4, n5, l0, l1] = *header;
        let header = Self {
            content_type: ContentType::from_wire(kind)?,
            version: u16::from_be_bytes([v0, v1]),
            epoch: u16::from_be_bytes([e0, e1]),
            number: u64::from_be_bytes([0, 0, n0, n1, n2, n3, n4, n5]),
            length: usize::from(u16::from_be_bytes([l0, l1])),
        };
        let ours = matches!(header.version, DTLS_1_0 | DTLS_1_2);
        (ours && header.length <= rest.len()).then_some(header)
    }

    /// The header as it stands on the wire.
    pub(super) fn to_bytes(self) -> [u8; Self::LEN] {
        let [v0, v1] = self.version.to_be_bytes();
        let [e0, e1] = self.epoch.to_be_bytes();
        let [_, _, n0, n1, n2, n3, n4, n5] = self.number.to_be_bytes();
        // No plaintext is longer than 2^14 bytes, so no record is longer than the field can tell.
        let [l0, l1] = (self.length as u16).to_be_bytes();
        [
            self.content_type.wire(),
            v0,
            v1,
            e0,
            e1,
            n0,
            n1,
            n2,
            n3,
            n4,
            n5,
            l0,
            l1,
        ]
    }
}

/// Splits a datagram into its records, header included. Stops at the first malformed one.
//= RFC 6347 section 4.1.1
//# Multiple DTLS records may be placed in a single datagram.
pub fn records(datagram: &mut [u8]) -> impl Iterator<Item = &mut [u8]> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let header = RecordHeader::peek(rest)?;
        let (record, tail) = std::mem::take(&mut rest).split_at_mut(RecordHeader::LEN + header.length);
        rest = tail;
        Some(record)
    })
}

/// Appends a record of epoch 0.
pub(super) fn write_plaintext(
    content_type: ContentType,
    version: u16,
    number: u64,
    body: &[u8],
    out: &mut Vec<u8>,
) {
    let header = RecordHeader {
        content_type,
        version,
        epoch: 0,
        number,
        length: body.len(),
    };
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(body);
}

/// The version of DTLS 1.0, which opens a handshake whatever comes of it.
pub(super) const DTLS_1_0: u16 = 0xfeff;
/// The version of DTLS 1.2.
pub(super) const DTLS_1_2: u16 = 0xfefd;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[rustfmt::skip]
    const HANDSHAKE_RECORD: [u8; 16] = [
        22,                     // handshake
        0xfe, 0xfd,             // DTLS 1.2
        0x00, 0x01,             // epoch
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, // number
        0x00, 0x03,             // length
        0xaa, 0xbb, 0xcc,
    ];

    #[test]
    fn rfc6347_4_1_a_header_has_13_bytes() {
        let header = RecordHeader::peek(&HANDSHAKE_RECORD).unwrap();
        let expected = RecordHeader {
            content_type: ContentType::Handshake,
            version: 0xfefd,
            epoch: 1,
            number: 0x0102_0304_0506,
            length: 3,
        };
        assert_eq!(header, expected);
        assert_eq!(header.to_bytes(), HANDSHAKE_RECORD[..13]);
    }

    #[test]
    fn what_is_not_a_record_has_no_header() {
        let with = |index: usize, byte: u8| {
            let mut record = HANDSHAKE_RECORD;
            record[index] = byte;
            record
        };
        assert_eq!(RecordHeader::peek(&[]), None);
        assert_eq!(RecordHeader::peek(&HANDSHAKE_RECORD[..12]), None);
        assert_eq!(
            RecordHeader::peek(&HANDSHAKE_RECORD[..15]),
            None,
            "the length reaches past the end"
        );
        assert_eq!(RecordHeader::peek(&with(0, 24)), None, "heartbeat");
        assert_eq!(RecordHeader::peek(&with(1, 3)), None, "TLS");
        assert_eq!(RecordHeader::peek(&with(2, 0xfc)), None, "DTLS 1.3");
        assert!(
            RecordHeader::peek(&with(2, 0xff)).is_some(),
            "DTLS 1.0 opens handshakes"
        );
    }

    #[test]
    fn rfc6347_4_1_1_a_datagram_is_split_into_its_records() {
        let mut datagram = [&HANDSHAKE_RECORD[..], &HANDSHAKE_RECORD[..], &[22, 0xfe]].concat();
        let split: Vec<Vec<u8>> = records(&mut datagram).map(|record| record.to_vec()).collect();
        assert_eq!(split, [HANDSHAKE_RECORD, HANDSHAKE_RECORD]);
    }

    proptest! {
        #[test]
        fn splitting_never_panics_and_invents_no_bytes(mut datagram in proptest::collection::vec(any::<u8>(), 0..200)) {
            let whole = datagram.clone();
            let joined: Vec<u8> = records(&mut datagram).flat_map(|record| record.to_vec()).collect();
            prop_assert!(whole.starts_with(&joined));
        }
    }
}
