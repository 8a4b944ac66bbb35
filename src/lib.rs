#![doc = include_str!("ARCHITECTURE.md")]

pub mod clock;

pub mod config;
pub mod telemetry;

pub mod coap;
pub mod dtls;
pub mod fleet;

pub mod manifest;
pub mod store;
pub mod transport;

pub mod control;
pub mod device_api;

pub mod picture;

pub mod admin;
pub mod app;
pub mod virtual_device;

pub mod cli;
