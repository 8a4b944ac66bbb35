//! The flags that `tessera serve` and `tessera config check` share.

use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use crate::config::{Config, LoadOptions, load};

/// Flags that win over the environment and the file.
#[derive(Debug, Args)]
pub struct SettingArgs {
    /// The configuration file; every key is in config/tessera.toml
    #[arg(long, env = "TESSERA_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// data.dir: the data folder
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// coaps.listen: UDP addresses for devices, with commas
    #[arg(long, value_name = "ADDRESSES")]
    coaps_listen: Option<String>,
    /// coap.listen: UDP addresses without any security, for development
    #[arg(long, value_name = "ADDRESSES")]
    coap_listen: Option<String>,
    /// admin.listen: the TCP address of the HTTP API
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// log.format: text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// log.filter: a level, or levels by module
    #[arg(long, value_name = "FILTER")]
    log_filter: Option<String>,
    /// Any other key
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = key_value)]
    settings: Vec<(String, String)>,
}

impl SettingArgs {
    /// The configuration that the flags, the environment and the file make.
    pub fn load(self) -> Result<Config, Failure> {
        let named = [
            ("data.dir", self.data_dir),
            ("coaps.listen", self.coaps_listen),
            ("coap.listen", self.coap_listen),
            ("admin.listen", self.admin_listen),
            ("log.format", self.log_format),
            ("log.filter", self.log_filter),
        ];
        let named = named
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        let options = LoadOptions {
            file: self.config,
            env: std::env::vars_os()
                .map(|(name, value)| {
                    (
                        name.to_string_lossy().into_owned(),
                        value.to_string_lossy().into_owned(),
                    )
                })
                .collect(),
            overrides: named.chain(self.settings).collect(),
        };
        Ok(load(&options)?)
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("expected SECTION.KEY=VALUE, like coaps.max_sessions=5000")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}
