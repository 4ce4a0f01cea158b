//! An authority that issues certificates to the tests.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RevokedCertParams, SignatureAlgorithm,
};
use rustls::RootCertStore;

/// An authority, and the folder that its certificates are written to.
pub struct Authority {
    pub folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "The tests' authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { folder: tempfile::tempdir().unwrap(), issuer };
        authority.write("ca.pem", authority.issuer.pem());
        authority
    }

    /// Writes `FILE.pem` and `FILE.key`: a certificate for these names.
    pub fn issue(&self, file: &str, names: &[&str]) {
        self.issue_with(file, names, |_| ());
    }

    /// As [`Authority::issue`], with other parameters.
    pub fn issue_with(&self, file: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) {
        let (cert, key) = self.make(names, change);
        self.write(&format!("{file}.pem"), cert);
        self.write_key(&format!("{file}.key"), key);
    }

    /// As [`Authority::issue`], with an RSA key.
    pub fn issue_rsa(&self, file: &str, names: &[&str]) {
        let (cert, key) = self.make_with(names, &PKCS_RSA_SHA256, |_| ());
        self.write(&format!("{file}.pem"), cert);
        self.write_key(&format!("{file}.key"), key);
    }

    /// A certificate and its key in PEM.
    pub fn make(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        self.make_with(names, &PKCS_ECDSA_P256_SHA256, change)
    }

    fn make_with(
        &self,
        names: &[&str],
        kind: &'static SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (String, String) {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        change(&mut params);
        let key = KeyPair::generate_for(kind).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub fn base(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(file), text).unwrap();
    }

    pub fn write_key(&self, file: &str, text: impl AsRef<[u8]>) {
        use std::os::unix::fs::PermissionsExt;
        self.write(file, text);
        std::fs::set_permissions(self.path(file), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Writes a revocation list of these serial numbers that is to be renewed in this year.
    pub fn revoke(&self, file: &str, serials: &[u64], until: i32) {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: rcgen::date_time_ymd(2019, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2019, 1, 1),
            next_update: rcgen::date_time_ymd(until, 1, 1),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.write(file, list.signed_by(&self.issuer).unwrap().pem().unwrap());
    }

    /// What a client trusts.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }
}
