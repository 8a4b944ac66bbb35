//! An upload in blocks (Block1): put together here, so that handlers see whole bodies only.

use std::borrow::Cow;
use std::time::Instant;

use super::block::Block;
use super::dedup::EXCHANGE_LIFETIME;

/// An unfinished upload. A peer has at most one; another one replaces it.
#[derive(Debug)]
pub struct Upload {
    target: u64,
    body: Vec<u8>,
    /// When it is given up if nothing follows.
    pub deadline: Instant,
}

/// One block as it came.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// What is uploaded to ([`super::Request::target`]).
    pub target: u64,
    /// Its option.
    pub block: Block,
    /// How large the whole will be, if the peer says so.
    pub size1: Option<u32>,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// What a block brought.
#[derive(Debug)]
pub enum Progress<'a> {
    /// The last one: this is the whole body.
    Whole(Cow<'a, [u8]>),
    /// Others may follow: 2.31.
    Continue,
    /// Others are missing before it: 4.08.
    Incomplete,
    /// More than [`MAX_BODY`]: 4.13.
    TooLarge,
    /// Not as long as it says: 4.00.
    WrongLength,
}

impl Upload {
    /// Adds a block to the peer's upload in `slot`.
    pub fn add<'a>(slot: &mut Option<Box<Self>>, now: Instant, piece: &Piece<'a>) -> Progress<'a> {
        let Piece {
            target,
            block,
            size1,
            bytes,
        } = *piece;
        let (offset, size) = (block.offset() as usize, block.szx.size() as usize);
        if slot.as_ref().is_some_and(|upload| upload.deadline <= now) {
            *slot = None;
        }
        let same = slot.as_ref().is_some_and(|upload| upload.target == target);
        if size1.is_some_and(|size| size as usize > MAX_BODY) || offset + bytes.len() > MAX_BODY {
            if same {
                *slot = None;
            }
            return Progress::TooLarge;
        }
        if bytes.len() > size || (block.more && bytes.len() < size) {
            return Progress::WrongLength;
        }
        if offset == 0 {
            if same {
                *slot = None;
            }
            if !block.more {
                return Progress::Whole(Cow::Borrowed(bytes));
            }
            let deadline = now + EXCHANGE_LIFETIME;
            *slot = Some(Box::new(Self {
                target,
                body: bytes.to_vec(),
                deadline,
            }));
            return Progress::Continue;
        }
        let Some(upload) = slot.as_mut().filter(|_| same) else {
            return Progress::Incomplete;
        };
        let body = &mut upload.body;
        if body.len() == offset {
            body.extend_from_slice(bytes);
        } else if !(block.more && body.get(offset..) == Some(bytes)) {
            // Neither the next block nor the last one once more, under another message ID.
            return Progress::Incomplete;
        }
        upload.deadline = now + EXCHANGE_LIFETIME;
        if block.more {
            return Progress::Continue;
        }
        let body = slot.take().map(|upload| upload.body).unwrap_or_default();
        Progress::Whole(Cow::Owned(body))
    }
}

/// The largest upload put together from blocks, in bytes: reports and logs are far smaller. More is answered 4.13.
pub const MAX_BODY: usize = 16 * 1024;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::coap::{BlockNum, Szx};

    fn piece(num: u32, more: bool, bytes: &[u8]) -> Piece<'_> {
        let block = Block {
            num: BlockNum::new(num).unwrap(),
            more,
            szx: Szx::MIN,
        };
        Piece {
            target: 1,
            block,
            size1: None,
            bytes,
        }
    }

    #[test]
    fn rfc7959_2_5_blocks_become_one_body() {
        let (now, mut slot) = (Instant::now(), None);
        let mut add = |piece: &Piece<'static>| Upload::add(&mut slot, now, piece);
        assert!(matches!(add(&piece(0, true, &[1; 16])), Progress::Continue));
        assert!(matches!(add(&piece(1, true, &[2; 16])), Progress::Continue));
        assert!(
            matches!(add(&piece(1, true, &[2; 16])), Progress::Continue),
            "the same once more"
        );
        let Progress::Whole(body) = add(&piece(2, false, &[3; 5])) else {
            panic!("not whole")
        };
        assert_eq!(*body, [[1; 16].as_slice(), &[2; 16], &[3; 5]].concat());
        assert!(slot.is_none());
    }

    #[test]
    fn rfc7959_2_9_2_a_gap_is_incomplete() {
        let (now, mut slot) = (Instant::now(), None);
        assert!(matches!(
            Upload::add(&mut slot, now, &piece(1, true, &[0; 16])),
            Progress::Incomplete
        ));
        assert!(matches!(
            Upload::add(&mut slot, now, &piece(0, true, &[0; 16])),
            Progress::Continue
        ));
        assert!(matches!(
            Upload::add(&mut slot, now, &piece(2, false, &[0; 1])),
            Progress::Incomplete
        ));
        let other = Piece {
            target: 2,
            ..piece(1, false, &[0; 1])
        };
        assert!(matches!(
            Upload::add(&mut slot, now, &other),
            Progress::Incomplete
        ));
        assert!(matches!(
            Upload::add(&mut slot, now, &piece(1, false, &[0; 1])),
            Progress::Whole(_)
        ));
    }

    #[test]
    fn rfc7959_2_9_3_a_body_has_a_bound() {
        let (now, mut slot) = (Instant::now(), None);
        let announced = Piece {
            size1: Some(MAX_BODY as u32 + 1),
            ..piece(0, true, &[0; 16])
        };
        assert!(matches!(
            Upload::add(&mut slot, now, &announced),
            Progress::TooLarge
        ));
        let blocks = (MAX_BODY / 16) as u32;
        for num in 0..blocks {
            assert!(matches!(
                Upload::add(&mut slot, now, &piece(num, true, &[0; 16])),
                Progress::Continue
            ));
        }
        assert!(matches!(
            Upload::add(&mut slot, now, &piece(blocks, false, &[0])),
            Progress::TooLarge
        ));
        assert!(slot.is_none(), "and leaves nothing behind");
        assert!(matches!(
            Upload::add(&mut slot, now, &piece(0xf_ffff, false, &[0])),
            Progress::TooLarge
        ));
    }

    #[test]
    fn rfc7959_2_3_a_block_with_others_to_follow_is_full() {
        let (now, mut slot) = (Instant::now(), None);
        assert!(matches!(
            Upload::add(&mut slot, now, &piece(0, true, &[0; 15])),
            Progress::WrongLength
        ));
        assert!(matches!(
            Upload::add(&mut slot, now, &piece(0, false, &[0; 17])),
            Progress::WrongLength
        ));
        assert!(matches!(
            Upload::add(&mut slot, now, &piece(0, false, &[])),
            Progress::Whole(_)
        ));
    }

    #[test]
    fn an_upload_that_stalls_is_given_up() {
        let (now, mut slot) = (Instant::now(), None);
        assert!(matches!(
            Upload::add(&mut slot, now, &piece(0, true, &[0; 16])),
            Progress::Continue
        ));
        let late = now + EXCHANGE_LIFETIME;
        assert!(matches!(
            Upload::add(&mut slot, late, &piece(1, true, &[0; 16])),
            Progress::Incomplete
        ));
    }
}
