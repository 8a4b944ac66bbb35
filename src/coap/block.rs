//! Blocks of a body (RFC 7959): the value of Block1 and Block2, and which bytes of a body a block is.

use std::ops::Range;

use thiserror::Error;

/// The size of a block: 2^(4 + SZX) bytes, SZX 0 to 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Szx(u8);

/// A block's number, 20 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockNum(u32);

/// The value of a Block1 or Block2 option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    /// Which one.
    pub num: BlockNum,
    /// Whether others follow.
    pub more: bool,
    /// How large it is.
    pub szx: Szx,
}

/// Why an option value is no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BlockError {
    /// SZX 7: a request with it is answered 4.00.
    #[error("block size exponent 7 is reserved")]
    ReservedSize,
    /// More than three bytes.
    #[error("a block option value of more than 24 bits")]
    TooLong,
}

/// The part of a body that answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Which bytes of the body.
    pub range: Range<u64>,
    /// What goes into the answer's Block2; `None` if the body fits an answer and nobody asked for blocks.
    pub block2: Option<Block>,
}

/// The block asked for begins at or after the end of the body: 4.00.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("block {} of {} bytes begins past the end of a body of {body_len} bytes", block.num.get(), block.szx.size())]
pub struct PastEnd {
    /// What was asked for.
    pub block: Block,
    /// The body's length in bytes.
    pub body_len: u64,
}

/// Which part of a body of `body_len` bytes answers a request whose Block2 is `requested`.
///
/// Stateless. The block is exactly as large as was asked for: devices neither adapt to a smaller one nor survive a larger
/// one. Without a Block2 a body above [`Szx::MAX`] is begun at that size. Block 0 of an empty body exists, and is empty.
///
/// # Errors
///
/// [`PastEnd`] if the block begins at or after the end of the body.
pub fn slice(body_len: u64, requested: Option<Block>) -> Result<Slice, PastEnd> {
    let Some(requested) = requested else {
        let first = Block {
            num: BlockNum::ZERO,
            more: true,
            szx: Szx::MAX,
        };
        return Ok(if body_len > Szx::MAX.size() {
            Slice {
                range: 0..Szx::MAX.size(),
                block2: Some(first),
            }
        } else {
            Slice {
                range: 0..body_len,
                block2: None,
            }
        });
    };
    let start = requested.offset();
    if start >= body_len && start > 0 {
        return Err(PastEnd {
            block: requested,
            body_len,
        });
    }
    let end = body_len.min(start + requested.szx.size());
    Ok(Slice {
        range: start..end,
        block2: Some(Block {
            more: end < body_len,
            ..requested
        }),
    })
}

impl Slice {
    /// In bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        // At most a block, so it fits any integer.
        (self.range.end - self.range.start) as usize
    }

    /// Whether there is nothing in it, as in an empty body.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Szx {
    /// 16 bytes.
    pub const MIN: Self = Self(0);
    /// 1024 bytes.
    pub const MAX: Self = Self(6);

    /// `None` above 6.
    #[must_use]
    pub const fn new(szx: u8) -> Option<Self> {
        if szx <= Self::MAX.0 { Some(Self(szx)) } else { None }
    }

    /// The block size of exactly `bytes`, if there is one: a power of two from 16 to 1024.
    #[must_use]
    pub const fn from_size(bytes: u64) -> Option<Self> {
        if bytes.is_power_of_two() && bytes >= 16 && bytes <= 1024 {
            Some(Self(bytes.trailing_zeros() as u8 - 4))
        } else {
            None
        }
    }

    /// 0 to 6.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// In bytes.
    #[must_use]
    pub const fn size(self) -> u64 {
        16 << self.0
    }
}

impl BlockNum {
    /// The first block.
    pub const ZERO: Self = Self(0);
    /// The last that can be named, 2^20 − 1.
    pub const MAX: Self = Self((1 << 20) - 1);

    /// `None` for more than 20 bits.
    #[must_use]
    pub const fn new(num: u32) -> Option<Self> {
        if num <= Self::MAX.0 { Some(Self(num)) } else { None }
    }

    /// 0 to 2^20 − 1.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The one after it, if it can be named.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }
}

impl Block {
    /// The first block of this size, as a request names it.
    #[must_use]
    pub const fn first(szx: Szx) -> Self {
        Self {
            num: BlockNum::ZERO,
            more: false,
            szx,
        }
    }

    /// The block of half the size that begins where this one does; `None` where there is no smaller size, or no such number.
    #[must_use]
    pub const fn halved(self) -> Option<Self> {
        match (BlockNum::new(self.num.0 << 1), self.szx.0) {
            (Some(num), szx @ 1..) => Some(Self {
                num,
                szx: Szx(szx - 1),
                ..self
            }),
            (None, _) | (_, 0) => None,
        }
    }

    /// Reads an option value. Leading zeros are accepted: some devices write them.
    ///
    /// # Errors
    ///
    /// [`BlockError`] for SZX 7 and for more than 24 bits.
    pub fn parse(value: &[u8]) -> Result<Self, BlockError> {
        let significant = &value[value.iter().take_while(|byte| **byte == 0).count()..];
        if significant.len() > 3 {
            return Err(BlockError::TooLong);
        }
        Self::from_bits(
            significant
                .iter()
                .fold(0, |bits, byte| bits << 8 | u32::from(*byte)),
        )
    }

