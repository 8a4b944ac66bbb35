//! Why somebody who answers is not understood: what is wrong with a certificate, or TLS on one side only. It is not that
//! nobody answers, and what helps is something else.

use std::path::Path;

use tokio_rustls::rustls::{CertificateError, Error as TlsError};

/// What goes after "answers, but"; `None` where the error is another. `ca_file` is what is believed in place of the system's.
pub fn misunderstanding(error: &ureq::Error, ca_file: Option<&Path>) -> Option<String> {
    let error = match error {
        ureq::Error::Rustls(error) => error,
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref::<TlsError>()?,
        _ => return None,
    };
    Some(match error {
        TlsError::InvalidCertificate(wrong) => certificate(wrong, ca_file),
        TlsError::InvalidMessage(_) => "it does not speak TLS; accepted: an address with http://".to_owned(),
        other => format!("no TLS session comes about: {other}"),
    })
}

fn certificate(wrong: &CertificateError, ca_file: Option<&Path>) -> String {
    match wrong {
        CertificateError::UnknownIssuer => {
            let believed = match ca_file {
                Some(file) => format!("no certificate in {}", file.display()),
                None => "no CA of this system".to_owned(),
            };
            format!(
                "its certificate is not trusted: it leads to {believed}; accepted: a file with the certificate of the CA that \
                 signed it (--ca-file, TESSERA_CA_FILE)"
            )
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
            "its certificate is not for the name in this address ({wrong}); accepted: an address with a name that is in it, or \
             a certificate with this one among its subjectAltNames"
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("its certificate has expired ({wrong}); if it has not, the clock of this machine is wrong")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("its certificate is not valid yet ({wrong}); if it is, the clock of this machine is wrong")
        }
        // The words of webpki, which rustls hands on as they are.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "its certificate is that of a CA (basicConstraints CA:TRUE, as `openssl req -x509` makes them), and a server's must \
             not be; accepted: the same made with -addext basicConstraints=critical,CA:FALSE, or one that a CA signed"
                .to_owned()
        }
        other => format!("its certificate is not accepted: {other}"),
    }
}
