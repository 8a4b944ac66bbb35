//! `[[devices]]`: what goes together in a device, and what nobody can build.

use std::ops::RangeInclusive;

use tessera::virtual_device::{CipherSuite, Port, Szx};

use super::checked::{DEVICES_MAX, FOREIGN_MAX};
use super::format;
use super::mistake::Mistake;
use super::raw::Table;
use super::reading::{Names, Open, Reading, Reported, listed};
use super::value;
use super::words::{CREDENTIALS, ENGINES, PORTS, SUITES, word_of};
use super::{Credential, Engine, Kind};
use crate::network::Profile;

impl Reading {
    pub fn kind(&mut self, table: &Table, names: &Names<'_>) -> Result<Kind, Reported> {
        let open = self.open(table, format::DEVICES);
        let name = self.required(open, "name", value::word);
        let count = self.required(open, "count", value::whole(1..=u64::from(DEVICES_MAX)));
        let engine = self.or(open, "engine", Engine::Native, value::choice(ENGINES));
        let port = self.or(open, "port", Port::Libcoap, value::choice(PORTS));
        let credential = self.or(open, "credential", Credential::Psk, value::choice(CREDENTIALS));
        let suites = self.suites(open, engine, port, credential);
        let connection_id = self.connection_id(open, engine, port);
        let block_size = self.or(open, "block_size", Szx::MAX, value::block_size);
        let runs = self.required(open, "runs", value::image_name);
        let cohort = self.reference(open, "cohort", "[[cohorts]]", &names.cohorts);
        let network = self.network_of(open, names);
        let faster = self.or(open, "faster", 1, value::whole(FASTER));
        if let (Ok(Engine::Foreign), Ok(count)) = (&engine, &count)
            && *count > FOREIGN_MAX
        {
            self.contradict(
                open,
                "count",
                format!("the foreign engine carries thousands: expected at most {FOREIGN_MAX} devices"),
            );
            return Err(Reported);
        }
        Ok(Kind {
            name: name?,
            count: count? as u32,
            engine: engine?,
            port: port?,
            suites: suites?,
            credential: credential?,
            connection_id: connection_id?,
            block_size: block_size?,
            runs: runs?,
            cohort: cohort?,
            network: network?,
            faster: faster? as u32,
        })
    }

    /// As the port offers them, unless the file says otherwise; never one that the credential or the engine has no use for.
    fn suites(
        &mut self,
        open: Open<'_>,
        engine: Result<Engine, Reported>,
        port: Result<Port, Reported>,
        credential: Result<Credential, Reported>,
    ) -> Result<Vec<CipherSuite>, Reported> {
        let Some(said) = open.get("suites") else {
            let (engine, port, credential) = (engine?, port?, credential?);
            let usable = |suite: &CipherSuite| {
                suite.has_psk() == credential.is_psk() && (engine == Engine::Native || foreign_has(*suite))
            };
            let usable = CipherSuite::ALL.into_iter().filter(usable);
            return Ok(match port {
                Port::Libcoap => usable.collect(),
                // A build with Mbed TLS offers exactly one.
                Port::Zephyr => usable.take(1).collect(),
            });
        };
        let before = self.mistakes.len();
        let mut suites = Vec::new();
        let members = listed(said);
        if members.is_empty() {
            self.wrong(open, "suites", said, "at least one suite");
        }
        for member in members {
            let Some(suite) = self.member(open, "suites", member, value::choice(SUITES)) else {
                continue;
            };
            let word = word_of(SUITES, &suite);
            let against = |problem: String| {
                Mistake::contradiction(
                    member.place,
                    open.table.key("suites"),
                    format!("{word:?}"),
                    problem,
                )
            };
            if let Ok(credential) = credential
                && suite.has_psk() != credential.is_psk()
            {
                let fitting: Vec<&str> = SUITES
                    .iter()
                    .filter(|(_, suite)| suite.has_psk() == credential.is_psk())
                    .map(|(word, _)| *word)
                    .collect();
                self.mistakes.push(against(format!(
                    "does not go with credential = \"{credential}\": expected {}",
                    value::one_of("", &fitting)
                )));
            } else if matches!(engine, Ok(Engine::Foreign)) && !foreign_has(suite) {
                let has: Vec<&str> = SUITES
                    .iter()
                    .filter(|(_, suite)| foreign_has(*suite))
                    .map(|(word, _)| *word)
                    .collect();
                self.mistakes.push(against(format!(
                    "the foreign engine does not have this suite: expected {}",
                    value::one_of("", &has)
                )));
            }
            if suites.contains(&suite) {
                self.mistakes
                    .push(against("is there twice: expected each once".to_owned()));
            }
            suites.push(suite);
        }
        if self.mistakes.len() == before {
            Ok(suites)
        } else {
            Err(Reported)
        }
    }

    fn connection_id(
        &mut self,
        open: Open<'_>,
        engine: Result<Engine, Reported>,
        port: Result<Port, Reported>,
    ) -> Result<bool, Reported> {
        let offered = self.or(open, "connection_id", false, value::truth)?;
        let problem = match (engine, port) {
            (Ok(Engine::Foreign), _) => "the foreign engine has no connection IDs: expected false",
            (_, Ok(Port::Libcoap)) => {
                "the SDK's libcoap port has no connection IDs: expected false, or port = \"zephyr\""
            }
            (Ok(Engine::Native) | Err(Reported), Ok(Port::Zephyr) | Err(Reported)) => return Ok(offered),
        };
        if offered {
            self.contradict(open, "connection_id", problem.to_owned());
            return Err(Reported);
        }
        Ok(false)
    }

    fn network_of(&mut self, open: Open<'_>, names: &Names<'_>) -> Result<Profile, Reported> {
        let Some(said) = open.get("network") else {
            return Ok(Profile::perfect());
        };
        let name = said.value.text().unwrap_or_default();
        if let Some(profile) = Profile::named(name) {
            return Ok(profile);
        }
        if let Some(own) = names.networks.get(name) {
            return own.clone().ok_or(Reported);
        }
        let known: Vec<&str> = Profile::NAMES
            .iter()
            .copied()
            .chain(names.networks.keys().copied())
            .collect();
        let accepted = format!("a network: {}", value::one_of(name, &known));
        Err(self.wrong(open, "network", said, &accepted))
    }
}

/// What `webrtc-dtls` has.
fn foreign_has(suite: CipherSuite) -> bool {
    match suite {
        CipherSuite::PskAes128GcmSha256
        | CipherSuite::PskAes128Ccm
        | CipherSuite::PskAes128Ccm8
        | CipherSuite::EcdheEcdsaAes128GcmSha256
        | CipherSuite::EcdheEcdsaAes128Ccm
        | CipherSuite::EcdheEcdsaAes128Ccm8 => true,
        CipherSuite::PskAes128CbcSha256
        | CipherSuite::EcdhePskAes128GcmSha256
        | CipherSuite::EcdhePskAes128CcmSha256 => false,
    }
}

const FASTER: RangeInclusive<u64> = 1..=1000;
