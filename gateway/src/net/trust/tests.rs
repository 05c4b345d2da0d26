use std::time::Duration;

use super::*;
use crate::config::Tls;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates");

fn certificate(name: &str) -> CertificateDer<'static> {
    let path = Path::new(FOLDER).join(name);
    read_certificates(&path, "a test").unwrap().remove(0)
}

fn judge(named: &str, verify: TlsVerify, shown: &str, name: &str, at: UnixTime) -> bool {
    let verifier = Verifier::new(vec![certificate(named)], false, verify).unwrap();
    let name = ServerName::try_from(name).unwrap();
    verifier
        .verify_server_cert(&certificate(shown), &[], &name, &[], at)
        .is_ok()
}

#[test]
fn a_server_that_shows_the_very_certificate_that_is_named_is_trusted() {
    use TlsVerify::{Ca, Full, None};
    let now = UnixTime::now();
    let late = UnixTime::since_unix_epoch(Duration::from_secs(5_000_000_000));
    // One is marked as an authority, the other as none.
    for (good, other) in [("authority.crt", "one.crt"), ("one.crt", "authority.crt")] {
        for (verify, shown, name, at, trusted) in [
            (Full, good, "127.0.0.1", now, true),
            (Full, good, "localhost", now, true),
            (Full, good, "example.com", now, false),
            (Full, good, "localhost", late, false),
            (Full, other, "localhost", now, false),
            (Ca, good, "example.com", now, true),
            (Ca, good, "localhost", late, false),
            (Ca, other, "localhost", now, false),
            (None, other, "example.com", late, true),
        ] {
            let judged = judge(good, verify, shown, name, at);
            assert_eq!(judged, trusted, "{verify:?} {shown} {name} {at:?}");
        }
    }
}

#[test]
fn who_signed_a_certificate_is_read_from_it() {
    for name in ["authority.crt", "one.crt", "marked.crt"] {
        let shown = certificate(name);
        let mut store = RootCertStore::empty();
        store.add(certificate("one.crt")).unwrap();
        let found = issuer(&shown).unwrap();
        assert_eq!(
            *store.roots[0].subject == *found,
            name != "authority.crt",
            "{name}"
        );
        for length in 0..shown.len() {
            let _no_panic = issuer(&CertificateDer::from_slice(&shown[..length]));
        }
    }
}

#[test]
fn an_examined_authority_is_found_and_wrong_only_if_nobody_known_signed_it() {
    let found = |named: Option<&str>, shown: &str, name: &str| {
        let named: Vec<_> = named.into_iter().map(certificate).collect();
        let mut verifier = Verifier::new(named, true, TlsVerify::Full).unwrap();
        verifier.examined = Some(Mutex::default());
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let now = UnixTime::now();
        let shown = certificate(shown);
        assert!(
            verifier
                .verify_server_cert(&shown, &[], &name, &[], now)
                .is_ok()
        );
        (verifier.found_authority(), verifier.found_wrong().is_some())
    };
    // The key of `one.crt` signed `marked.crt`, which is marked as an authority.
    assert_eq!(
        found(Some("one.crt"), "marked.crt", "localhost"),
        (true, false)
    );
    assert_eq!(
        found(Some("one.crt"), "marked.crt", "example.com"),
        (true, true)
    );
    assert_eq!(
        found(Some("two.crt"), "marked.crt", "localhost"),
        (true, true)
    );
    assert_eq!(
        found(Some("authority.crt"), "authority.crt", "localhost"),
        (true, false)
    );
    assert_eq!(
        found(Some("one.crt"), "one.crt", "localhost"),
        (false, false)
    );
    // A node itself goes on to refuse it.
    assert!(!judge(
        "one.crt",
        TlsVerify::Full,
        "marked.crt",
        "localhost",
        UnixTime::now()
    ));
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_setting() {
    let path = Path::new(FOLDER).join("README.md");
    for (path, reason) in [
        (path.as_path(), "is no PEM file of certificates"),
        (Path::new("/nowhere"), "cannot be read"),
    ] {
        let trust = Trust {
            ca_file: Some(path.to_owned()),
            ..Trust::default()
        };
        let error = client_config(&trust, "redis").unwrap_err().to_string();
        let expected = format!("redis.ca_file: {} {reason}", path.display());
        assert!(error.starts_with(&expected), "{error}");
    }
}
#[test]
fn a_key_has_to_belong_to_its_certificate() {
    let file = |name| Path::new(FOLDER).join(name);
    for (key, expected) in [
        ("one.key", None),
        (
            "two.key",
            Some("does not belong to the key of redis.tls_key"),
        ),
        ("one.crt", Some("one.crt is no PEM file of a private key")),
    ] {
        let trust = Trust {
            ca_file: Some(file("one.crt")),
            verify: TlsVerify::Full,
            client: Some(Tls {
                cert: file("one.crt"),
                key: file(key),
            }),
        };
        let error = client_config(&trust, "redis").err();
        let error = error.map(|error| error.to_string());
        match (&error, expected) {
            (None, None) => {}
            (Some(error), Some(expected)) if error.contains(expected) => {}
            _ => panic!("{key}: {error:?}"),
        }
    }
}

#[test]
fn settings_without_effect_are_refused() {
    let given = Trust {
        verify: TlsVerify::None,
        ..Trust::default()
    };
    assert!(without_tls(&Trust::default(), "backend", "https").is_ok());
    let error = without_tls(&given, "backend", "https").unwrap_err();
    assert!(error.to_string().contains("no URL begins with https"));
}
