//! Certificates as `openssl` makes them.

use super::*;

#[test]
fn a_cas_certificate_is_read_and_anything_else_is_refused_by_what_it_is() {
    let ca = CaCertificate::from_pem(CA_PEM).unwrap();
    assert_eq!(ca.subject().to_string(), "O=default, CN=factory");
    assert_eq!(ca.usual_name().as_str(), "factory");
    assert_eq!(ca.sha256(), Digest::of(ca.der()));
    let root = CaCertificate::from_pem(VERSION_1_ROOT_PEM).unwrap();
    assert_eq!(root.usual_name().as_str(), "old root");

    let wrong = |text: &str| CaCertificate::from_pem(text).unwrap_err().to_string();
    for (text, says) in [
        ("", "no block `-----BEGIN CERTIFICATE-----`"),
        ("hello", "no block `-----BEGIN CERTIFICATE-----`"),
        (
            KEY_PEM,
            "without a certificate in it, but with \"EC PRIVATE KEY\"",
        ),
        (
            "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
            "is not PEM",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "cannot be read as X.509",
        ),
        (&format!("{CA_PEM}{VERSION_1_ROOT_PEM}"), "holds 2 certificates"),
        (DEVICE_PEM, "nothing says that it is a CA's"),
    ] {
        assert!(wrong(text).contains(says), "{says}: {}", wrong(text));
    }
    assert!(!wrong(KEY_PEM).contains("MHcC"), "a key is not repeated");
}

#[test]
fn a_ca_is_believed_within_its_validity() {
    let ca = CaCertificate::from_pem(CA_PEM).unwrap();
    assert_eq!(ca.check_time(ca.not_before_s()), Ok(()));
    assert_eq!(ca.check_time(ca.not_after_s()), Ok(()));
    let early = ca.check_time(ca.not_before_s() - 1).unwrap_err().to_string();
    assert!(
        early.contains("\"O=default, CN=factory\" is not valid yet"),
        "{early}"
    );
    let late = ca.check_time(ca.not_after_s() + 1).unwrap_err().to_string();
    assert!(late.contains("has expired"), "{late}");
}

#[test]
fn a_devices_certificate_says_whom_it_is_for() {
    let certificate = DeviceCertificate::from_pem(DEVICE_PEM).unwrap();
    let facts = certificate.facts.unwrap();
    assert_eq!(facts.subject.to_string(), "O=default, CN=lamp-1");
    assert_eq!(facts.serial, "1236");
    assert!(facts.not_before_s < facts.not_after_s);
    assert!(certificate.pinned);
}

/// What a mistaken operator may give.
const KEY_PEM: &str = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\n";
/// A self-signed root of version 3.
const CA_PEM: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBezCCASKgAwIBAgICEjQwCgYIKoZIzj0EAwIwJDEQMA4GA1UECgwHZGVmYXVs\n\
dDEQMA4GA1UEAwwHZmFjdG9yeTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAw\n\
MDAwMFowJDEQMA4GA1UECgwHZGVmYXVsdDEQMA4GA1UEAwwHZmFjdG9yeTBZMBMG\n\
ByqGSM49AgEGCCqGSM49AwEHA0IABD6savzBaebmpoKWYK3u09gJcDbYYIMy/QE4\n\
ukaTvOEsldsE8FEKNvhK30TxDbPI1ikzSyuxOF3jPNzclrAqwW+jQjBAMA8GA1Ud\n\
EwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgEGMB0GA1UdDgQWBBQ/QrIDho7qTVbj\n\
mLAe//vG0Xp5hzAKBggqhkjOPQQDAgNHADBEAiA3pHTJXPLIU+Va8SMOj+ELFbIq\n\
dRAWZJISynKPqy9ocgIgG3NcTvBo2ULHUyQUjepgnYfDjcBz1PnR6x4vS5nne9Y=\n\
-----END CERTIFICATE-----\n\
";
/// Signed by it, of version 1, as `openssl x509 -req` does.
const DEVICE_PEM: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBMTCB2AICEjYwCgYIKoZIzj0EAwIwJDEQMA4GA1UECgwHZGVmYXVsdDEQMA4G\n\
A1UEAwwHZmFjdG9yeTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFow\n\
IzEQMA4GA1UECgwHZGVmYXVsdDEPMA0GA1UEAwwGbGFtcC0xMFkwEwYHKoZIzj0C\n\
AQYIKoZIzj0DAQcDQgAEB5UoWokFDkp4SD8G723aHbnOQlNdBQr/ZtQcodgSjhwF\n\
xKRFRzfCzw1RW0rd+PGIsRVvhxgj9d1hu3kgZv0n/TAKBggqhkjOPQQDAgNIADBF\n\
AiAwxoeoJZ3YDLo/ip+N8QOx0mr6u6/VMN+sqGBVAMuVowIhAJya68DrDtvJTliD\n\
X673RoyYMgsc5F0rvv82oFmaw4RO\n\
-----END CERTIFICATE-----\n\
";
/// A self-signed root of version 1.
const VERSION_1_ROOT_PEM: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBEDCBtwICEjUwCgYIKoZIzj0EAwIwEzERMA8GA1UEAwwIb2xkIHJvb3QwIBcN\n\
MjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBMxETAPBgNVBAMMCG9sZCBy\n\
b290MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEPqxq/MFp5uamgpZgre7T2Alw\n\
NthggzL9ATi6RpO84SyV2wTwUQo2+ErfRPENs8jWKTNLK7E4XeM83NyWsCrBbzAK\n\
BggqhkjOPQQDAgNIADBFAiEAsUDizoI8CRe0lw2fTsnl2LWV5/G/jhe/XT6Hi7Tm\n\
BS0CIDXT9opAeZY9HM0D6BcmEzm6NZVrMTcYk042iaLm91++\n\
-----END CERTIFICATE-----\n\
";
