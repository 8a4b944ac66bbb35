//! The kernel's choice among the sockets of a listener: a record with a connection ID goes straight to the thread that has
//! its virtual shard ([`super::cids`]), everything else wherever the kernel's hash of the addresses says.
//!
//! It saves a copy and a change of threads, and nothing rests on it: a datagram that reaches another thread is passed on by
//! that one. So a kernel that cannot do it is told of, and the gateway starts.

use nix::libc;
use nix::libc::{
    BPF_A, BPF_ABS, BPF_ALU, BPF_B, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_LEN, BPF_MOD, BPF_RET,
    BPF_W,
};

/// The program that picks the n-th of `threads` sockets, in the order in which they were bound. It sees a datagram from its
/// first byte of payload.
///
/// Where the index is none of a socket, the kernel goes by its hash, as it does without a program. A load past the end would
/// end the program with index 0, so the length is looked at first.
pub fn program(threads: u16) -> [libc::sock_filter; 8] {
    let op = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    // Goes on with the next instruction, or skips so many.
    let or_skip = |condition: u32, k: u32, skipped: u8| libc::sock_filter {
        code: (BPF_JMP | condition | BPF_K) as u16,
        jt: 0,
        jf: skipped,
        k,
    };
    [
        op(BPF_LD | BPF_W | BPF_LEN, 0),
        or_skip(BPF_JGE, VIRTUAL_SHARD_AT + 1, 5),
        op(BPF_LD | BPF_B | BPF_ABS, 0),
        or_skip(BPF_JEQ, TLS12_CID, 3),
        op(BPF_LD | BPF_B | BPF_ABS, VIRTUAL_SHARD_AT),
        op(BPF_ALU | BPF_MOD | BPF_K, u32::from(threads.max(1))),
        op(BPF_RET | BPF_A, 0),
        op(BPF_RET | BPF_K, NO_SOCKET),
    ]
}

/// The content type of a record with a connection ID: tls12_cid (RFC 9146 section 4).
const TLS12_CID: u32 = 25;
/// Where our connection IDs, and with them the virtual shard, begin: behind content type, version, epoch and sequence number.
const VIRTUAL_SHARD_AT: u32 = 1 + 2 + 2 + 6;
/// An index that no group of sockets has.
const NO_SOCKET: u32 = u32::MAX;