    /// As [`Self::parse`], from the value as a number.
    ///
    /// # Errors
    ///
    /// [`BlockError`] for SZX 7 and for more than 24 bits.
    pub fn from_bits(bits: u32) -> Result<Self, BlockError> {
        let num = BlockNum::new(bits >> 4).ok_or(BlockError::TooLong)?;
        //= RFC 7959 section 2.2
        //# The value 7 for SZX (which would indicate a block size of 2048) is reserved, i.e., MUST NOT be sent
        //# and MUST lead to a 4.00 Bad Request response code upon reception in a request.
        let szx = Szx::new((bits & 0b111) as u8).ok_or(BlockError::ReservedSize)?;
        Ok(Self {
            num,
            more: bits & 0b1000 != 0,
            szx,
        })
    }

    /// The option value as a number.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.num.0 << 4 | (self.more as u32) << 3 | self.szx.0 as u32
    }

    /// Where in the body it begins, in bytes.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.num.0 as u64 * self.szx.size()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rfc7959_2_2_option_values_by_hand() {
        let table: [(&[u8], u32, bool, u8); 12] = [
            (&[], 0, false, 0),
            (&[0x06], 0, false, 6),
            (&[0x0e], 0, true, 6),
            (&[0xf6], 15, false, 6),
            (&[0x01, 0x06], 16, false, 6),
            (&[0xff, 0xfe], 4095, true, 6),
            (&[0x01, 0x00, 0x0e], 4096, true, 6),
            (&[0x0f, 0xff, 0xf6], 65535, false, 6),
            (&[0x10, 0x00, 0x06], 65536, false, 6),
            (&[0xff, 0xff, 0xf6], 0xf_ffff, false, 6),
            (&[0xff, 0xff, 0xf8], 0xf_ffff, true, 0),
            (&[0x00, 0x00, 0x00, 0x16], 1, false, 6),
        ];
        for (bytes, num, more, szx) in table {
            let block = Block {
                num: BlockNum::new(num).unwrap(),
                more,
                szx: Szx::new(szx).unwrap(),
            };
            assert_eq!(Block::parse(bytes), Ok(block), "{bytes:02x?}");
            assert_eq!(Block::from_bits(block.bits()), Ok(block));
            assert_eq!(block.offset(), u64::from(num) << (4 + szx));
        }
    }

    #[test]
    fn rfc7959_2_2_reserved_size_is_refused() {
        assert_eq!(Block::parse(&[0x07]), Err(BlockError::ReservedSize));
        assert_eq!(Block::parse(&[0xff, 0xff, 0xff]), Err(BlockError::ReservedSize));
    }

    #[test]
    fn rfc7959_2_2_more_than_24_bits_are_refused() {
        assert_eq!(Block::parse(&[0x01, 0x00, 0x00, 0x06]), Err(BlockError::TooLong));
        assert_eq!(Block::parse(&[0xff; 8]), Err(BlockError::TooLong));
        assert_eq!(BlockNum::new(1 << 20), None);
        assert_eq!(BlockNum::MAX.next(), None);
    }

    #[test]
    fn sizes_are_powers_of_two_from_16_to_1024() {
        let sizes: Vec<u64> = (0..7).map(|szx| Szx::new(szx).unwrap().size()).collect();
        assert_eq!(sizes, [16, 32, 64, 128, 256, 512, 1024]);
        assert!(
            sizes
                .iter()
                .all(|size| Szx::from_size(*size).unwrap().size() == *size)
        );
        for size in [0, 8, 15, 100, 2048] {
            assert_eq!(Szx::from_size(size), None);
        }
        assert_eq!(Szx::new(7), None);
    }

    #[test]
    fn a_slice_is_as_large_as_was_asked_for() {
        let requested = |num, szx| {
            Some(Block {
                num: BlockNum::new(num).unwrap(),
                more: false,
                szx: Szx::new(szx).unwrap(),
            })
        };
        let cut =
            |len, block| slice(len, block).map(|slice| (slice.range, slice.block2.map(|block| block.more)));
        assert_eq!(cut(1025, requested(0, 6)), Ok((0..1024, Some(true))));
        assert_eq!(cut(1025, requested(1, 6)), Ok((1024..1025, Some(false))));
        assert_eq!(cut(1024, requested(0, 6)), Ok((0..1024, Some(false))));
        assert_eq!(cut(100, requested(6, 0)), Ok((96..100, Some(false))));
        assert_eq!(cut(100, None), Ok((0..100, None)));
        assert_eq!(cut(1024, None), Ok((0..1024, None)));
        assert_eq!(cut(1025, None), Ok((0..1024, Some(true))));
        assert_eq!(
            cut(1 << 40, requested(0xf_ffff, 6)),
            Ok((0xf_ffff << 10..1 << 30, Some(true)))
        );
        assert_eq!(cut(0, requested(0, 6)), Ok((0..0, Some(false))));
    }

    #[test]
    fn blocks_past_the_end_do_not_exist() {
        for (len, num) in [(1024, 1), (0, 1), (1, 0xf_ffff)] {
            let block = Block {
                num: BlockNum::new(num).unwrap(),
                more: false,
                szx: Szx::MAX,
            };
            assert_eq!(slice(len, Some(block)), Err(PastEnd { block, body_len: len }));
        }
    }
}
