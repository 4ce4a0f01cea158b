//! The TLS of a connection as variables, by the names of Apache's mod_ssl.

use std::sync::Arc;

use ziggurat_middleware::{ClientCertificate, TlsInfo};

use super::{Variable, VariableSink, VariableSource};

const INITIAL: &str = "Initial";
const RESUMED: &str = "Resumed";

pub(super) fn write(tls: &TlsInfo, sink: &mut impl VariableSink) {
    let mut set = |variable, value: &str| sink.set(variable, value.as_bytes());
    set(Variable::Https, "on");
    set(Variable::SslProtocol, &tls.protocol);
    set(Variable::SslCipher, &tls.cipher);
    if let Some(name) = &tls.server_name {
        set(Variable::SslTlsSni, name);
    }
    set(Variable::SslSessionResumed, if tls.is_resumed { RESUMED } else { INITIAL });
    let Some(client) = &tls.client else { return set(Variable::SslClientVerify, "NONE") };
    set(Variable::SslClientVerify, "SUCCESS");
    for (variable, value) in [
        (Variable::SslClientSubject, Some(&client.subject)),
        (Variable::SslClientCommonName, client.common_name.as_ref()),
        (Variable::SslClientIssuer, Some(&client.issuer)),
        (Variable::SslClientIssuerCommonName, client.issuer_common_name.as_ref()),
        (Variable::SslClientSerial, Some(&client.serial)),
        (Variable::SslClientStart, Some(&client.not_before)),
        (Variable::SslClientEnd, Some(&client.not_after)),
        (Variable::SslClientCert, client.pem.as_ref()),
    ] {
        if let Some(value) = value {
            set(variable, value);
        }
    }
    for (variable, list) in
        [(Variable::SslClientEmails, &client.emails), (Variable::SslClientHosts, &client.hosts), (Variable::SslClientUris, &client.uris)]
    {
        if !list.is_empty() {
            set(variable, &list.join("\n"));
        }
    }
}

/// The TLS of the connection, if the variables tell of any.
pub(super) fn read<S: VariableSource>(source: &S) -> Result<Option<TlsInfo>, S::Error> {
    let text = |variable| Ok::<_, S::Error>(source.get(variable)?.map(|value| String::from_utf8_lossy(&value).into_owned()));
    let list = |variable| Ok::<_, S::Error>(text(variable)?.map(|text| text.split('\n').map(str::to_owned).collect()).unwrap_or_default());
    let Some(protocol) = text(Variable::SslProtocol)? else { return Ok(None) };
    let is_verified = source.get(Variable::SslClientVerify)?.as_deref() == Some(b"SUCCESS");
    let client = if is_verified {
        Some(Arc::new(ClientCertificate {
            subject: text(Variable::SslClientSubject)?.unwrap_or_default(),
            common_name: text(Variable::SslClientCommonName)?,
            issuer: text(Variable::SslClientIssuer)?.unwrap_or_default(),
            issuer_common_name: text(Variable::SslClientIssuerCommonName)?,
            serial: text(Variable::SslClientSerial)?.unwrap_or_default(),
            not_before: text(Variable::SslClientStart)?.unwrap_or_default(),
            not_after: text(Variable::SslClientEnd)?.unwrap_or_default(),
            emails: list(Variable::SslClientEmails)?,
            hosts: list(Variable::SslClientHosts)?,
            uris: list(Variable::SslClientUris)?,
            pem: text(Variable::SslClientCert)?,
        }))
    } else {
        None
    };
    Ok(Some(TlsInfo {
        protocol: protocol.into(),
        cipher: text(Variable::SslCipher)?.unwrap_or_default().into(),
        server_name: text(Variable::SslTlsSni)?.map(Into::into),
        is_resumed: source.get(Variable::SslSessionResumed)?.as_deref() == Some(RESUMED.as_bytes()),
        client,
    }))
}
