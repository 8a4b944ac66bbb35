//! The record layer: headers, and a datagram split into its records (RFC 6347 section 4.1, RFC 9146 section 4).

use super::ConnectionId;

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
    /// Any of the others, under a connection ID (RFC 9146): which one is encrypted.
    Tls12Cid,
    /// A question whether we receive at an address, or the answer (RFC 9853).
    ReturnRoutabilityCheck,
}

impl ContentType {
    /// The type of this number, if it is one of ours.
    pub(super) fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            20 => Some(Self::ChangeCipherSpec),
            21 => Some(Self::Alert),
            22 => Some(Self::Handshake),
            23 => Some(Self::ApplicationData),
            25 => Some(Self::Tls12Cid),
            27 => Some(Self::ReturnRoutabilityCheck),
            _ => None,
        }
    }

    pub(super) fn wire(self) -> u8 {
        match self {
            Self::ChangeCipherSpec => 20,
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::ApplicationData => 23,
            Self::Tls12Cid => 25,
            Self::ReturnRoutabilityCheck => 27,
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
    /// Length of a header without a connection ID, in bytes.
    pub const LEN: usize = 13;

    /// Reads the header at the front of `datagram`. `None` where there is none: too short, an unknown content
    /// type, another protocol's version, or a length that reaches past the datagram's end. A connection ID is taken for
    /// one of ours, which all have the same length.
    pub fn peek(datagram: &[u8]) -> Option<Self> {
        let (header, rest) = datagram.split_first_chunk::<{ Self::LEN }>()?;
        let [kind, v0, v1, e0, e1, n0, n1, n2, n3, n4, n5, l0, l1] = *header;
        let content_type = ContentType::from_wire(kind)?;
        let (length, rest) = match content_type {
            //= RFC 9146 section 4
            //# opaque cid[cid_length];               // New field
            //# uint16 length;
            ContentType::Tls12Cid => {
                let (length, rest) = datagram
                    .get(LENGTH_AT + ConnectionId::LEN..)?
                    .split_first_chunk()?;
                (*length, rest)
            }
            ContentType::ChangeCipherSpec
            | ContentType::Alert
            | ContentType::Handshake
            | ContentType::ApplicationData
            | ContentType::ReturnRoutabilityCheck => ([l0, l1], rest),
        };
        let header = Self {
            content_type,
            version: u16::from_be_bytes([v0, v1]),
            epoch: u16::from_be_bytes([e0, e1]),
            number: u64::from_be_bytes([0, 0, n0, n1, n2, n3, n4, n5]),
            length: usize::from(u16::from_be_bytes(length)),
        };
        let ours = matches!(header.version, DTLS_1_0 | DTLS_1_2);
        (ours && header.length <= rest.len()).then_some(header)
    }

    /// The connection ID on the first record of `datagram`; `None` where it has none or is no record.
    pub fn connection_id(datagram: &[u8]) -> Option<ConnectionId> {
        Self::peek(datagram)?.id_in(datagram)
    }

    /// The connection ID in the record that this is the header of.
    pub(super) fn id_in(self, record: &[u8]) -> Option<ConnectionId> {
        match self.content_type {
            ContentType::Tls12Cid => record
                .get(LENGTH_AT..)?
                .first_chunk()
                .copied()
                .map(ConnectionId::new),
            ContentType::ChangeCipherSpec
            | ContentType::Alert
            | ContentType::Handshake
            | ContentType::ApplicationData
            | ContentType::ReturnRoutabilityCheck => None,
        }
    }

    /// Length of this header, in bytes, its connection ID included.
    pub(super) fn header_len(self) -> usize {
        match self.content_type {
            ContentType::Tls12Cid => Self::LEN + ConnectionId::LEN,
            ContentType::ChangeCipherSpec
            | ContentType::Alert
            | ContentType::Handshake
            | ContentType::ApplicationData
            | ContentType::ReturnRoutabilityCheck => Self::LEN,
        }
    }

    /// Writes the header of a record under the connection ID `id` to the front of `out`.
    pub(super) fn write_with_id(self, id: &[u8], out: &mut [u8]) {
        let header = self.to_bytes();
        let (front, length) = header.split_at(LENGTH_AT);
        out[..LENGTH_AT].copy_from_slice(front);
        out[LENGTH_AT..LENGTH_AT + id.len()].copy_from_slice(id);
        out[LENGTH_AT + id.len()..Self::LEN + id.len()].copy_from_slice(length);
    }

    /// The header as it stands on the wire, where it has no connection ID.
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
        let (record, tail) = std::mem::take(&mut rest).split_at_mut(header.header_len() + header.length);
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

/// Where in a header the length stands, or the connection ID before it.
const LENGTH_AT: usize = RecordHeader::LEN - 2;
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

    #[rustfmt::skip]
    const RECORD_WITH_ID: [u8; 24] = [
        25,                     // tls12_cid
        0xfe, 0xfd,             // DTLS 1.2
        0x00, 0x01,             // epoch
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, // number
        0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7,
        0x00, 0x03,             // length
        0xaa, 0xbb, 0xcc,
    ];

    #[test]
    fn rfc9146_4_an_id_stands_before_the_length() {
        let header = RecordHeader::peek(&RECORD_WITH_ID).unwrap();
        let expected = RecordHeader {
            content_type: ContentType::Tls12Cid,
            version: 0xfefd,
            epoch: 1,
            number: 0x0102_0304_0506,
            length: 3,
        };
        assert_eq!(header, expected);
        assert_eq!(header.header_len(), 21);
        let id = ConnectionId::new([0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7]);
        assert_eq!(RecordHeader::connection_id(&RECORD_WITH_ID), Some(id));
        assert_eq!(RecordHeader::connection_id(&HANDSHAKE_RECORD), None);
        let mut written = [0; 21];
        header.write_with_id(&id.to_bytes(), &mut written);
        assert_eq!(written, RECORD_WITH_ID[..21]);
        for len in 0..RECORD_WITH_ID.len() {
            assert_eq!(RecordHeader::peek(&RECORD_WITH_ID[..len]), None, "{len} bytes");
            assert_eq!(
                RecordHeader::connection_id(&RECORD_WITH_ID[..len]),
                None,
                "{len} bytes"
            );
        }
        let mut longer = RECORD_WITH_ID;
        longer[20] = 4;
        assert_eq!(
            RecordHeader::peek(&longer),
            None,
            "the length reaches past the end"
        );
        let mut shorter = RECORD_WITH_ID;
        shorter[20] = 0;
        assert_eq!(RecordHeader::peek(&shorter).unwrap().length, 0);
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

        let cut = &RECORD_WITH_ID[..15];
        let mut datagram = [
            &RECORD_WITH_ID[..],
            &HANDSHAKE_RECORD,
            &RECORD_WITH_ID,
            &HANDSHAKE_RECORD,
            cut,
        ]
        .concat();
        let split: Vec<Vec<u8>> = records(&mut datagram).map(|record| record.to_vec()).collect();
        let expected: [&[u8]; 4] = [
            &RECORD_WITH_ID,
            &HANDSHAKE_RECORD,
            &RECORD_WITH_ID,
            &HANDSHAKE_RECORD,
        ];
        assert_eq!(split, expected);
    }

    proptest! {
        #[test]
        fn splitting_never_panics_and_invents_no_bytes(mut datagram in proptest::collection::vec(any::<u8>(), 0..200)) {
            let whole = datagram.clone();
            let joined: Vec<u8> = records(&mut datagram).flat_map(|record| record.to_vec()).collect();
            prop_assert!(whole.starts_with(&joined));
        }

        #[test]
        fn splitting_headers_that_may_be_some_never_panics(
            pieces in proptest::collection::vec((any::<bool>(), 0..40_usize, 0..30_usize, any::<u8>()), 0..6),
        ) {
            let mut datagram = Vec::new();
            for (with_id, header, body, length) in pieces {
                let record = if with_id { &RECORD_WITH_ID[..21] } else { &HANDSHAKE_RECORD[..13] };
                let start = datagram.len();
                datagram.extend_from_slice(&record[..header.min(record.len())]);
                if let Some(last) = datagram[start..].last_mut() {
                    *last = length % 40;
                }
                datagram.resize(datagram.len() + body, length);
            }
            let _ = RecordHeader::connection_id(&datagram);
            let whole = datagram.clone();
            let joined: Vec<u8> = records(&mut datagram).flat_map(|record| record.to_vec()).collect();
            prop_assert!(whole.starts_with(&joined));
        }
    }
}
