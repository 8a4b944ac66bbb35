//! An input, read from front to back.

use tessera::dtls::ContentType;

/// What is left of an input.
pub struct Script<'d>(&'d [u8]);

impl<'d> Script<'d> {
    pub fn new(data: &'d [u8]) -> Self {
        Self(data)
    }

    /// The next byte; `None` ends the run.
    pub fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    /// The next two bytes as a number.
    pub fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    /// A type of record, as it may stand in the clear.
    pub fn content_type(&mut self) -> Option<ContentType> {
        Some(match self.byte()? % 5 {
            0 => ContentType::ApplicationData,
            1 => ContentType::Alert,
            2 => ContentType::Handshake,
            3 => ContentType::ChangeCipherSpec,
            _ => ContentType::ReturnRoutabilityCheck,
        })
    }

    /// Bytes with their length in front, two bytes; as many as there are where there are fewer.
    pub fn bytes(&mut self) -> Option<&'d [u8]> {
        let len = usize::from(self.number()?).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(bytes)
    }
}
