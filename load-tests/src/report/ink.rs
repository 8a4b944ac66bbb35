//! What the report's plots are drawn in: variables of its style sheet.

use tessera::picture::Ink;

/// While nothing was known.
pub const GAP: Ink = Ink("gap");
/// Devices without a session.
pub const OFF: Ink = Ink("off");
/// Devices with one.
pub const CONNECTED: Ink = Ink("connected");
/// Registered ones.
pub const OBSERVING: Ink = Ink("observing");
/// In a download.
pub const DOWNLOADING: Ink = Ink("downloading");
/// That run what they should.
pub const CONVERGED: Ink = Ink("converged");
/// A line: the first, solid.
pub const FIRST: Ink = Ink("first");
/// A line: the second, dashed.
pub const SECOND: Ink = Ink("second");
/// Below a line.
pub const WASH: Ink = Ink("wash");
/// Kinds of one figure that have a colour of their own.
pub const NTH: [Ink; 7] = [
    Ink("nth0"),
    Ink("nth1"),
    Ink("nth2"),
    Ink("nth3"),
    Ink("nth4"),
    Ink("nth5"),
    Ink("nth6"),
];
