//! Both of the SDK's ports, simulated, in virtual time over a lossy link: no sleeps, no real ports, printed seeds.
//!
//! - `wrong_server`: a gateway that makes one mistake at a time, and the harm that `CONTRACT.md` says it does. So the
//!   simulated devices are known to be sensitive.
//! - `fleet`: the real shard, device API, writer and store, and devices that none of that harm befalls.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod fleet;
mod gateway;
mod link;
mod wrong_gateway;
mod wrong_server;
