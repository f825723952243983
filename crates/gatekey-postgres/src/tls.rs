//! TLS to the server: its certificate is verified, and the cryptography is named, whatever the process's default is.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::ConnectError;

/// Trusts the certificates of that file, or those of this machine.
pub(crate) fn connector(roots: Option<&Path>) -> Result<MakeRustlsConnect, ConnectError> {
    let refused =
        |what: &str, problem: &dyn std::fmt::Display| ConnectError::Settings(format!("{what}: {problem}"));
    let mut store = RootCertStore::empty();
    match roots {
        Some(path) => {
            let what = format!("root certificates {path:?}");
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| refused(&what, &error))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| refused(&what, &error))?;
                store.add(certificate).map_err(|error| refused(&what, &error))?;
            }
        }
        // Some that cannot be read are usual; none at all is said below.
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if store.is_empty() {
        return Err(refused("TLS", &"no root certificate was found"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused("TLS", &error))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}
